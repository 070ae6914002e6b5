package ledgertest

import (
	"context"
	"fmt"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// testHistory plays random histories against a ledger and a small model of it: after every step all rows are as in the
// model, and at the end every recipient that was accepted is final, or hinted by a sweep, or waits for people.
func testHistory(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := NewClock()
		h := &history{
			T: rt, f: &fixture{fataler: rt, ctx: context.Background(), l: open(t, clock.Now), clock: clock},
			rows: map[rowKey]*modelRow{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { h.compare() },
			"record":  h.record,
			"claim":   h.claim,
			"report":  h.report,
			"sweep":   h.sweep,
			"act":     h.act,
			"advance": func(rt *rapid.T) { h.f.clock.Advance(rapid.SampledFrom(steps).Draw(rt, "step")) },
		})
		h.drain()
	})
}

var (
	steps  = []time.Duration{time.Second, lease / 2, lease, 2 * lease, time.Hour, Expiry}
	owners = []string{"one", "two"}
	groups = []string{"far.example", "other.example"}
)

type rowKey struct {
	id     envelope.QueueID
	number uint32
}

// modelRow is what the model knows of a recipient.
type modelRow struct {
	state      storev1.State
	group      string // empty: local
	generation uint32
	attempts   uint32
	owner      string
	claim, due time.Time
	expiry     time.Time
}

func (r *modelRow) queued() bool { return r.state == storev1.State_STATE_QUEUED }

// claimed tells whether an owner's lease runs.
func (r *modelRow) claimed(now time.Time) bool { return r.owner != "" && r.claim.After(now) }

type history struct {
	*rapid.T
	f        *fixture
	messages []*storev1.Routed
	rows     map[rowKey]*modelRow
}

func (h *history) now() time.Time { return h.f.clock.Now() }

// pick draws a message that was recorded.
func (h *history) pick(rt *rapid.T) *storev1.Routed {
	if len(h.messages) == 0 {
		rt.Skip("no message yet")
	}
	return rapid.SampledFrom(h.messages).Draw(rt, "message")
}

func (h *history) of(m *storev1.Routed) (rows []*modelRow) {
	for n := range m.Recipients {
		rows = append(rows, h.rows[rowKey{envelope.QueueID(m.Message.QueueId), uint32(n)}])
	}
	return rows
}

func (h *history) record(rt *rapid.T) {
	if len(h.messages) > 0 && rapid.IntRange(0, 3).Draw(rt, "repeat") == 0 {
		if got := h.f.record(h.pick(rt))[0]; got.Recorded || got.Conflict {
			rt.Fatalf("repeat: got %v", got)
		}
		return
	}
	var rows []*storev1.RecipientRow
	for range rapid.IntRange(1, 4).Draw(rt, "recipients") {
		switch rapid.IntRange(0, 3).Draw(rt, "kind") {
		case 0:
			rows = append(rows, Local("a@example.org", 1))
		case 1:
			rows = append(rows, Settled("b@example.org", storev1.State_STATE_BOUNCED))
		default:
			rows = append(rows, Remote("c@"+rapid.SampledFrom(groups).Draw(rt, "group")))
		}
	}
	m := h.f.message(rows...)
	h.f.record(m)
	h.messages = append(h.messages, m)
	for _, r := range rows {
		h.rows[rowKey{envelope.QueueID(m.Message.QueueId), r.Number}] = &modelRow{
			state: r.State, group: r.Group, due: h.now().Add(ledger.FirstDue), expiry: h.now().Add(Expiry),
		}
	}
}

func (h *history) claim(rt *rapid.T) {
	m := h.pick(rt)
	owner, group := rapid.SampledFrom(owners).Draw(rt, "owner"), rapid.SampledFrom(groups).Draw(rt, "group")
	renew, generation := rapid.Bool().Draw(rt, "renew"), rapid.Uint32Range(0, 4).Draw(rt, "generation")
	got := h.f.claim(owner, renew, m.Message.QueueId, group, generation)
	var want, have []uint32
	for n, r := range h.of(m) {
		if !r.queued() || r.group != group || r.generation != generation || r.owner != owner && (renew || r.claimed(h.now())) {
			continue
		}
		want = append(want, uint32(n))
		r.owner, r.claim, r.due = owner, h.now().Add(lease), h.now().Add(lease)
	}
	for _, r := range got.Recipients {
		have = append(have, r.Number)
	}
	sort.Slice(have, func(i, j int) bool { return have[i] < have[j] })
	if fmt.Sprint(have) != fmt.Sprint(want) || got.Claimed != (len(want) > 0) {
		rt.Fatalf("claim by %s of %s, generation %d, renew %t: got %v, want %v", owner, group, generation, renew, have, want)
	}
}

func (h *history) report(rt *rapid.T) {
	m := h.pick(rt)
	rows := h.of(m)
	r := &storev1.Report{
		QueueId: m.Message.QueueId, Owner: rapid.SampledFrom(append([]string{""}, owners...)).Draw(rt, "owner"),
		Generation: rapid.Uint32Range(0, 4).Draw(rt, "generation"),
	}
	want := true
	states := []storev1.State{storev1.State_STATE_QUEUED, storev1.State_STATE_RELAYED, storev1.State_STATE_BOUNCED, storev1.State_STATE_DEAD}
	for n, row := range rows {
		if len(r.Outcomes) > 0 && rapid.Bool().Draw(rt, "leave out") {
			continue
		}
		o := outcome(uint32(n), rapid.SampledFrom(states).Draw(rt, "state"), "451 later", h.now().Add(time.Minute))
		r.Outcomes = append(r.Outcomes, o)
		mine := row.owner == r.Owner || r.Owner == "" && !row.claimed(h.now())
		want = want && row.queued() && row.generation == r.Generation && mine
	}
	if got := h.f.report(r); got != want {
		rt.Fatalf("report %v on %+v: accepted is %t, want %t", r, rows, got, want)
	}
	if !want {
		return
	}
	for _, o := range r.Outcomes {
		row := rows[o.Number]
		row.state, row.attempts, row.owner, row.due = o.State, row.attempts+1, "", h.now().Add(time.Minute)
		if row.due.After(row.expiry) && row.expiry.After(h.now()) {
			row.due = row.expiry
		}
		if row.queued() {
			row.generation++
		}
	}
}

