package ledgertest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// testSearch makes random histories and asks random questions: List answers as a look at every single message does.
func testSearch(t *testing.T, open Open) {
	t.Run("random questions", func(t *testing.T) {
		f := start(t, open)
		r := rand.New(rand.NewPCG(1, 2))
		s := &searched{fixture: f, r: r}
		for range 150 {
			s.step()
		}
		for range 300 {
			s.ask(s.question())
		}
	})
	t.Run("every way to find one", func(t *testing.T) {
		f := start(t, open)
		row := Remote("Rcpt@Far.example")
		row.Original = "Alias@example.org"
		m := f.message(row)
		m.Message.Envelope.ReversePath, m.Message.Envelope.MessageId = "From@Sender.example", "<Case.Matters@x>"
		m.Message.Envelope.Client = &mailv1.Client{Address: "2001:db8::1"}
		f.record(m, f.message(Local("other@example.org", 1)))
		f.report(&storev1.Report{QueueId: m.Message.QueueId, Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_BOUNCED, "550 5.1.1 <rcpt@far.example>: User unknown; see http://x.example/1", time.Time{})}})
		for name, row := range map[string]struct {
			q     *storev1.QueueListRequest
			found bool
		}{
			"id":                      {&storev1.QueueListRequest{QueueId: m.Message.QueueId}, true},
			"sender":                  {&storev1.QueueListRequest{ReversePath: "<from@sender.EXAMPLE>"}, true},
			"domain of the sender":    {&storev1.QueueListRequest{ReversePath: "@sender.example"}, true},
			"recipient":               {&storev1.QueueListRequest{ForwardPath: "rcpt@far.example"}, true},
			"recipient of RCPT":       {&storev1.QueueListRequest{ForwardPath: "alias@example.org"}, true},
			"domain of the recipient": {&storev1.QueueListRequest{ForwardPath: "@FAR.example"}, true},
			"either domain":           {&storev1.QueueListRequest{Domain: "Sender.example"}, true},
			"no domain of either":     {&storev1.QueueListRequest{Domain: "example"}, false},
			"message-id":              {&storev1.QueueListRequest{MessageId: "Case.Matters@x"}, true},
			"message-id, other case":  {&storev1.QueueListRequest{MessageId: "case.matters@x"}, false},
			"client":                  {&storev1.QueueListRequest{Client: "2001:DB8:0::1"}, true},
			"other client":            {&storev1.QueueListRequest{Client: "2001:db8::2"}, false},
			"codes of the reply":      {&storev1.QueueListRequest{Reply: "550 5.1.1"}, true},
			"words of the reply":      {&storev1.QueueListRequest{Reply: "unknown USER"}, true},
			"address in the reply":    {&storev1.QueueListRequest{Reply: "rcpt@far.example"}, true},
			"part of a word":          {&storev1.QueueListRequest{Reply: "unkn"}, false},
			"a word that is missing":  {&storev1.QueueListRequest{Reply: "user over quota"}, false},
			"sender and reply":        {&storev1.QueueListRequest{ReversePath: "from@sender.example", Reply: "5.1.1"}, true},
			"sender and other reply":  {&storev1.QueueListRequest{ReversePath: "from@sender.example", Reply: "5.2.2"}, false},
			"null sender":             {&storev1.QueueListRequest{ReversePath: "<>"}, false},
		} {
			got := f.list(row.q)
			if want := row.found; (len(got) == 1 && got[0] == string(m.Message.QueueId)) != want || len(got) > 1 {
				t.Errorf("%s: got %x, found should be %t", name, got, want)
			}
		}
	})
	t.Run("what was deferred for days", func(t *testing.T) {
		f := start(t, open)
		old := f.put(Remote("a@far.example"))
		for range 50 {
			f.clock.Advance(time.Hour)
			f.put(Remote("b@far.example"))
		}
		f.report(&storev1.Report{QueueId: old, Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_BOUNCED, "451 given up", time.Time{})}})
		if got := f.list(&storev1.QueueListRequest{Reply: "given up", Limit: 1}); len(got) != 1 || got[0] != string(old) {
			t.Errorf("got %x, want %x", got, old)
		}
		f.clock.Advance(ledger.PruneAfter + time.Hour)
		rule := ledger.PruneRule{Before: f.clock.Now().Add(-ledger.PruneAfter), Checkpoints: map[uint64]ledger.Checkpoint{1: {Done: true}}}
		if n, _, err := f.l.Prune(f.ctx, rule, 1000); n != 1 || err != nil {
			t.Fatalf("got %d pruned, %v; want 1", n, err)
		}
		rows, ok := f.l.(search.Rows)
		if !ok {
			t.Fatal("the ledger keeps no search rows")
		}
		left, err := rows.SearchRows(f.ctx, search.Key{At: 1<<63 - 1}, 0, nil, 1000)
		if err != nil || len(left) != 50 {
			t.Errorf("got %d search rows, %v; want those of the 50 that wait", len(left), err)
		}
		if got := f.list(&storev1.QueueListRequest{ForwardPath: "b@far.example"}); len(got) != 50 {
			t.Errorf("got %d, want what waits found still", len(got))
		}
	})
}

