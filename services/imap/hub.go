package imap

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// accountsPerCall bounds one Counters call. It is what the store takes, and more than a process has sessions by default.
const accountsPerCall = 100_000

// hub tells sessions that their mailbox changed: by notices from the bus, and by comparing the counters of all watched
// accounts, in one call, for notices that were lost (design §7).
type hub struct {
	svc *Service

	mu       sync.Mutex
	accounts map[mailbox.AccountID]*watched // guarded by mu
}

// watched is an account with sessions that have a mailbox selected.
type watched struct {
	sessions map[*session]mailbox.ID
	// followers are sessions that want to hear of all mailboxes.
	followers map[*following]bool
	cancel    func()
	counted   uint64 // the account's MODSEQ at the last comparison
}

func newHub(svc *Service) *hub {
	return &hub{svc: svc, accounts: map[mailbox.AccountID]*watched{}}
}

// add begins to tell s of changes in one mailbox.
func (h *hub) add(s *session, account mailbox.AccountID, id mailbox.ID) {
	if h.watch(account, func(w *watched) { w.sessions[s] = id }) {
		// What came while there was no subscription is asked for.
		s.notify()
	}
}

// follow begins to tell f of changes in all mailboxes.
func (h *hub) follow(f *following, account mailbox.AccountID) {
	h.watch(account, func(w *watched) { w.followers[f] = true })
}

// watch enters somebody for an account; true where it was not watched before.
func (h *hub) watch(account mailbox.AccountID, enter func(*watched)) (fresh bool) {
	h.mu.Lock()
	w := h.accounts[account]
	fresh = w == nil
	if fresh {
		w = &watched{sessions: map[*session]mailbox.ID{}, followers: map[*following]bool{}}
		h.accounts[account] = w
	}
	enter(w)
	h.mu.Unlock()
	if !fresh {
		return false
	}
	// Outside of the lock, which the callback takes.
	cancel := h.svc.deps.Notices.Subscribe(uint64(account), func(n *mailv1.MailboxChanged) { h.changed(account, n) })
	h.mu.Lock()
	if h.accounts[account] == w {
		w.cancel = cancel
		cancel = nil
	}
	h.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return true
}

// remove ends add, and unfollow ends follow.
func (h *hub) remove(s *session, account mailbox.AccountID) {
	h.unwatch(account, func(w *watched) { delete(w.sessions, s) })
}

func (h *hub) unfollow(f *following, account mailbox.AccountID) {
	h.unwatch(account, func(w *watched) { delete(w.followers, f) })
}

func (h *hub) unwatch(account mailbox.AccountID, leave func(*watched)) {
	h.mu.Lock()
	w := h.accounts[account]
	var cancel func()
	if w != nil {
		leave(w)
		if len(w.sessions) == 0 && len(w.followers) == 0 {
			delete(h.accounts, account)
			cancel = w.cancel
		}
	}
	h.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// changed takes a notice.
func (h *hub) changed(account mailbox.AccountID, n *mailv1.MailboxChanged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.accounts[account]
	if w == nil {
		return
	}
	seq := n.GetModSeq()
	if seq == 0 || len(n.GetMailboxes()) == 0 {
		seq = anything // a new name, say, which has no MODSEQ in the mailbox
	}
	for s, id := range w.sessions {
		if len(n.GetMailboxes()) == 0 || slices.Contains(n.GetMailboxes(), uint64(id)) {
			s.notifyOf(seq)
		}
	}
	for f := range w.followers {
		f.note(account, n.GetMailboxes())
	}
}

// compare runs until ctx ends.
func (h *hub) compare(ctx context.Context) {
	ticker := time.NewTicker(h.svc.cfg.CompareEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := h.compareOnce(ctx); err != nil && ctx.Err() == nil {
				h.svc.log.WarnContext(ctx, "counters not compared", obs.Error(err))
			}
		}
	}
}

// compareOnce asks for the counters of all watched accounts and notifies the sessions of those that moved.
func (h *hub) compareOnce(ctx context.Context) error {
	h.mu.Lock()
	all := make([]uint64, 0, len(h.accounts))
	for id := range h.accounts {
		all = append(all, uint64(id))
	}
	h.mu.Unlock()
	var errs []error
	for ids := range slices.Chunk(all, accountsPerCall) {
		errs = append(errs, h.compareThese(ctx, ids))
	}
	return errors.Join(errs...)
}

func (h *hub) compareThese(ctx context.Context, ids []uint64) error {
	ctx, cancel := context.WithTimeout(ctx, h.svc.cfg.CallTimeout)
	defer cancel()
	resp, err := h.svc.deps.Mailboxes.Counters(ctx, &storev1.CountersRequest{Accounts: ids})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, n := range resp.GetModSeqs() {
		if i >= len(ids) {
			break
		}
		w := h.accounts[mailbox.AccountID(ids[i])]
		if w == nil || w.counted == n {
			continue
		}
		if w.counted != 0 {
			h.svc.metrics.missed.Inc()
		}
		w.counted = n
		for s := range w.sessions {
			s.notify()
		}
		for f := range w.followers {
			f.note(mailbox.AccountID(ids[i]), nil)
		}
	}
	return nil
}
