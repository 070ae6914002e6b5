package store

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// restoreBatch is how many messages one write brings back.
const restoreBatch = 2048

// Restore brings messages back.
func (r *retention) Restore(req *storev1.RestoreRequest, stream grpc.ServerStreamingServer[storev1.RestoreResponse]) error {
	ctx := stream.Context()
	a, err := account(req.GetAccount())
	if err != nil {
		return err
	}
	w := &restoring{r: r, req: req, account: a, send: stream.Send, done: &storev1.RestoreResponse{}, seen: map[place]bool{}, back: map[mailbox.EmailID]bool{}, boxes: map[mailbox.ID]*index.Restore{}}
	if w.filter, err = r.filter(ctx, a, req.GetFilter()); err != nil {
		return err
	}
	if req.GetInto() != "" {
		if w.into, err = boxName(req.GetInto()); err != nil {
			return err
		}
	}
	if err := w.readBoxes(ctx); err != nil {
		return toStatus(err)
	}
	if req.GetAtNs() != 0 {
		err = w.asOf(ctx, time.Unix(0, req.GetAtNs()))
	} else {
		err = w.all(ctx)
	}
	if err != nil {
		return toStatus(err)
	}
	w.done.Done = true
	if !req.GetDryRun() {
		r.deps.Log.InfoContext(ctx, "messages restored", obs.Account(a), slog.Uint64("restored", w.done.Restored), slog.Uint64("present", w.done.Present))
	}
	return stream.Send(w.done)
}

// restoring is a Restore under way.
type restoring struct {
	r       *retention
	req     *storev1.RestoreRequest
	account mailbox.AccountID
	filter  *filter
	into    string
	send    func(*storev1.RestoreResponse) error
	done    *storev1.RestoreResponse
	// seen are the messages that were brought back, each once for a folder.
	seen map[place]bool
	// back are those that this Restore filed somewhere: what lay in several folders comes back to each.
	back map[mailbox.EmailID]bool
	// boxes say where the messages of a mailbox go: of one that is there, to its name now.
	boxes map[mailbox.ID]*index.Restore
	// shared are the names of mailboxes that have a list.
	shared map[string]bool
}

// place is a message in a folder.
type place struct {
	email  mailbox.EmailID
	folder string
}

// readBoxes finds out what mailboxes are called, and were when they were deleted.
func (w *restoring) readBoxes(ctx context.Context) error {
	list, _, err := w.r.Service.deps.Mailboxes.List(ctx, w.account)
	if err != nil {
		return err
	}
	for i := range list {
		w.boxes[list[i].ID] = &index.Restore{Target: list[i].Name}
	}
	if sharing := w.r.Service.deps.Sharing; sharing != nil {
		grants, err := sharing.Grantees(ctx, w.account)
		if err != nil {
			return err
		}
		w.shared = map[string]bool{}
		for _, g := range grants {
			if b := w.boxes[g.Mailbox]; b != nil {
				w.shared[b.Target] = true
			}
		}
	}
	removed, err := w.r.RemovedMailboxes(ctx, w.account)
	for i := range removed {
		m := &removed[i]
		w.boxes[m.ID] = &index.Restore{Target: w.apart(m.Name), From: m.ID, SpecialUse: m.SpecialUse, Subscribed: m.Subscribed}
	}
	return err
}

// apart is where the messages of a mailbox go that was deleted: to its name, but not into another mailbox of that name that
// others read today.
func (w *restoring) apart(name string) string {
	for w.shared[name] {
		name = "Restored/" + name
	}
	return name
}

// target is where the messages of a row go.
func (w *restoring) target(row *index.RemovedRow) index.Restore {
	q := index.Restore{Target: w.apart(row.Name)}
	if known := w.boxes[row.Mailbox]; known != nil {
		q = *known
	}
	if w.into != "" {
		q = index.Restore{Target: w.into, Subscribed: true}
	}
	q.Account = w.account
	return q
}