// searched is a ledger with everything that was put into it.
type searched struct {
	*fixture
	r   *rand.Rand
	ids [][]byte
}

func (s *searched) address() string {
	return fmt.Sprintf("%s@%s", []string{"a", "B", "c"}[s.r.IntN(3)], []string{"one.example", "Two.example", "three.example"}[s.r.IntN(3)])
}

func (s *searched) client() string { return fmt.Sprintf("192.0.2.%d", s.r.IntN(4)) }

func (s *searched) reply() string {
	return []string{"250 2.0.0 queued as XYZ", "550 5.1.1 user unknown", "451 4.7.1 try again later", "552 5.2.2 mailbox full", ""}[s.r.IntN(5)]
}

// step records a few messages or reports on some.
func (s *searched) step() {
	s.Helper()
	s.clock.Advance(time.Duration(s.r.IntN(600)) * time.Second)
	var batch []*storev1.Routed
	for range s.r.IntN(4) {
		var rows []*storev1.RecipientRow
		for range 1 + s.r.IntN(3) {
			row := Remote(s.address())
			if s.r.IntN(3) == 0 {
				row.Original = s.address()
			}
			rows = append(rows, row)
		}
		if s.r.IntN(4) == 0 {
			settled := Settled(rows[0].ForwardPath, storev1.State_STATE_BOUNCED)
			settled.LastReply = s.reply()
			rows[0] = settled
		}
		m := s.message(rows...)
		if s.r.IntN(8) > 0 {
			m.Message.Envelope.ReversePath = s.address()
		} else {
			m.Message.Envelope.ReversePath = ""
		}
		m.Message.Envelope.MessageId = fmt.Sprintf("<%d@x>", s.r.IntN(20))
		m.Message.Envelope.Client = &mailv1.Client{Address: s.client()}
		batch, s.ids = append(batch, m), append(s.ids, m.Message.QueueId)
	}
	s.record(batch...)
	for range s.r.IntN(4) {
		if len(s.ids) == 0 {
			return
		}
		id := s.ids[s.r.IntN(len(s.ids))]
		for _, row := range s.load(id).Recipients {
			if row.State == storev1.State_STATE_QUEUED && s.r.IntN(2) == 0 {
				state := []storev1.State{storev1.State_STATE_QUEUED, storev1.State_STATE_RELAYED, storev1.State_STATE_BOUNCED}[s.r.IntN(3)]
				s.report(&storev1.Report{QueueId: id, Generation: row.Generation, Outcomes: []*storev1.Outcome{outcome(row.Number, state, s.reply(), time.Time{})}})
			}
		}
	}
}

// question asks for one to three things.
func (s *searched) question() *storev1.QueueListRequest {
	q := &storev1.QueueListRequest{Limit: uint32(1 + s.r.IntN(40))}
	for range 1 + s.r.IntN(3) {
		switch s.r.IntN(11) {
		case 0:
			q.ReversePath = s.address()
		case 1:
			q.ReversePath = "<>"
		case 2:
			q.ForwardPath = s.address()
		case 3:
			q.ForwardPath = "@two.example"
		case 4:
			q.Domain = "ONE.example"
		case 5:
			q.MessageId = fmt.Sprintf("%d@x", s.r.IntN(20))
		case 6:
			q.Client = s.client()
		case 7:
			q.Reply = []string{"550", "5.2.2 mailbox", "try again", "queued xyz", "unknown"}[s.r.IntN(5)]
		case 8:
			q.SinceNs = NewClock().Now().Add(time.Duration(s.r.IntN(24)) * time.Hour).UnixNano()
		case 9:
			q.UntilNs = NewClock().Now().Add(time.Duration(s.r.IntN(24)) * time.Hour).UnixNano()
		case 10:
			q.States = []storev1.State{[]storev1.State{storev1.State_STATE_BOUNCED, storev1.State_STATE_RELAYED, storev1.State_STATE_QUEUED}[s.r.IntN(3)]}
		}
		if s.r.IntN(8) == 0 {
			q.Before = s.ids[s.r.IntN(len(s.ids))]
		}
		q.UnfinishedOnly = s.r.IntN(8) == 0
	}
	return q
}

// ask compares List with a look at every message.
func (s *searched) ask(q *storev1.QueueListRequest) {
	s.Helper()
	entries, err := s.l.Load(s.ctx, s.ids)
	if err != nil {
		s.Fatal(err)
	}
	var want []string
	for _, e := range entries {
		if search.Matches(q, e) {
			want = append(want, string(e.Message.QueueId))
		}
	}
	slices.SortFunc(want, func(a, b string) int { return bytes.Compare([]byte(b), []byte(a)) })
	want = want[:min(len(want), int(q.Limit))]
	if got := s.list(q); !slices.Equal(got, want) {
		s.Errorf("%v: got %d messages %x, want %d %x", q, len(got), got, len(want), want)
	}
}

