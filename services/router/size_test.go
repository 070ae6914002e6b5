package router

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// checked refuses what gRPC would.
func checked(m proto.Message) error {
	if n := proto.Size(m); n > rpc.MaxMessage {
		return status.Errorf(codes.ResourceExhausted, "%d octets", n)
	}
	return nil
}

// smallCalls is a book behind calls of a limited size, that answers for at most a few messages at once.
type smallCalls struct {
	*book
	answers int
	calls   int
}

func (b *smallCalls) Record(ctx context.Context, req *storev1.RecordRequest, opts ...grpc.CallOption) (*storev1.RecordResponse, error) {
	b.calls++
	if err := checked(req); err != nil {
		return nil, err
	}
	req.Messages = req.Messages[:min(b.answers, len(req.Messages))]
	resp, err := b.book.Record(ctx, req, opts...)
	if err == nil {
		err = checked(resp)
	}
	return resp, err
}

// smallAnswers is a directory behind calls of a limited size.
type smallAnswers struct{ *people }

func (p smallAnswers) Resolve(ctx context.Context, req *directoryv1.ResolveRequest, opts ...grpc.CallOption) (*directoryv1.ResolveResponse, error) {
	if len(req.Addresses) > 100_000 {
		return nil, status.Errorf(codes.InvalidArgument, "%d addresses", len(req.Addresses))
	}
	resp, err := p.people.Resolve(ctx, req, opts...)
	if err == nil {
		err = checked(resp)
	}
	return resp, err
}

// TestWideAliases: a batch of messages to 10,000 members each, and one whose rows alone are more than a call's share.
func TestWideAliases(t *testing.T) {
	const members = 10_000
	names := map[string][]string{}
	for i := range members {
		name := fmt.Sprintf("firstname.lastname%d", i)
		names[name] = nil
		names["everybody"] = append(names["everybody"], name+"@example.org")
	}
	w := newWorld(t, names)
	calls := &smallCalls{book: w.book, answers: 7}
	w.cfg.MaxRecipients, w.deps.Ledger, w.deps.Directory = members, calls, smallAnswers{w.people}
	var jobs []*job
	for range 24 {
		jobs = append(jobs, newJob("everybody@example.org"))
	}
	long := newJob("everybody@example.org")
	long.message.Envelope.Recipients[0].Orcpt = "rfc822;" + strings.Repeat("x", 1000)
	jobs = append(jobs, long)
	if err := w.resolve(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	jobs, err := w.record(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) != 25 || len(w.book.got) != 25 {
		t.Fatalf("%d jobs, %d messages recorded; want 25", len(jobs), len(w.book.got))
	}
	for i, m := range w.book.got {
		if len(m.Recipients) != members+1 || string(m.Message.QueueId) != string(jobs[i].id[:]) {
			t.Errorf("message %d: %d rows, want %d and those of its job", i, len(m.Recipients), members+1)
		}
	}
	if size := proto.Size(w.book.got[24]); size < maxRecord {
		t.Errorf("the long message measures %d, which is no test", size)
	}
	if calls.calls < 5 || calls.calls > 20 {
		t.Errorf("%d calls", calls.calls)
	}
}

// TestManyWideAliases: the directory's answer may be too large as well.
func TestManyWideAliases(t *testing.T) {
	names := map[string][]string{}
	var rcpts []string
	targets := make([]string, 10_000)
	for i := range targets {
		targets[i] = fmt.Sprintf("firstname.lastname%d@department.example.org", i)
	}
	for i := range 100 {
		names[fmt.Sprintf("list%d", i)] = targets
		rcpts = append(rcpts, fmt.Sprintf("list%d@example.org", i))
	}
	w := newWorld(t, names)
	w.deps.Directory = smallAnswers{w.people}
	j := newJob(rcpts...)
	if err := w.resolve(t.Context(), []*job{j}); err != nil {
		t.Fatal(err)
	}
	if len(j.rows) != 100 { // each is wider than this router lets through
		t.Errorf("%d rows", len(j.rows))
	}
}

// TestRecordEntersNothing is a ledger that answers without results: all work is tried again.
func TestRecordEntersNothing(t *testing.T) {
	w := newWorld(t, map[string][]string{"alice": nil})
	w.deps.Ledger = &smallCalls{book: w.book}
	if jobs, err := w.record(t.Context(), []*job{newJob("alice@example.org"), newJob("alice@example.org")}); err == nil || len(jobs) != 2 {
		t.Errorf("got %d jobs and %v, want both back with an error", len(jobs), err)
	}
}