// all brings back what passes the filter.
func (w *restoring) all(ctx context.Context) error {
	// One that was deleted without messages comes back too.
	if w.filter.emails == nil && w.filter.from == "" && w.filter.subject == "" && w.into == "" {
		if err := w.mailboxes(ctx); err != nil {
			return err
		}
	}
	return w.r.each(ctx, w.filter, index.RowID{}, false, func(page []removedMessage, _ index.RowID) (bool, error) {
		// By folder, and in the order of their old UIDs.
		slices.SortStableFunc(page, func(a, b removedMessage) int {
			return cmp.Or(cmp.Compare(a.row.Mailbox, b.row.Mailbox), cmp.Compare(a.entry.UID, b.entry.UID))
		})
		var q index.Restore
		for i := range page {
			m := &page[i]
			t := w.target(m.row)
			beside := w.req.GetPlaced() || w.filter.emails != nil
			if m.placed && !beside && !w.back[m.entry.Email] {
				w.done.Present++
				continue
			}
			if q.Target != t.Target {
				if err := w.write(ctx, q); err != nil {
					return false, err
				}
				q = t
			}
			e := entryBack(m.entry, m.row.Keywords)
			e.Beside = beside
			q.Entries = append(q.Entries, e)
		}
		return true, w.write(ctx, q)
	})
}

func entryBack(e mailbox.Entry, keywords []string) index.RestoreEntry {
	return index.RestoreEntry{Email: e.Email, Flags: e.Flags.Names(keywords), Size: e.Size, Received: e.Received}
}