// benchSearch fills a ledger with n settled messages, recorded size at a time, and finds some of them in all the ways
// that people search.
func benchSearch(b *testing.B, open Open, n, size int) {
	clock := NewClock()
	begin := clock.Now()
	l := open(b, clock.Now)
	fillSearched(b, l, clock, n, size)
	middle := n / 2
	at := begin.Add(time.Duration(middle) * time.Second)
	id := first(b, l, &storev1.QueueListRequest{MessageId: fmt.Sprintf("<m%d@example.net>", middle), Limit: 1})
	for _, row := range []struct {
		name string
		q    *storev1.QueueListRequest
		want int
	}{
		{"queue-id", &storev1.QueueListRequest{QueueId: id}, 1},
		{"message-id", &storev1.QueueListRequest{MessageId: fmt.Sprintf("<m%d@example.net>", middle)}, 1},
		{"sender", &storev1.QueueListRequest{ReversePath: fmt.Sprintf("sender-%d@example.net", middle)}, 1},
		{"sender-of-nothing", &storev1.QueueListRequest{ReversePath: "nobody@example.net"}, 0},
		{"sender-domain-of-all", &storev1.QueueListRequest{ReversePath: "@example.net"}, 100},
		{"recipient-of-1000", &storev1.QueueListRequest{ForwardPath: "user-7@example.org"}, 100},
		{"recipient-of-nothing", &storev1.QueueListRequest{ForwardPath: "nobody@example.org"}, 0},
		{"client", &storev1.QueueListRequest{Client: fmt.Sprintf("10.%d.%d.%d", byte(middle>>16), byte(middle>>8), byte(middle))}, 1},
		{"reply-rare", &storev1.QueueListRequest{Reply: "550 unknown"}, 100},
		{"reply-of-all", &storev1.QueueListRequest{Reply: "queued"}, 100},
		{"reply-of-nothing", &storev1.QueueListRequest{Reply: "greylisted"}, 0},
		{"sender-and-reply", &storev1.QueueListRequest{ReversePath: "@example.net", Reply: "unknown"}, 100},
		{"time", &storev1.QueueListRequest{SinceNs: at.UnixNano(), UntilNs: at.Add(time.Minute).UnixNano()}, 61},
		{"sender-and-time", &storev1.QueueListRequest{ReversePath: "@example.net", SinceNs: at.UnixNano(), UntilNs: at.Add(time.Minute).UnixNano()}, 61},
	} {
		b.Run(row.name, func(b *testing.B) {
			row.q.Limit = 100
			for range b.N {
				got := 0
				if err := l.List(context.Background(), row.q, func(page []*storev1.LedgerEntry) error { got += len(page); return nil }); err != nil {
					b.Fatal(err)
				}
				if got != min(row.want, n/1000) && got != row.want {
					b.Fatalf("found %d, want %d", got, row.want)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/search")
		})
	}
}

func first(b *testing.B, l ledger.Ledger, q *storev1.QueueListRequest) (id []byte) {
	err := l.List(context.Background(), q, func(page []*storev1.LedgerEntry) error {
		id = page[0].Message.QueueId
		return nil
	})
	if err != nil || id == nil {
		b.Fatal("nothing found: ", err)
	}
	return id
}

// fillSearched records one message for every second; each was relayed, one in a thousand bounced. Several write at once, as routers do.
func fillSearched(b *testing.B, l ledger.Ledger, clock *Clock, n, size int) {
	b.Helper()
	begin := clock.Now()
	var wg sync.WaitGroup
	batches := make(chan int)
	for range 16 {
		wg.Go(func() {
			for from := range batches {
				batch := make([]*storev1.Routed, min(size, n-from))
				for i := range batch {
					k := from + i
					row := Settled(fmt.Sprintf("user-%d@example.org", k%1000), storev1.State_STATE_RELAYED)
					row.LastReply = fmt.Sprintf("250 2.0.0 Ok: queued as %X", k*7919)
					if k%1000 == 500 {
						row.State, row.LastReply = storev1.State_STATE_BOUNCED, "550 5.1.1 user unknown"
					}
					batch[i] = Message(begin.Add(time.Duration(k)*time.Second), uint32(k), row)
					batch[i].Message.Envelope.Client = &mailv1.Client{Address: fmt.Sprintf("10.%d.%d.%d", byte(k>>16), byte(k>>8), byte(k))}
				}
				if _, err := l.Record(context.Background(), batch); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for from := 0; from < n; from += size {
		clock.Advance(time.Duration(size) * time.Second)
		batches <- from
	}
	close(batches)
	wg.Wait()
}
