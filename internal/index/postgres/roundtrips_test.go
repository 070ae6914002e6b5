package postgres_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// turns stands before a server and counts how often it said that it is ready for more: each is one round trip.
type turns struct{ n atomic.Int64 }

// before listens for clients of pg's server, and gives the URL of that place.
func (c *turns) before(t *testing.T, pg *servers.PG) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.carry(client, pg.Addr()) })
		}
	})
	u, err := url.Parse(pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	return u.String()
}

func (c *turns) carry(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(server, client); server.Close() })
	defer wg.Wait()
	defer client.Close()
	in := bufio.NewReader(server)
	for {
		head := make([]byte, 5) // a letter, and the length of what follows with itself
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		if head[0] == 'Z' {
			c.n.Add(1)
		}
		if _, err := client.Write(head); err != nil {
			return
		}
		if _, err := io.CopyN(client, in, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
			return
		}
	}
}

// fillFor adds messages to the INBOX of account 41.
func fillFor(t *testing.T, d *postgres.DB, n int) (box mailbox.ID, uids mailbox.UIDSet) {
	t.Helper()
	list := make([]index.Message, n)
	for i := range list {
		list[i] = message(i)
	}
	r, err := d.Mailboxes().Append(t.Context(), 41, index.Inbox, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range r.UIDs {
		uids = uids.Add(uid)
	}
	return r.Mailbox, uids
}

// TestRoundTrips counts the round trips of what every message needs, for batches of one and of many.
func TestRoundTrips(t *testing.T) {
	pg := servers.Postgres(t)
	pool := side(t, pg)
	connect(t, pg, postgres.Options{}) // makes the schema
	var count turns
	d, err := postgres.Open(t.Context(), pgdb.Config{URL: count.before(t, pg), MaxConns: 2}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := t.Context()
	made := 0
	messages := func(n int, row func() *storev1.RecipientRow) (list []*storev1.Routed) {
		for range n {
			made++
			m := ledgertest.Message(time.Now(), uint32(made), row())
			m.Children = []*mailv1.Accepted{ledgertest.Child(m, 0)}
			list = append(list, m)
		}
		return list
	}
	remote := func() *storev1.RecipientRow { return ledgertest.Remote("a@far.example") }
	record := func(list []*storev1.Routed) { recordAll(t, d.Ledger(), list) }
	for _, tt := range []struct {
		name string
		// want is with one for the begin and one for the commit.
		want int64
		// prepare makes a call over n messages.
		prepare func(n int) func() error
	}{
		{"Deliver", 4, func(n int) func() error {
			list := make([]index.Delivery, n)
			rows := make([]indextest.Recipient, n)
			for i := range list {
				list[i] = index.Delivery{QueueID: envelope.NewQueueID(time.Now()), Account: mailbox.AccountID(1 + i%40), Message: message(i)}
				child := envelope.ChildID(list[i].QueueID, 0, 0)
				list[i].Children = []*mailv1.Accepted{{QueueId: child[:]}}
				list[i].Placements = []index.Placement{{Name: "Archive"}, {SpecialUse: `\Junk`}}
				rows[i] = indextest.Recipient{QueueID: list[i].QueueID, Account: list[i].Account, State: storev1.State_STATE_QUEUED}
			}
			if err := route(pool, rows...); err != nil {
				t.Fatal(err)
			}
			return func() error {
				results, err := d.Mailboxes().Deliver(ctx, list)
				for _, r := range results {
					if r.Status != index.Delivered {
						t.Errorf("got %+v", r)
					}
				}
				return err
			}
		}},
		{"Flag", 4, func(n int) func() error {
			box, uids := fillFor(t, d, n)
			return func() error {
				_, err := d.Mailboxes().Flag(ctx, index.FlagChange{Account: 41, Mailbox: box, UIDs: uids, Mode: index.AddFlags, Flags: []string{`\Seen`}})
				return err
			}
		}},
		{"Copy", 4, func(n int) func() error {
			box, uids := fillFor(t, d, n)
			return func() error { _, err := d.Mailboxes().Copy(ctx, 41, box, uids, "Archive"); return err }
		}},
		{"Record", 3, func(n int) func() error {
			list := messages(n, remote)
			return func() error { _, err := d.Ledger().Record(ctx, list); return err }
		}},
		{"Claim", 3, func(n int) func() error {
			list := messages(n, remote)
			record(list)
			req := &storev1.ClaimRequest{Owner: "one"}
			for _, m := range list {
				req.Work = append(req.Work, &mailv1.RemoteWork{QueueId: m.Message.QueueId, Group: "far.example"})
			}
			return func() error { _, err := d.Ledger().Claim(ctx, req); return err }
		}},
		{"Report", 4, func(n int) func() error {
			list := messages(n, remote)
			record(list)
			var reports []*storev1.Report
			for _, m := range list {
				reports = append(reports, &storev1.Report{QueueId: m.Message.QueueId, Children: []*mailv1.Accepted{ledgertest.Child(m, 1)},
					Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_BOUNCED, Reply: "550 no"}}})
			}
			return func() error { _, err := d.Ledger().Report(ctx, reports); return err }
		}},
		{"Sweep", 4, func(n int) func() error {
			list := messages(n, func() *storev1.RecipientRow { r := remote(); r.DueNs = 1; return r })
			record(list)
			return func() error { _, err := d.Ledger().Sweep(ctx, ledger.SweepAll, 1000, time.Hour); return err }
		}},
	} {
		for _, n := range []int{1, 8, 200} {
			// Connections are made and their statements prepared meanwhile, which adds to some of the tries.
			var tries []int64
			for range 8 {
				call := tt.prepare(n)
				before := count.n.Load()
				if err := call(); err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
				tries = append(tries, count.n.Load()-before)
			}
			if got := slices.Min(tries); got != tt.want {
				t.Errorf("%s of %d messages: %d round trips, want %d", tt.name, n, got, tt.want)
			}
		}
	}
}
