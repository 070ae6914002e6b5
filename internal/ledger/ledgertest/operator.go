package ledgertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func (f *fixture) list(q *storev1.QueueListRequest) (ids []string) {
	f.Helper()
	err := f.l.List(f.ctx, q, func(page []*storev1.LedgerEntry) error {
		if len(page) == 0 || len(page) > ledger.ListPage {
			f.Errorf("a page of %d entries", len(page))
		}
		for _, e := range page {
			ids = append(ids, string(e.Message.QueueId))
		}
		return nil
	})
	if err != nil {
		f.Fatalf("list: %v", err)
	}
	return ids
}

func testList(t *testing.T, open Open) {
	f := start(t, open)
	begin := f.clock.Now()
	var ids []string
	add := func(rows ...*storev1.RecipientRow) {
		f.clock.Advance(time.Second)
		ids = append(ids, string(f.put(rows...)))
	}
	alias := Local("bob@example.org", 2)
	alias.Original = "All@example.org"
	add(Local("alice@example.org", 1))
	add(Remote("carol@far.example"), Settled("Alice@Example.ORG", storev1.State_STATE_BOUNCED))
	add(Settled("dave@example.org", storev1.State_STATE_EXPANDED), alias)
	add(Settled("alice@example.org", storev1.State_STATE_QUARANTINED))
	add(Settled("erin@example.org", storev1.State_STATE_DISCARDED))
	for name, row := range map[string]struct {
		q    *storev1.QueueListRequest
		want []int
	}{
		"all, newest first":        {&storev1.QueueListRequest{}, []int{4, 3, 2, 1, 0}},
		"limit":                    {&storev1.QueueListRequest{Limit: 2}, []int{4, 3}},
		"id":                       {&storev1.QueueListRequest{QueueId: []byte(ids[2])}, []int{2}},
		"recipient, in any case":   {&storev1.QueueListRequest{ForwardPath: "ALICE@example.org"}, []int{3, 1, 0}},
		"recipient of RCPT":        {&storev1.QueueListRequest{ForwardPath: "all@example.org"}, []int{2}},
		"sender":                   {&storev1.QueueListRequest{ReversePath: "Sender-2@example.net"}, []int{1}},
		"message-id":               {&storev1.QueueListRequest{MessageId: "<m3@example.net>"}, []int{2}},
		"message-id without <>":    {&storev1.QueueListRequest{MessageId: "m3@example.net"}, []int{2}},
		"since":                    {&storev1.QueueListRequest{SinceNs: begin.Add(3 * time.Second).UnixNano()}, []int{4, 3, 2}},
		"until":                    {&storev1.QueueListRequest{UntilNs: begin.Add(3 * time.Second).UnixNano()}, []int{2, 1, 0}},
		"unfinished":               {&storev1.QueueListRequest{UnfinishedOnly: true}, []int{3, 2, 1, 0}},
		"state":                    {&storev1.QueueListRequest{States: []storev1.State{storev1.State_STATE_QUARANTINED}}, []int{3}},
		"final state":              {&storev1.QueueListRequest{States: []storev1.State{storev1.State_STATE_BOUNCED, storev1.State_STATE_DISCARDED}}, []int{4, 1}},
		"recipient in a state":     {&storev1.QueueListRequest{ForwardPath: "alice@example.org", States: []storev1.State{storev1.State_STATE_QUEUED}}, []int{0}},
		"conditions join":          {&storev1.QueueListRequest{ForwardPath: "alice@example.org", SinceNs: begin.Add(2 * time.Second).UnixNano(), UnfinishedOnly: true, ReversePath: "sender-2@example.net"}, []int{1}},
		"nothing":                  {&storev1.QueueListRequest{ForwardPath: "nobody@example.org"}, nil},
		"a name is not a pattern":  {&storev1.QueueListRequest{ForwardPath: "%"}, nil},
		"a quote is not a command": {&storev1.QueueListRequest{ForwardPath: `"'";--"@example.org`}, nil},
	} {
		var want []string
		for _, i := range row.want {
			want = append(want, ids[i])
		}
		if got := f.list(row.q); fmt.Sprintf("%x", got) != fmt.Sprintf("%x", want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
	stop := errors.New("stop")
	if err := f.l.List(f.ctx, &storev1.QueueListRequest{}, func([]*storev1.LedgerEntry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the callback's error", err)
	}
}

func testAct(t *testing.T, open Open) {
	ids := func(id []byte) [][]byte { return [][]byte{id} }
	t.Run("retry makes due now", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Local("a@example.org", 1), Remote("b@far.example"), Settled("c@example.org", storev1.State_STATE_BOUNCED))
		if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_RETRY, QueueIds: ids(id), ForwardPath: "A@example.org"}); n != 1 {
			t.Errorf("one address: got %d, want 1", n)
		}
		if due := f.sweep(10); len(due.Local) != 1 || due.Rows != 1 {
			t.Errorf("sweep: got %v, want the local one", due)
		}
		if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_RETRY, All: true}); n != 2 {
			t.Errorf("all: got %d, want 2", n)
		}
		if due := f.sweep(10); due.Rows != 2 {
			t.Errorf("sweep: got %v, want both", due)
		}
	})
	t.Run("hold stops and release goes on", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"), Settled("b@example.org", storev1.State_STATE_EXPANDED))
		if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_HOLD, QueueIds: ids(id)}); n != 1 {
			t.Fatalf("hold: got %d, want 1", n)
		}
		f.clock.Advance(10 * Expiry)
		if due := f.sweep(10); due.Rows != 0 || f.claim("one", false, id, "far.example", 0).Claimed {
			t.Errorf("held, but swept %v or claimed", due)
		}
		if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_RELEASE, QueueIds: ids(id)}); n != 1 {
			t.Fatalf("release: got %d, want 1", n)
		}
		if due := f.sweep(10); due.Rows != 1 {
			t.Errorf("released: swept %v", due)
		}
	})
	t.Run("delete is on record", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Local("a@example.org", 1), Settled("b@example.org", storev1.State_STATE_QUARANTINED), Settled("c@example.org", storev1.State_STATE_BOUNCED))
		if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_DELETE, QueueIds: ids(id)}); n != 2 {
			t.Fatalf("got %d, want the 2 that were not final", n)
		}
		for i, want := range []storev1.State{storev1.State_STATE_DISCARDED, storev1.State_STATE_DISCARDED, storev1.State_STATE_BOUNCED} {
			if r := f.row(id, i); r.State != want || r.LastReply == "" {
				t.Errorf("recipient %d: got %v, want %v with its reason", i, r, want)
			}
		}
	})
	t.Run("an attempt under way is left alone", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"))
		f.claim("one", false, id, "far.example", 0)
		for _, a := range []storev1.Action{storev1.Action_ACTION_RETRY, storev1.Action_ACTION_HOLD, storev1.Action_ACTION_DELETE} {
			if n := f.act(&storev1.ActRequest{Action: a, QueueIds: ids(id)}); n != 0 {
				t.Errorf("%v: got %d, want 0", a, n)
			}
		}
		if !f.report(&storev1.Report{QueueId: id, Owner: "one", Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_RELAYED, "250 ok", time.Time{})}}) {
			t.Error("the attempt's report was refused")
		}
	})
	t.Run("poison with a destination is queued again", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Local("a@example.org", 1))
		f.report(&storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_DEAD, "panic", time.Time{})}})
		if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_RETRY, QueueIds: ids(id)}); n != 1 {
			t.Fatalf("got %d, want 1", n)
		}
		if due := f.sweep(10); len(due.Local) != 1 {
			t.Errorf("sweep: got %v", due)
		}
	})
	t.Run("what never had a destination is routed again", func(t *testing.T) {
		for _, row := range []struct {
			action storev1.Action
			state  storev1.State
			want   mailv1.Action
		}{
			{storev1.Action_ACTION_RELEASE, storev1.State_STATE_QUARANTINED, mailv1.Action_ACTION_ACCEPT},
			{storev1.Action_ACTION_RETRY, storev1.State_STATE_DEAD, mailv1.Action_ACTION_JUNK},
		} {
			f := start(t, open)
			m := f.message(Settled("a@example.org", row.state), Settled("b@example.org", row.state))
			m.Message.Verdict = &mailv1.Verdict{Action: mailv1.Action_ACTION_JUNK, Score: 3}
			f.record(m)
			if n := f.act(&storev1.ActRequest{Action: row.action, QueueIds: ids(m.Message.QueueId)}); n != 2 {
				t.Errorf("%v: got %d, want 2", row.action, n)
			}
			var got mailv1.Accepted
			if waiting := f.outbox(); len(waiting) != 1 || proto.Unmarshal(waiting[0].Payload, &got) != nil {
				t.Fatalf("%v: got %v in the outbox, want the message", row.action, waiting)
			}
			want := &mailv1.Accepted{QueueId: m.Message.QueueId, BlobId: m.Message.BlobId, Verdict: &mailv1.Verdict{Action: row.want, Score: 3}}
			if !proto.Equal(&got, want) {
				t.Errorf("%v: got %v, want %v", row.action, &got, want)
			}
			if known, err := f.l.Waiting(f.ctx, ids(m.Message.QueueId)); err != nil || !known[0] {
				t.Errorf("%v: waiting is %v, %v", row.action, known, err)
			}
			if r := f.record(m)[0]; !r.Recorded {
				t.Errorf("%v: the router could not record it anew: %v", row.action, r)
			}
		}
	})
	t.Run("frames beyond the horizon wait for a decision", func(t *testing.T) {
		f := start(t, open)
		var frames []ledger.Withheld
		for i := range 3 {
			frames = append(frames, ledger.Withheld{ID: envelope.NewQueueID(f.clock.Now()), BlobID: blob.ID{Incarnation: 1, Offset: uint32(i), Length: 9}})
			f.clock.Advance(time.Second)
		}
		for range 2 {
			if err := f.l.Withhold(f.ctx, frames); err != nil {
				t.Fatal(err)
			}
		}
		f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_RELEASE, QueueIds: ids(frames[1].ID[:])})
		f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_DELETE, QueueIds: ids(frames[2].ID[:])})
		all := [][]byte{frames[0].ID[:], frames[1].ID[:], frames[2].ID[:], f.message().Message.QueueId}
		got, err := f.l.Decisions(f.ctx, all)
		want := []ledger.Decision{ledger.Undecided, ledger.Released, ledger.Discarded, ledger.NotWithheld}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		released, err := f.l.Withheld(f.ctx, ledger.Released, envelope.QueueID{}, 10)
		if err != nil || len(released) != 1 || released[0] != frames[1] {
			t.Errorf("released: got %v, %v; want %v", released, err, frames[1])
		}
		if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_RELEASE, All: true}); n != 1 {
			t.Errorf("release all: got %d, want the one undecided", n)
		}
		if err := f.l.DropWithheld(f.ctx, all[:2]); err != nil {
			t.Fatal(err)
		}
		if got, _ := f.l.Decisions(f.ctx, all); got[0] != ledger.NotWithheld || got[2] != ledger.Discarded {
			t.Errorf("after dropping: got %v", got)
		}
	})
	t.Run("no action is refused", func(t *testing.T) {
		f := start(t, open)
		if _, err := f.l.Act(f.ctx, &storev1.ActRequest{}); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
	})
}
