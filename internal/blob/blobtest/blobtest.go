// Package blobtest is the contract suite of blob.Store: every implementation passes Run.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
)

// Place is where a store lies: empty at first, and opened any number of times, one after another.
type Place struct {
	// Open opens the store as a new writer. The test closes it.
	Open func(t *testing.T) blob.Store
	// Corrupt changes the octet at an offset of a frame where it is stored; header first, counted from 0. It is called
	// while no store is open. nil leaves out the tests of damage.
	Corrupt func(t *testing.T, id blob.ID, offset uint32)
}

// Run tests the contract. at makes a place for each test. The store's threshold for bodies apart must be
// blob.SpoolMemory.
func Run(t *testing.T, at func(t *testing.T) Place) {
	tests := []struct {
		name string
		run  func(t *testing.T, p Place)
	}{
		{"commit and open", testCommit},
		{"bodies of every size", testSizes},
		{"ranges", testRanges},
		{"draft reads what it wrote", testDraftReadAt},
		{"draft is over once", testDraftOver},
		{"body or tail too large", testTooLarge},
		{"meta", testMeta},
		{"unknown ids", testUnknown},
		{"shared body", testShared},
		{"commits at once", testConcurrent},
		{"commit with an ended context", testContext},
		{"scan", testScan},
		{"scan goes on", testScanPosition},
		{"scan stops where it is told", testScanStop},
		{"incarnations", testIncarnations},
		{"close", testClose},
		{"frames outlive the store", testOpenOverClose},
		{"random history", testHistory},
		{"damage", testDamage},
		{"damage is met by scan", testScanDamage},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, at(t)) })
	}
}

// T is what the helpers need of a testing.TB or a rapid.T.
type T interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// Octets are n octets that depend on seed alone, and do not compress.
func Octets(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32), 1})
	r.Read(b)
	return b
}

// Message is something to commit.
type Message struct {
	Meta blob.Meta
	Body []byte
}

// NewMessage makes an accepted message with a body of n octets that depends on seed.
func NewMessage(seed uint64, n int) Message {
	id := envelope.QueueID{0: 1, 15: byte(seed), 14: byte(seed >> 8), 13: byte(seed >> 16)}
	return Message{
		Meta: blob.Meta{Kind: blob.Accepted, QueueID: id, Tail: []byte(fmt.Sprintf("tail of %d", seed))},
		Body: Octets(seed, n),
	}
}

// Commit commits a message.
func Commit(t T, s blob.Store, m Message) blob.ID {
	t.Helper()
	d, err := s.Create(blob.ID{})
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	defer d.Discard()
	if n, err := d.Write(m.Body); n != len(m.Body) || err != nil {
		t.Fatalf("Write of %d octets: %d, %v", len(m.Body), n, err)
	}
	id, err := d.Commit(t.Context(), m.Meta)
	if err != nil {
		t.Fatalf("Commit of %d octets: %v", len(m.Body), err)
	}
	return id
}

// CommitShared commits a message with the body of another.
func CommitShared(t T, s blob.Store, body blob.ID, meta blob.Meta) blob.ID {
	t.Helper()
	d, err := s.Create(body)
	if err != nil {
		t.Fatalf("Create with the body of %v: %v", body, err)
	}
	defer d.Discard()
	id, err := d.Commit(t.Context(), meta)
	if err != nil {
		t.Fatalf("Commit with the body of %v: %v", body, err)
	}
	return id
}

// Check opens a blob and compares all of it with what was committed.
func Check(t T, s blob.Store, id blob.ID, want Message) {
	t.Helper()
	if err := Compare(t, s, id, want); err != nil {
		t.Error(err)
	}
}

// Compare tells how a blob differs from what was committed.
func Compare(t T, s blob.Store, id blob.ID, want Message) error {
	f, err := s.Open(t.Context(), id)
	if err != nil {
		return fmt.Errorf("Open(%v) of %d octets: %w", id, len(want.Body), err)
	}
	defer f.Close()
	got := make([]byte, f.Size)
	if _, err := io.ReadFull(f.Reader(), got); err != nil && err != io.EOF {
		return fmt.Errorf("read body of %v: %w", id, err)
	}
	if n, err := f.Body.ReadAt(make([]byte, 1), f.Size); n != 0 || err != io.EOF {
		return fmt.Errorf("read behind the body of %v: %d octets, %w", id, n, err)
	}
	switch {
	case f.ID != id:
		return fmt.Errorf("Open(%v): its ID is %v", id, f.ID)
	case f.Size != int64(len(want.Body)):
		return fmt.Errorf("Open(%v): size %d, want %d", id, f.Size, len(want.Body))
	case !bytes.Equal(got, want.Body):
		return fmt.Errorf("Open(%v): body differs at octet %d of %d", id, differsAt(got, want.Body), len(want.Body))
	case f.Digest != blake3.Sum256(want.Body):
		return fmt.Errorf("Open(%v): digest is not the body's", id)
	case !sameMeta(f.Meta, want.Meta):
		return fmt.Errorf("Open(%v): meta %+v, want %+v", id, f.Meta, want.Meta)
	}
	return nil
}

func sameMeta(a, b blob.Meta) bool {
	return a.Kind == b.Kind && a.QueueID == b.QueueID && bytes.Equal(a.Tail, b.Tail)
}

func differsAt(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// ScanAll scans all incarnations from the start.
func ScanAll(t T, s blob.Store) []blob.Scanned {
	t.Helper()
	incarnations, err := s.Incarnations(t.Context())
	if err != nil {
		t.Fatalf("Incarnations: %v", err)
	}
	var all []blob.Scanned
	for _, inc := range incarnations {
		at, err := s.Scan(t.Context(), blob.Position{Incarnation: inc.ID}, func(f blob.Scanned) error {
			all = append(all, f)
			return nil
		})
		if err != nil {
			t.Fatalf("Scan of incarnation %d: %v", inc.ID, err)
		}
		if at.Incarnation != inc.ID {
			t.Fatalf("Scan of incarnation %d ended at %+v", inc.ID, at)
		}
	}
	return all
}

// CheckScan compares what a scan of all incarnations finds with the messages that were committed, by ID.
func CheckScan(t T, s blob.Store, want map[blob.ID]Message) {
	t.Helper()
	seen := map[blob.ID]bool{}
	for _, f := range ScanAll(t, s) {
		m, ok := want[f.ID]
		switch {
		case f.Err != nil:
			t.Errorf("Scan: %v is damaged: %v", f.ID, f.Err)
		case !ok:
			t.Errorf("Scan: %v was never committed", f.ID)
		case seen[f.ID]:
			t.Errorf("Scan: %v comes twice", f.ID)
		case !sameMeta(f.Meta, m.Meta) || f.Size != int64(len(m.Body)):
			t.Errorf("Scan: %v has %d octets, %+v; want %d, %+v", f.ID, f.Size, f.Meta, len(m.Body), m.Meta)
		case time.Since(f.Written).Abs() > time.Hour && f.Written.Year() != 2000:
			// Tests with a clock of their own set it to the year 2000.
			t.Errorf("Scan: %v was written at %v", f.ID, f.Written)
		}
		seen[f.ID] = true
	}
	for id := range want {
		if !seen[id] {
			t.Errorf("Scan: %v is missing", id)
		}
	}
}

func closeStore(t *testing.T, s blob.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// open opens the store for the length of a test.
func open(t *testing.T, p Place) blob.Store {
	t.Helper()
	s := p.Open(t)
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
