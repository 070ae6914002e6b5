package thread_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/services/imap/internal/thread"
)

func told(t thread.Threads) string {
	return string(t.AppendTo(nil, func(b []byte) []byte { return b }))
}

func TestReferences(t *testing.T) {
	for _, tc := range []struct {
		name     string
		messages []thread.Message
		want     string
	}{
		{"nothing", nil, ""},
		{"alone", []thread.Message{{Number: 1}, {Number: 2}}, "(1)(2)"},
		{"a chain and a fork", []thread.Message{
			{Number: 1, ID: 1, Sent: 1}, {Number: 2, ID: 2, Refs: []uint64{1}, Sent: 2}, {Number: 3, ID: 3, Refs: []uint64{1, 2}, Sent: 3}, {Number: 4, ID: 4, Refs: []uint64{1, 2}, Sent: 4},
		}, "(1 2 (3)(4))"},
		{"a missing parent joins", []thread.Message{{Number: 1, ID: 1, Refs: []uint64{9}, Sent: 2}, {Number: 2, ID: 2, Refs: []uint64{9}, Sent: 1}}, "((2)(1))"},
		{"a missing one between", []thread.Message{{Number: 1, ID: 1}, {Number: 2, ID: 2, Refs: []uint64{1, 9}}}, "(1 2)"},
		{"a missing root of one", []thread.Message{{Number: 1, ID: 1, Refs: []uint64{8, 9}}}, "(1)"},
		{"a loop", []thread.Message{{Number: 1, ID: 1, Refs: []uint64{2}}, {Number: 2, ID: 2, Refs: []uint64{1}}}, "(2 1)"},
		{"itself", []thread.Message{{Number: 1, ID: 1, Refs: []uint64{1}}}, "(1)"},
		{"an id twice", []thread.Message{{Number: 1, ID: 1}, {Number: 2, ID: 1}, {Number: 3, ID: 3, Refs: []uint64{1}}}, "(1 3)(2)"},
		{"subjects: replies hang below", []thread.Message{{Number: 1, Base: "A", Sent: 1}, {Number: 2, Base: "A", Reply: true, Sent: 2}, {Number: 3, Base: "B", Sent: 3}}, "(1 2)(3)"},
		{"subjects: originals stand side by side", []thread.Message{{Number: 1, Base: "A", Sent: 1}, {Number: 2, Base: "A", Sent: 2}, {Number: 3, Base: "A", Sent: 3}}, "((1)(2)(3))"},
		{"subjects: the reply came first", []thread.Message{{Number: 1, Base: "A", Reply: true, Sent: 1}, {Number: 2, Base: "A", Sent: 2}}, "(2 1)"},
		{"no subject is no subject in common", []thread.Message{{Number: 1, Sent: 1}, {Number: 2, Sent: 2}}, "(1)(2)"},
		{"by date", []thread.Message{{Number: 1, Sent: 5}, {Number: 2, Sent: 3}}, "(2)(1)"},
	} {
		if got := told(thread.References(tc.messages)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestRefs(t *testing.T) {
	got := told(thread.Refs([]thread.Message{
		{Number: 1, ID: 1, Sent: 1, Received: 1, Base: "A"}, {Number: 2, ID: 2, Sent: 2, Received: 2, Base: "A", Reply: true},
		{Number: 3, ID: 3, Refs: []uint64{1}, Sent: 3, Received: 3},
	}))
	if want := "(2)(1 3)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestOrderedSubject(t *testing.T) {
	got := told(thread.OrderedSubject([]thread.Message{
		{Number: 1, Base: "B", Sent: 4}, {Number: 2, Base: "A", Sent: 5}, {Number: 3, Base: "A", Sent: 2}, {Number: 4, Base: "A", Sent: 3}, {Number: 5, Base: "B", Sent: 9},
	}))
	if want := "(3 (4)(2))(1 5)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestEveryMessageOnce: whatever refers to whatever, each message is told once.
func TestEveryMessageOnce(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		n := 1 + rnd.IntN(60)
		messages := make([]thread.Message, n)
		for i := range messages {
			m := &messages[i]
			m.Number, m.ID, m.Sent, m.Received = uint32(i+1), uint64(rnd.IntN(n)), int64(rnd.IntN(9)), int64(rnd.IntN(9))
			for range rnd.IntN(5) {
				m.Refs = append(m.Refs, uint64(1+rnd.IntN(2*n)))
			}
			m.Base, m.Reply = []string{"", "A", "B"}[rnd.IntN(3)], rnd.IntN(2) == 0
		}
		for _, algorithm := range []func([]thread.Message) thread.Threads{thread.References, thread.Refs, thread.OrderedSubject} {
			got := told(algorithm(slices.Clone(messages)))
			fields := strings.FieldsFunc(got, func(r rune) bool { return r < '0' || r > '9' })
			slices.Sort(fields)
			if len(slices.Compact(fields)) != n {
				t.Fatalf("seed %d: %d of %d messages in %s", seed, len(fields), n, got)
			}
		}
	}
}

// TestLongChain: a thread is no deeper than what can be told and looked through.
func TestLongChain(t *testing.T) {
	const n = 20_000
	messages := make([]thread.Message, n)
	for i := range messages {
		messages[i] = thread.Message{Number: uint32(i + 1), ID: uint64(i + 1), Sent: int64(i)}
		if i > 0 {
			messages[i].Refs = []uint64{uint64(i)}
		}
	}
	if got := len(thread.References(messages)); got < n/1100 || got > n/900 {
		t.Errorf("%d threads", got)
	}
}
