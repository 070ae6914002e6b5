package sqlite

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// open makes a database in a folder of the test's own.
func open(t testing.TB, opts Options) *DB {
	t.Helper()
	d, err := Open(t.Context(), filepath.Join(t.TempDir(), "mailfarm.db"), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

// route enters recipients in the ledger as the router does.
func (d *DB) route(recipients ...indextest.Recipient) error {
	return d.db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
		for _, r := range recipients {
			if _, err := tx.Exec(`INSERT INTO recipient (queue_id, number, forward_path, original, notify, orcpt, detail, state, destination,
				account, grp, generation, attempts, last_reply, relay, due_ns, expiry_ns, changed_ns, delay_notified)
				VALUES (?, ?, '', '', 0, '', '', ?, ?, ?, '', ?, 0, '', '', 1, 2, 3, 0)
				ON CONFLICT (queue_id, number) DO UPDATE SET state = excluded.state, generation = excluded.generation`,
				r.QueueID[:], int64(r.Number), int64(r.State), int64(storev1.Destination_DESTINATION_LOCAL), int64(r.Account), int64(r.Generation)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestUnsteady has calls given up after a moment, and writes fail between their steps.
func TestUnsteady(t *testing.T) {
	s := subject(t)
	struck, cancel := 0, func() {}
	indextest.RunUnsteady(t, s, indextest.Trouble{
		Begin: func(ctx context.Context, r *rand.Rand) context.Context {
			switch r.IntN(3) {
			case 0:
				var n atomic.Int32
				at := int32(1 + r.IntN(7))
				s.FailAt(func(step string) error {
					if n.Add(1) == at {
						return errors.New("lost at " + step)
					}
					return nil
				})
				struck++
			case 1:
				ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(1500))*time.Microsecond)
				struck++
			}
			return ctx
		},
		End: func() { s.FailAt(func(string) error { return nil }); cancel() },
		// There is one writer, which works in turn.
		Settle: func(ctx context.Context) error {
			_, err := s.Leases.Acquire(ctx, "settle", "test", time.Second)
			return err
		},
		Struck: func() int { return struck },
	})
}

func subject(t testing.TB) indextest.Subject { return checkSubject(t).Subject }

func retentionSubject(t testing.TB) indextest.RetentionSubject {
	return checkSubject(t).RetentionSubject
}

func TestCheck(t *testing.T) { indextest.RunCheck(t, checkSubject) }

func TestRetention(t *testing.T) { indextest.RunRetention(t, retentionSubject) }

func checkSubject(t testing.TB) indextest.CheckSubject {
	s := indextest.Subject{QuotaMessages: 20_000}
	var fail atomic.Pointer[func(string) error]
	var now atomic.Int64
	d := open(t, Options{
		QuotaMessages: s.QuotaMessages, QuotaLevels: []int{80, 95},
		Fault: func(step string) error {
			if f := fail.Load(); f != nil {
				return (*f)(step)
			}
			return nil
		},
		Now: func() time.Time { return time.Unix(1_800_000_000, now.Load()) },
	})
	s.Mailboxes, s.Leases, s.Quotas, s.Domains, s.Sharing = d.Mailboxes(), d.Leases(), d.Mailboxes(), d.Domains(), d.Sharing()
	s.Annotations, s.Imports = d.Annotations(), d.Imports()
	s.Miscount = func(id mailbox.AccountID) error {
		return d.db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
			if _, err := tx.Exec("UPDATE account SET size = size + 5, messages = 99 WHERE account = ?", int64(id)); err != nil {
				return err
			}
			_, err := tx.Exec("UPDATE mailbox SET unseen = 7, deleted = 8, size = 9 WHERE account = ? AND name = 'INBOX'", int64(id))
			return err
		})
	}
	s.Route = d.route
	s.Advance = func(by time.Duration) { now.Add(int64(by)) }
	s.FailAt = func(f func(string) error) { fail.Store(&f) }
	s.State = func(id envelope.QueueID, number uint32) (state storev1.State, err error) {
		err = d.db.Read(context.Background(), func(tx *sqlitedb.ReadTx) error {
			return tx.QueryRow("SELECT state FROM recipient WHERE queue_id = ? AND number = ?", id[:], number).Scan(&state)
		})
		return state, err
	}
	s.Children = func(parent envelope.QueueID) (n int, err error) {
		err = d.db.Read(context.Background(), func(tx *sqlitedb.ReadTx) error {
			return tx.QueryRow("SELECT COUNT(*) FROM outbox WHERE owner = ?", parent[:]).Scan(&n)
		})
		return n, err
	}
	s.Condemn = func(id blob.ID) error {
		return d.db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec("INSERT INTO condemned (blob_id, condemned_ns) VALUES (?, 1)", id.Bytes())
			return err
		})
	}
	return indextest.CheckSubject{RetentionSubject: indextest.RetentionSubject{Subject: s, Retention: d.Retention(), Now: d.opts.Now}, Check: d.Retention(), Survey: d.Retention(),
		Spoil: func(statement string) error {
			return d.db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
				_, err := tx.Exec(statement)
				return err
			})
		}}
}