// mailboxes makes those again that were deleted: the upper ones first, which would be made without their lists for those below
// them, and of one name the latest.
func (w *restoring) mailboxes(ctx context.Context) error {
	removed, err := w.r.RemovedMailboxes(ctx, w.account)
	if err != nil {
		return err
	}
	slices.SortStableFunc(removed, func(a, b index.RemovedMailbox) int { return cmp.Compare(a.Name, b.Name) })
	for i := range removed {
		m := &removed[i]
		if w.filter.boxes != nil && !w.filter.boxes[m.ID] || m.Removed.Before(w.filter.since) || !w.filter.until.IsZero() && !m.Removed.Before(w.filter.until) {
			continue
		}
		if w.shared[m.Name] {
			continue // there is one of that name
		}
		q := *w.boxes[m.ID]
		q.Account = w.account
		if err := w.write(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// write brings a batch back, and tells of it.
func (w *restoring) write(ctx context.Context, q index.Restore) error {
	if q.Target == "" {
		return nil
	}
	q.Entries = slices.DeleteFunc(q.Entries, func(e index.RestoreEntry) bool {
		p := place{e.Email, q.Target}
		was := w.seen[p]
		w.seen[p] = true
		return was
	})
	all := q.Entries
	for first := true; first || len(all) > 0; first = false {
		n := min(len(all), restoreBatch)
		q.Entries, all = all[:n], all[n:]
		if err := w.writeSome(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func (w *restoring) writeSome(ctx context.Context, q index.Restore) error {
	for i := range q.Entries {
		e := &q.Entries[i]
		e.Beside = e.Beside || w.back[e.Email]
		w.done.Octets += uint64(e.Size)
	}
	if !slices.Contains(w.done.Folders, q.Target) {
		w.done.Folders = append(w.done.Folders, q.Target)
	}
	if w.req.GetDryRun() {
		w.done.Restored += uint64(len(q.Entries))
		return w.send(w.done)
	}
	res, err := w.r.Retention.Restore(ctx, q)
	if err != nil {
		return err
	}
	if len(res.Restored) > 0 || res.Made {
		w.r.changed(w.account, res.ModSeq, res.Mailbox)
	}
	if res.Made {
		w.r.changed(w.account, res.ModSeq)
	}
	for _, e := range res.Restored {
		w.back[e] = true
	}
	w.done.Restored += uint64(len(res.Restored))
	w.done.Present += uint64(len(res.Present))
	w.done.Gone += uint64(len(res.Gone))
	return w.send(w.done)
}

// asOf brings a folder back as it was at a time: what was removed since and was there then and, for a new folder, what is
// there still and was there then.
func (w *restoring) asOf(ctx context.Context, at time.Time) error {
	if f := w.filter; f.boxes == nil || f.emails != nil || f.from != "" || f.subject != "" || !f.since.IsZero() || !f.until.IsZero() || at.After(w.r.deps.Now()) {
		return invalid("a time needs a folder and nothing else, and must have passed")
	}
	h := &history{at: at}
	w.filter.since, w.filter.until, w.filter.noMoved = at, time.Time{}, false
	for id := range w.filter.boxes {
		h.entries, h.marks = map[mailbox.UID]then{}, nil
		if err := w.history(ctx, id, h); err != nil {
			return err
		}
		q := index.Restore{Target: w.apart(w.req.GetFilter().GetFolder())}
		if known := w.boxes[id]; known != nil {
			q = *known
		}
		q.Account = w.account
		if !w.req.GetInPlace() {
			q = index.Restore{Account: w.account, Subscribed: true, Target: "Restored " + at.Format("2006-01-02 15:04") + "/" + q.Target}
			if w.into != "" {
				q.Target = w.into
			}
		}
		for _, e := range h.there() {
			if !w.req.GetInPlace() || e.removed {
				e.back.Beside = true // it was there, wherever else it is
				q.Entries = append(q.Entries, e.back)
			}
		}
		if len(q.Entries) == 0 {
			continue // no folder where there was nothing
		}
		if err := w.write(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// history is what is known of the entries of a mailbox.
type history struct {
	at      time.Time
	entries map[mailbox.UID]then
	// marks are UIDNEXTs at times: what has a UID from there on came later.
	marks []mark
}

type mark struct {
	next mailbox.UID
	at   time.Time
}

type then struct {
	back    index.RestoreEntry
	removed bool
	saved   time.Time // of one that is there still (RFC 8514)
}

// history reads what the mailbox has, and what was taken out of it since.
func (w *restoring) history(ctx context.Context, id mailbox.ID, h *history) error {
	f := *w.filter
	f.boxes = map[mailbox.ID]bool{id: true}
	if err := w.r.each(ctx, &f, index.RowID{}, false, func(page []removedMessage, _ index.RowID) (bool, error) {
		for i := range page {
			m := &page[i]
			h.entries[m.entry.UID] = then{back: entryBack(m.entry, m.row.Keywords), removed: true}
			h.mark(m.row)
		}
		return true, nil
	}); err != nil {
		return err
	}
	var keywords []string
	err := w.r.Service.deps.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: w.account, Mailbox: id}, func(p *index.Page) error {
		if p.Mailbox != nil {
			keywords = p.Mailbox.Keywords
		}
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			for j := range c.Len() {
				e := then{back: entryBack(c.At(j), keywords)}
				if c.Saved[j] != c.Received[j] { // or it is not known
					e.saved = time.Unix(c.Saved[j], 0)
				}
				h.entries[c.UIDs[j]] = e
			}
		}
		return nil
	})
	if errors.Is(err, index.ErrNoMailbox) {
		return nil // it was deleted
	}
	return err
}

func (h *history) mark(row *index.RemovedRow) {
	if n := len(h.marks); n == 0 || h.marks[n-1].next != row.UIDNext || !h.marks[n-1].at.Equal(row.Removed) {
		h.marks = append(h.marks, mark{row.UIDNext, row.Removed})
	}
}

// there are the entries that were in the mailbox at the time, in the order of their UIDs. UIDs ascend in the order in which
// entries were added, and an email is not older than its id: an entry was added no earlier than the youngest email up to
// it. One that is copied in from elsewhere may be taken for older than it is: rather one too many than one too few.
func (h *history) there() (list []then) {
	uids := make([]mailbox.UID, 0, len(h.entries))
	for uid := range h.entries {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	slices.SortFunc(h.marks, func(a, b mark) int { return cmp.Compare(a.next, b.next) })
	marks := h.marks
	var added time.Time
	for _, uid := range uids {
		for len(marks) > 0 && marks[0].next <= uid {
			if marks[0].at.After(added) {
				added = marks[0].at
			}
			marks = marks[1:]
		}
		e := h.entries[uid]
		if made := mailbox.IDTime(uint64(e.back.Email)); made.After(added) {
			added = made
		}
		if e.saved.After(added) {
			added = e.saved
		}
		if !added.After(h.at) {
			list = append(list, e)
		}
	}
	return list
}