func (h *history) sweep(rt *rapid.T) {
	h.checkSweep(rapid.IntRange(1, 20).Draw(rt, "limit"))
}

// checkSweep sweeps, and tells how many rows were taken. Which of the due ones is the ledger's choice: each that it took is
// hinted, has its wait, and a new generation if a claim on it ran out.
func (h *history) checkSweep(limit int) int {
	due := h.f.sweep(limit)
	hinted := map[string]bool{}
	for _, w := range due.Local {
		hinted[fmt.Sprintf("%x/%d/%d", w.QueueId, w.Number, w.Generation)] = true
	}
	for _, w := range due.Remote {
		hinted[fmt.Sprintf("%x/%s/%d", w.QueueId, w.Group, w.Generation)] = true
	}
	if len(hinted) != len(due.Local)+len(due.Remote) || len(hinted) > due.Rows {
		h.Fatalf("sweep: got %v, want each hint once", due)
	}
	want, taken := 0, 0
	for _, m := range h.messages {
		entry := h.f.load(m.Message.QueueId)
		for n, r := range h.of(m) {
			if !r.queued() || r.due.After(h.now()) {
				continue
			}
			want++
			if entry.Recipients[n].DueNs == r.due.UnixNano() {
				continue
			}
			taken++
			if r.due = h.now().Add(time.Minute); r.owner != "" {
				r.owner, r.generation = "", r.generation+1
			}
			place := r.group
			if place == "" {
				place = fmt.Sprint(n)
			}
			if key := fmt.Sprintf("%x/%s/%d", m.Message.QueueId, place, r.generation); !hinted[key] {
				h.Fatalf("recipient %s was taken without a hint: %v", key, due)
			}
		}
	}
	if taken != min(want, limit) || taken != due.Rows {
		h.Fatalf("sweep of %d: took %d rows and said %d, want %d", limit, taken, due.Rows, min(want, limit))
	}
	return taken
}

func (h *history) act(rt *rapid.T) {
	m := h.pick(rt)
	action := rapid.SampledFrom([]storev1.Action{
		storev1.Action_ACTION_RETRY, storev1.Action_ACTION_HOLD, storev1.Action_ACTION_RELEASE, storev1.Action_ACTION_DELETE,
	}).Draw(rt, "action")
	var want uint32
	for _, r := range h.of(m) {
		if r.claimed(h.now()) {
			continue
		}
		before := r.state
		switch {
		case action == storev1.Action_ACTION_RETRY && (before == storev1.State_STATE_QUEUED || before == storev1.State_STATE_DEAD),
			action == storev1.Action_ACTION_RELEASE && before == storev1.State_STATE_HELD:
			r.state, r.due = storev1.State_STATE_QUEUED, h.now()
		case action == storev1.Action_ACTION_HOLD && before == storev1.State_STATE_QUEUED:
			r.state, r.owner = storev1.State_STATE_HELD, ""
		case action == storev1.Action_ACTION_DELETE && !ledger.IsFinal(before):
			r.state, r.owner = storev1.State_STATE_DISCARDED, ""
		default:
			continue
		}
		want++
	}
	if got := h.f.act(&storev1.ActRequest{Action: action, QueueIds: [][]byte{m.Message.QueueId}}); got != want {
		rt.Fatalf("%v: got %d recipients, want %d", action, got, want)
	}
}

// compare finds every row as the model has it.
func (h *history) compare() {
	var ids [][]byte
	for _, m := range h.messages {
		ids = append(ids, m.Message.QueueId)
	}
	entries, err := h.f.l.Load(h.f.ctx, ids)
	if err != nil {
		h.Fatal(err)
	}
	for i, e := range entries {
		if e.Message == nil || len(e.Recipients) != len(h.messages[i].Recipients) {
			h.Fatalf("message %x: got %v, want its %d recipients: one is lost", ids[i], e, len(h.messages[i].Recipients))
		}
		for n, r := range h.of(h.messages[i]) {
			got := e.Recipients[n]
			due := int64(0)
			if r.queued() {
				due = r.due.UnixNano()
			}
			if got.State != r.state || got.Generation != r.generation || got.Attempts != r.attempts || got.DueNs != due {
				h.Fatalf("recipient %d: got %v, want %+v", n, got, r)
			}
		}
	}
}

// drain shows that nothing that is queued is ever forgotten.
func (h *history) drain() {
	h.f.clock.Advance(2 * Expiry)
	queued := 0
	for _, r := range h.rows {
		if r.queued() {
			queued++
		}
	}
	swept := 0
	for {
		n := h.checkSweep(3)
		if n == 0 {
			break
		}
		swept += n
	}
	if swept != queued {
		h.Fatalf("swept %d of %d queued recipients", swept, queued)
	}
	h.compare()
}
