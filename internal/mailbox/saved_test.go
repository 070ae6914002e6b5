package mailbox_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// TestSaved: what is packed comes back, in few octets for what mostly happens.
func TestSaved(t *testing.T) {
	received := make([]int64, mailbox.ChunkSize)
	for i := range received {
		received[i] = 1_700_000_000 + int64(i*i*37%100_000)
	}
	at := func(f func(i int) int64) []int64 {
		out := make([]int64, len(received))
		for i := range out {
			out[i] = f(i)
		}
		return out
	}
	for _, row := range []struct {
		name  string
		saved []int64
		most  int
	}{
		{"as received", received, 4},
		{"copied at once", at(func(int) int64 { return 1_800_000_000 }), 10},
		{"as received, then copied", at(func(i int) int64 {
			if i < 100 {
				return received[i]
			}
			return 1_800_000_000
		}), 800},
		{"anything", at(func(i int) int64 { return int64(i*i*i) - 1<<40 }), 2000},
	} {
		b := mailbox.AppendSaved([]byte("x"), row.saved, received)[1:]
		got, err := mailbox.DecodeSaved(nil, b, received)
		if err != nil || !slices.Equal(got, row.saved) {
			t.Errorf("%s: %v, %v", row.name, got, err)
		}
		if len(b) > row.most {
			t.Errorf("%s: %d octets", row.name, len(b))
		}
		// What somebody left behind who does not know the column tells nothing.
		for _, n := range []int{0, 1, len(received) - 1} {
			if got, err := mailbox.DecodeSaved(nil, b, received[:n]); err != nil || !slices.Equal(got, received[:n]) {
				t.Errorf("%s for %d entries: %v, %v", row.name, n, got, err)
			}
		}
		more := append(slices.Clone(received), 5)
		if got, err := mailbox.DecodeSaved(nil, b, more); err != nil || !slices.Equal(got, more) {
			t.Errorf("%s for one more: %v, %v", row.name, got, err)
		}
	}
	if got, err := mailbox.DecodeSaved([]int64{7}, nil, received[:2]); err != nil || !slices.Equal(got, []int64{7, received[0], received[1]}) {
		t.Errorf("without a column: %v, %v", got, err)
	}
	for _, b := range []string{"\x02", "\x00\x80", "\x01\x02", "\x00\x02\x80"} {
		if _, err := mailbox.DecodeSaved(nil, []byte(b), received); !errors.Is(err, mailbox.ErrColumn) {
			t.Errorf("%q: %v", b, err)
		}
	}
}
