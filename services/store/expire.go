package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ExpireRule empties a folder of what is old. A message goes when all that the rule asks holds of it.
type ExpireRule struct {
	// Folder is a name or a special use ("\Trash").
	Folder string `yaml:"folder"`
	// OlderThan is an age: of the message in this folder, or with Received by its INTERNALDATE.
	OlderThan time.Duration `yaml:"older_than"`
	Received  bool          `yaml:"received"`
	// LargerThan is a size, octets.
	LargerThan int64 `yaml:"larger_than"`
	// Flag must be set, and NoFlag must not.
	Flag   string `yaml:"flag"`
	NoFlag string `yaml:"no_flag"`
	// Keep are so many of the latest messages of the folder, which stay in any case.
	Keep int `yaml:"keep"`
}

func (r *ExpireRule) check() error {
	var errs []error
	if folder, err := ruleFolder(r.Folder); err != nil || folder == "" {
		errs = append(errs, fmt.Errorf("folder: %q is none", r.Folder))
	}
	if r.OlderThan < 0 || r.LargerThan < 0 || r.Keep < 0 {
		errs = append(errs, errors.New("older_than, larger_than and keep must not be negative"))
	}
	if r.OlderThan == 0 && r.LargerThan == 0 && r.Flag == "" && r.Keep == 0 {
		errs = append(errs, errors.New("it asks for nothing: say older_than, larger_than, flag or keep"))
	}
	return errors.Join(errs...)
}

const (
	// expireBatch is how many messages one write takes out, and expireAccounts how many accounts are read in one go.
	expireBatch    = 1000
	expireAccounts = 256
)

// expireAll applies the rules to all accounts.
func (r *retention) expireAll(ctx context.Context) (more bool, err error) {
	return false, r.expire(ctx, 0, false, func(e *storev1.ExpireResponse) error {
		r.deps.Log.InfoContext(ctx, "folder expired", obs.Account(mailbox.AccountID(e.GetAccount())), slog.String("folder", e.GetFolder()),
			slog.Uint64("messages", e.GetMessages()))
		return nil
	})
}

// Expire applies the rules now, or with dry_run tells what would go.
func (r *retention) Expire(req *storev1.ExpireRequest, stream grpc.ServerStreamingServer[storev1.ExpireResponse]) error {
	if req.GetAccount() >= 1<<63 {
		return invalid("account %d is none", req.GetAccount())
	}
	return toStatus(r.expire(stream.Context(), mailbox.AccountID(req.GetAccount()), req.GetDryRun(), stream.Send))
}

func (r *retention) expire(ctx context.Context, only mailbox.AccountID, dry bool, tell func(*storev1.ExpireResponse) error) error {
	if len(r.cfg.Expire) == 0 {
		return nil
	}
	if only != 0 {
		return r.expireAccount(ctx, only, dry, tell)
	}
	var after mailbox.AccountID
	var failed failures
	for {
		accounts, err := r.Accounts(ctx, after, expireAccounts)
		if err != nil {
			return failed.with(err)
		}
		for _, a := range accounts {
			if err := r.expireAccount(ctx, a, dry, tell); err != nil && !failed.passOver(ctx, a, err) {
				return failed.with(nil)
			}
			after = a
		}
		if len(accounts) < expireAccounts {
			return failed.with(nil)
		}
	}
}

func (r *retention) expireAccount(ctx context.Context, a mailbox.AccountID, dry bool, tell func(*storev1.ExpireResponse) error) error {
	list, _, err := r.Service.deps.Mailboxes.List(ctx, a)
	if err != nil {
		return err
	}
	for i := range list {
		for n := range r.cfg.Expire {
			rule := &r.cfg.Expire[n]
			if m := &list[i]; m.ID == 0 || m.Messages == 0 || rule.Folder != m.Name && rule.Folder != m.SpecialUse {
				continue
			}
			done := &storev1.ExpireResponse{Account: uint64(a), Folder: list[i].Name, Rule: uint32(n + 1)}
			err := r.expireFolder(ctx, a, &list[i], rule, dry, done)
			if errors.Is(err, index.ErrNoMailbox) {
				continue
			}
			if err == nil && done.Messages > 0 {
				err = tell(done)
			}
			if err != nil {
				return fmt.Errorf("expire %q of account %d: %w", list[i].Name, a, err)
			}
		}
	}
	return nil
}

// expireFolder takes out of a folder what a rule no longer keeps.
func (r *retention) expireFolder(ctx context.Context, a mailbox.AccountID, m *index.Mailbox, rule *ExpireRule, dry bool, done *storev1.ExpireResponse) error {
	below := mailbox.UID(mailbox.MaxUID)
	if rule.OlderThan > 0 && !rule.Received {
		// Marks tell since when a UID has been there: what is below one of that age is as old.
		var err error
		if below, err = r.Mark(ctx, a, m.ID, m.UIDNext, r.deps.Now().Add(-rule.OlderThan), !dry); err != nil || below <= 1 {
			return err
		}
	}
	uids, octets, count, err := r.chooseExpired(ctx, a, m, rule, below)
	if err != nil {
		return err
	}
	done.Octets, done.Messages = octets, count
	if dry {
		return nil
	}
	for batch := range slices.Chunk(uids, expireBatch) {
		var set mailbox.UIDSet
		for _, uid := range batch {
			set = set.Add(uid)
		}
		res, err := r.Service.deps.Mailboxes.Expunge(ctx, a, m.ID, set, true)
		if err != nil {
			return err
		}
		if len(res.Expunged) > 0 {
			r.changed(a, res.ModSeq, m.ID)
		}
	}
	return nil
}

// chooseExpired finds the messages of a folder that a rule no longer keeps.
func (r *retention) chooseExpired(ctx context.Context, a mailbox.AccountID, m *index.Mailbox, rule *ExpireRule, below mailbox.UID) (uids []mailbox.UID, octets int64, count uint64, err error) {
	var flag, noFlag mailbox.Flags
	stay := int64(rule.Keep)
	seen := int64(0)
	old := r.deps.Now().Add(-rule.OlderThan).Unix()
	messages := int64(m.Messages)
	err = r.Service.deps.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: a, Mailbox: m.ID}, func(p *index.Page) error {
		if p.Mailbox != nil {
			messages = int64(p.Mailbox.Messages)
			var known bool
			if flag, known = mailbox.FindFlag(rule.Flag, p.Mailbox.Keywords); rule.Flag != "" && !known {
				stay = messages // nobody has it
			}
			if rule.NoFlag != "" {
				noFlag, _ = mailbox.FindFlag(rule.NoFlag, p.Mailbox.Keywords)
			}
		}
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			for j := range c.Len() {
				seen++
				e := c.At(j)
				switch {
				case seen > messages-stay, e.UID >= below, rule.Received && rule.OlderThan > 0 && e.Received > old,
					e.Size <= rule.LargerThan && rule.LargerThan > 0, e.Flags&flag != flag, e.Flags&noFlag != 0:
					continue
				}
				uids, octets, count = append(uids, e.UID), octets+e.Size, count+1
			}
		}
		return nil
	})
	return uids, octets, count, err
}