func TestMailboxes(t *testing.T) { indextest.Run(t, subject) }

func TestTimelineJumps(t *testing.T) {
	d := open(t, Options{})
	m := d.Mailboxes()
	ctx := t.Context()
	if _, err := m.Append(ctx, 7, index.Inbox, []index.Message{{Blob: blob.ID{Incarnation: 1}, Size: 10, Received: time.Unix(1, 0)}}); err != nil {
		t.Fatal(err)
	}
	before, seq, err := m.List(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginTimeline(ctx, "restored"); err != nil {
		t.Fatal(err)
	}
	r, err := m.Append(ctx, 7, index.Inbox, []index.Message{{Blob: blob.ID{Incarnation: 1, Offset: 9}, Size: 10, Received: time.Unix(1, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if r.UIDs[0] != before[0].UIDNext+unit.TimelineUIDs || r.ModSeq != seq+unit.TimelineModSeqs || r.UIDValidity != before[0].UIDValidity {
		t.Errorf("got UID %d, MODSEQ %d, UIDVALIDITY %d; before: %d, %d, %d", r.UIDs[0], r.ModSeq, r.UIDValidity,
			before[0].UIDNext, seq, before[0].UIDValidity)
	}
	// What a reader saw before cannot be brought up to date.
	complete := false
	if err := m.Snapshot(ctx, index.SnapshotQuery{Account: 7, Mailbox: before[0].ID, Since: seq}, func(p *index.Page) error {
		complete = complete || p.Complete
		return nil
	}); err != nil || !complete {
		t.Errorf("snapshot since %d: complete %v, %v", seq, complete, err)
	}
	made, seq2, err := m.Create(ctx, 7, "New", "")
	if err != nil || made.UIDValidity <= before[len(before)-1].UIDValidity+unit.TimelineUIDValidities {
		t.Errorf("Create: UIDVALIDITY %d, %v", made.UIDValidity, err)
	}
	if seq2 != r.ModSeq+1 {
		t.Errorf("jumped again: MODSEQ %d after %d", seq2, r.ModSeq)
	}
	// One that has no UIDs left to jump over begins a new UIDVALIDITY.
	if err := d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE mailbox SET uid_next = ? WHERE account = 7 AND name = 'INBOX'", int64(mailbox.MaxUID-5))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.BeginTimeline(ctx, "again"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Subscribe(ctx, 7, "x", true); err != nil {
		t.Fatal(err)
	}
	after, _, err := m.List(ctx, 7)
	if err != nil || after[0].UIDValidity <= r.UIDValidity || after[0].UIDNext != mailbox.MaxUID-5 {
		t.Errorf("got %+v, %v", after[0], err)
	}
}

func TestLastUID(t *testing.T) {
	d := open(t, Options{})
	m := d.Mailboxes()
	ctx := t.Context()
	if _, _, err := m.List(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if err := d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE mailbox SET uid_next = ? WHERE account = 7 AND name = 'INBOX'", int64(mailbox.MaxUID-1))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	one := []index.Message{{Blob: blob.ID{Incarnation: 1}, Size: 10, Received: time.Unix(1, 0)}}
	if r, err := m.Append(ctx, 7, index.Inbox, one); err != nil || r.UIDs[0] != mailbox.MaxUID-1 {
		t.Errorf("last but one: %+v, %v", r, err)
	}
	if _, err := m.Append(ctx, 7, index.Inbox, one); !errors.Is(err, index.ErrUIDs) {
		t.Errorf("got %v, want ErrUIDs", err)
	}
}
