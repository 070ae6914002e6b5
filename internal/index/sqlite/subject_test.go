package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/indextest"
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

func subject(t testing.TB) indextest.Subject {
	s := indextest.Subject{QuotaMessages: 20_000}
	var fail atomic.Pointer[func(string) error]
	var now atomic.Int64
	d := open(t, Options{
		QuotaMessages: s.QuotaMessages,
		Fault: func(step string) error {
			if f := fail.Load(); f != nil {
				return (*f)(step)
			}
			return nil
		},
		Now: func() time.Time { return time.Unix(1_800_000_000, now.Load()) },
	})
	s.Mailboxes, s.Leases = d.Mailboxes(), d.Leases()
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
	return s
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
	if r.UIDs[0] != before[0].UIDNext+timelineUIDs || r.ModSeq != seq+timelineModSeqs || r.UIDValidity != before[0].UIDValidity {
		t.Errorf("got UID %d, MODSEQ %d, UIDVALIDITY %d; before: %d, %d, %d", r.UIDs[0], r.ModSeq, r.UIDValidity,
			before[0].UIDNext, seq, before[0].UIDValidity)
	}
	made, seq2, err := m.Create(ctx, 7, "New", "")
	if err != nil || made.UIDValidity <= before[len(before)-1].UIDValidity+timelineUIDValidities {
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
