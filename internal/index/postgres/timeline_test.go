package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func message(n int) index.Message {
	return index.Message{Blob: blob.ID{Incarnation: 1, Segment: uint32(n), Length: 100}, Size: 100, Received: time.Unix(1_800_000_000, 0)}
}

// seen is what clients were told: which number stands for what, over all databases.
type seen struct {
	t    *testing.T
	mu   sync.Mutex
	uids map[string]int // guarded by mu
	// seqs are the MODSEQs that came with a change, by account.
	seqs map[string]int // guarded by mu
}

func (s *seen) note(account mailbox.AccountID, r index.AppendResult, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, m := range map[string]map[string]int{
		fmt.Sprint(account, "/", r.Mailbox, "/", r.UIDValidity, "/", r.UIDs[0]): s.uids,
		fmt.Sprint(account, "/", r.ModSeq):                                      s.seqs,
	} {
		if other, ok := m[key]; ok {
			s.t.Errorf("%s was given to message %d and to message %d", key, other, n)
		}
		m[key] = n
	}
}

// TestFailOver promotes a standby: what the primary has told is never told again, whether the standby has it or not.
func TestFailOver(t *testing.T) {
	for _, synchronous := range []bool{true, false} {
		t.Run(fmt.Sprintf("synchronous %v", synchronous), func(t *testing.T) {
			primary := servers.OwnPostgres(t)
			standby := primary.Standby(t, synchronous)
			told := &seen{t: t, uids: map[string]int{}, seqs: map[string]int{}}
			// One handle that knows both servers, and finds the one that takes writes.
			d := connect(t, &servers.PG{URL: fmt.Sprintf("postgres://%s@%s,%s/%[1]s?sslmode=disable", primary.Name(), primary.Addr(), standby.Addr())}, postgres.Options{})
			m := d.Mailboxes()
			n := 0
			add := func(account mailbox.AccountID, name string) index.AppendResult {
				t.Helper()
				n++
				r, err := m.Append(t.Context(), account, name, []index.Message{message(n)})
				if err != nil {
					t.Fatalf("append %d: %v", n, err)
				}
				told.note(account, r, n)
				return r
			}
			for range 20 {
				add(7, index.Inbox)
			}
			if !synchronous {
				// The standby receives nothing more: what follows is lost with the primary.
				standby.Stop(t, false)
			}
			last := add(7, index.Inbox)
			made, _, err := m.Create(t.Context(), 7, "made", "")
			if err != nil {
				t.Fatal(err)
			}
			add(7, "made")
			add(9, index.Inbox) // an account whose row is lost too
			primary.Stop(t, true)
			if !synchronous {
				standby.Start(t)
			}
			standby.Promote(t)
			r := add(7, index.Inbox)
			if r.UIDs[0] <= last.UIDs[0] || r.ModSeq <= last.ModSeq+unit.TimelineModSeqs/2 || r.UIDValidity != last.UIDValidity {
				t.Errorf("got UID %d, MODSEQ %d, UIDVALIDITY %d behind %d, %d, %d", r.UIDs[0], r.ModSeq, r.UIDValidity,
					last.UIDs[0], last.ModSeq, last.UIDValidity)
			}
			if next := add(7, index.Inbox); next.UIDs[0] != r.UIDs[0]+1 || next.ModSeq != r.ModSeq+1 {
				t.Errorf("jumped again: %+v behind %+v", next, r)
			}
			add(9, index.Inbox)
			again, _, err := m.Create(t.Context(), 7, "made again", "")
			if err != nil || again.UIDValidity <= made.UIDValidity {
				t.Errorf("UIDVALIDITY %d behind %d, %v", again.UIDValidity, made.UIDValidity, err)
			}
			// A client that saw what may be lost reads everything anew; one that saw what came later does not.
			for _, since := range []mailbox.ModSeq{last.ModSeq, r.ModSeq} {
				var complete bool
				err := m.Snapshot(t.Context(), index.SnapshotQuery{Account: 7, Mailbox: last.Mailbox, Since: since}, func(p *index.Page) error {
					complete = complete || p.Complete
					return nil
				})
				if err != nil || complete != (since == last.ModSeq) {
					t.Errorf("snapshot since %d: complete %v, %v", since, complete, err)
				}
			}
		})
	}
}

// TestTimelinesAtOnce has many processes find a new timeline, which is one.
func TestTimelinesAtOnce(t *testing.T) {
	pg := servers.Postgres(t)
	pool := side(t, pg)
	first := connect(t, pg, postgres.Options{})
	if _, _, err := first.Mailboxes().List(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	handles := []*postgres.DB{first}
	for range 3 {
		handles = append(handles, connect(t, pg, postgres.Options{}))
	}
	if _, err := pool.Exec(t.Context(), "UPDATE timeline SET wal = '0000AAAA'"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := handles[i%4].Mailboxes().Append(t.Context(), mailbox.AccountID(7+i%2), index.Inbox, []index.Message{message(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := pool.QueryRow(t.Context(), "SELECT COUNT(*) FROM timeline").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d timelines, %v; want 2", n, err)
	}
	boxes, seq, err := first.Mailboxes().List(t.Context(), 7)
	if err != nil || boxes[0].UIDNext != 1+unit.TimelineUIDs+8 || seq != unit.TimelineModSeqs+8 {
		t.Errorf("got %+v, MODSEQ %d, %v", boxes[0], seq, err)
	}
}

func TestBeginTimeline(t *testing.T) {
	pg := servers.Postgres(t)
	d := connect(t, pg, postgres.Options{})
	other := connect(t, pg, postgres.Options{})
	m := other.Mailboxes()
	before, err := m.Append(t.Context(), 7, index.Inbox, []index.Message{message(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginTimeline(t.Context(), "restored"); err != nil {
		t.Fatal(err)
	}
	// Other processes see it at once.
	after, err := m.Append(t.Context(), 7, index.Inbox, []index.Message{message(2)})
	if err != nil || after.ModSeq != before.ModSeq+unit.TimelineModSeqs || after.UIDs[0] != before.UIDs[0]+1+unit.TimelineUIDs {
		t.Errorf("got %+v behind %+v, %v", after, before, err)
	}
	// One that has no UIDs left to jump over begins a new UIDVALIDITY.
	if _, err := side(t, pg).Exec(t.Context(), "UPDATE mailbox SET uid_next = $1 WHERE account = 7 AND name = 'INBOX'", int64(mailbox.MaxUID-5)); err != nil {
		t.Fatal(err)
	}
	if err := d.BeginTimeline(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	r, err := m.Append(t.Context(), 7, index.Inbox, []index.Message{message(3)})
	if err != nil || r.UIDValidity <= after.UIDValidity || r.UIDs[0] != mailbox.MaxUID-5 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestOlderSchema has a database that nobody set up.
func TestOlderSchema(t *testing.T) {
	_, err := postgres.Open(context.Background(), pgdb.Config{URL: servers.Postgres(t).URL}, postgres.Options{})
	if !errors.Is(err, pgdb.ErrSchema) {
		t.Errorf("got %v, want ErrSchema", err)
	}
}
