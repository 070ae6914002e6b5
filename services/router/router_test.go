package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// people is a directory of example.org: a name maps to its alias's targets; without targets it is an account.
type people struct {
	directoryv1.DirectoryClient
	names map[string][]string
	calls int
	away  error
}

func (p *people) Resolve(_ context.Context, req *directoryv1.ResolveRequest, _ ...grpc.CallOption) (*directoryv1.ResolveResponse, error) {
	p.calls++
	if p.away != nil {
		return nil, p.away
	}
	resp := &directoryv1.ResolveResponse{}
	for _, a := range req.Addresses {
		resp.Resolutions = append(resp.Resolutions, p.resolve(a))
	}
	return resp, nil
}

func (p *people) resolve(address string) *directoryv1.Resolution {
	path := envelope.ForwardPath(address)
	if path.Domain() != "example.org" {
		return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_REMOTE, Address: address}
	}
	local, detail, _ := strings.Cut(path.LocalPart(), "+")
	targets, ok := p.names[local]
	r := &directoryv1.Resolution{Address: local + "@example.org", Detail: detail}
	switch {
	case !ok:
		r.Kind = directoryv1.Kind_KIND_UNKNOWN
	case targets == nil:
		r.Kind, r.Account = directoryv1.Kind_KIND_ACCOUNT, uint64(len(local))
	default:
		r.Kind, r.Targets = directoryv1.Kind_KIND_ALIAS, targets
	}
	return r
}

// book is a ledger that takes everything.
type book struct {
	storev1.LedgerClient
	got  []*storev1.Routed
	away error
}

func (b *book) Record(_ context.Context, req *storev1.RecordRequest, _ ...grpc.CallOption) (*storev1.RecordResponse, error) {
	if b.away != nil {
		return nil, b.away
	}
	resp := &storev1.RecordResponse{}
	for _, m := range req.Messages {
		b.got = append(b.got, m)
		resp.Results = append(resp.Results, &storev1.RecordResult{Recorded: true, Recipients: m.Recipients})
	}
	return resp, nil
}

// wire notes what is published.
type wire struct {
	Bus
	local  []*mailv1.LocalWork
	remote []*mailv1.RemoteWork
}

func (w *wire) PublishAll(_ context.Context, s bus.Subject, _ []uint64, payloads [][]byte) error {
	for _, p := range payloads {
		var err error
		if s == bus.Local {
			w.local = append(w.local, &mailv1.LocalWork{})
			err = proto.Unmarshal(p, w.local[len(w.local)-1])
		} else {
			w.remote = append(w.remote, &mailv1.RemoteWork{})
			err = proto.Unmarshal(p, w.remote[len(w.remote)-1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bouncer notes whom a DSN would tell of.
type bouncer struct{ about []*storev1.RecipientRow }

func (b *bouncer) Bounce(_ context.Context, parent *mailv1.Accepted, about []*storev1.RecipientRow) (*mailv1.Accepted, error) {
	b.about = append(b.about, about...)
	return &mailv1.Accepted{QueueId: make([]byte, 16), Envelope: &mailv1.Envelope{Parent: parent.QueueId}}, nil
}

type world struct {
	*Service
	people  *people
	book    *book
	wire    *wire
	bouncer *bouncer
	before  []string // Delivered-To of the messages
}

func newWorld(t *testing.T, names map[string][]string) *world {
	t.Helper()
	w := &world{people: &people{names: names}, book: &book{}, wire: &wire{}, bouncer: &bouncer{}}
	s, err := New(Config{MaxAliasDepth: 5, MaxRecipients: 50}, Deps{
		Bus: w.wire, Directory: w.people, Ledger: w.book, Bounces: w.bouncer, Delivered: func([]byte) []string { return w.before },
		Trace: obs.NoTrace{}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
	return w
}

func newJob(rcpts ...string) *job {
	id := envelope.NewQueueID(time.Now())
	env := &mailv1.Envelope{QueueId: id[:], ReversePath: "carol@sender.example"}
	for i, r := range rcpts {
		env.Recipients = append(env.Recipients, &mailv1.Recipient{Number: uint32(i), ForwardPath: r, Notify: 4})
	}
	return &job{id: id, message: &mailv1.Accepted{QueueId: id[:], BlobId: []byte("blob"), Envelope: env}}
}

// through takes jobs the way that route does, but for the bus.
func (w *world) through(t *testing.T, jobs ...*job) {
	t.Helper()
	ctx := context.Background()
	if err := w.resolve(ctx, jobs); err != nil {
		t.Fatal(err)
	}
	jobs, err := w.record(ctx, jobs)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.hint(ctx, jobs); err != nil {
		t.Fatal(err)
	}
}

// rows writes the rows of a message, a line each.
func rows(m *storev1.Routed) string {
	var b strings.Builder
	for _, r := range m.Recipients {
		fmt.Fprintf(&b, "%d %s %s", r.Number, r.ForwardPath, strings.ToLower(strings.TrimPrefix(r.State.String(), "STATE_")))
		if r.Group != "" {
			fmt.Fprintf(&b, " to %s", r.Group)
		}
		if r.Original != "" {
			fmt.Fprintf(&b, " by %s", r.Original)
		}
		if r.State == storev1.State_STATE_BOUNCED {
			fmt.Fprintf(&b, " %.9s", r.LastReply)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestForwardPathsBecomeRows(t *testing.T) {
	names := map[string][]string{
		"alice": nil, "bob": nil,
		"team":   {"alice@example.org", "bob@example.org", "dave@remote.example"},
		"nested": {"team@example.org", "alice@example.org"},
		"a":      {"b@example.org"}, "b": {"a@example.org", "bob@example.org"},
		"deep1": {"deep2@example.org"}, "deep2": {"deep3@example.org"}, "deep3": {"deep4@example.org"},
		"deep4": {"deep5@example.org"}, "deep5": {"deep6@example.org"}, "deep6": {"alice@example.org"},
		"broken": {"nobody@example.org"},
		"loop1":  {"loop2@example.org"}, "loop2": {"loop1@example.org"},
		"ext": {"ext@remote.example", "ext2@example.org"}, "ext2": {"ext@remote.example"},
		"wide": wide(60),
	}
	for _, tt := range []struct {
		name   string
		rcpts  []string
		before []string
		want   string
	}{
		{"account", []string{"alice@example.org"}, nil, "0 alice@example.org queued\n"},
		{"detail", []string{"alice+lists@example.org"}, nil, "0 alice+lists@example.org queued\n"},
		{"remote", []string{"x@remote.example", "y@Remote.Example"}, nil,
			"0 x@remote.example queued to remote.example\n1 y@Remote.Example queued to remote.example\n"},
		{"unknown", []string{"nobody@example.org"}, nil, "0 nobody@example.org bounced 550 5.1.1\n"},
		{"alias", []string{"team@example.org"}, nil,
			"0 team@example.org expanded\n1 alice@example.org queued by team@example.org\n2 bob@example.org queued by team@example.org\n3 dave@remote.example queued to remote.example by team@example.org\n"},
		{"alias and a target of it", []string{"alice@example.org", "nested@example.org"}, nil,
			"0 alice@example.org queued\n1 nested@example.org expanded\n2 team@example.org expanded by nested@example.org\n3 bob@example.org queued by nested@example.org\n4 dave@remote.example queued to remote.example by nested@example.org\n"},
		{"aliases of each other", []string{"a@example.org"}, nil,
			"0 a@example.org expanded\n1 b@example.org expanded by a@example.org\n2 a@example.org expanded by a@example.org\n3 bob@example.org queued by a@example.org\n"},
		{"aliases too deep", []string{"deep1@example.org"}, nil,
			"0 deep1@example.org expanded\n1 deep2@example.org expanded by deep1@example.org\n2 deep3@example.org expanded by deep1@example.org\n3 deep4@example.org expanded by deep1@example.org\n4 deep5@example.org expanded by deep1@example.org\n5 deep6@example.org bounced by deep1@example.org 554 5.4.6\n"},
		{"alias to nobody", []string{"broken@example.org"}, nil,
			"0 broken@example.org expanded\n1 nobody@example.org bounced by broken@example.org 550 5.1.1\n"},
		{"alias too wide", []string{"wide@example.org"}, nil, "0 wide@example.org bounced 554 5.4.6\n"},
		{"aliases of nobody but each other", []string{"loop1@example.org"}, nil,
			"0 loop1@example.org expanded\n1 loop2@example.org expanded by loop1@example.org\n2 loop1@example.org bounced by loop1@example.org 554 5.4.6\n"},
		{"one copy for another server's address", []string{"ext@remote.example", "ext@example.org"}, nil,
			"0 ext@remote.example queued to remote.example\n1 ext@example.org expanded\n2 ext2@example.org expanded by ext@example.org\n"},
		{"delivered with the detail before", []string{"bob+x@example.org"}, []string{"bob+x@example.org"}, "0 bob+x@example.org bounced 554 5.4.6\n"},
		{"delivered here before", []string{"alice@example.org", "bob@example.org"}, []string{"Alice@Example.Org"},
			"0 alice@example.org bounced 554 5.4.6\n1 bob@example.org queued\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, names)
			w.before = tt.before
			w.through(t, newJob(tt.rcpts...))
			if got := rows(w.book.got[0]); got != tt.want {
				t.Errorf("%v: got\n%swant\n%s", tt.rcpts, got, tt.want)
			}
		})
	}
}

func wide(n int) (targets []string) {
	for i := range n {
		targets = append(targets, fmt.Sprintf("x%d@remote.example", i))
	}
	return targets
}

func TestWholeMessages(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*mailv1.Accepted)
		want   string
	}{
		{"discarded", func(m *mailv1.Accepted) { m.Verdict = &mailv1.Verdict{Action: mailv1.Action_ACTION_DISCARD} }, "0 alice@example.org discarded\n"},
		{"quarantined", func(m *mailv1.Accepted) { m.Verdict = &mailv1.Verdict{Action: mailv1.Action_ACTION_QUARANTINE} }, "0 alice@example.org quarantined\n"},
		{"too many hops", func(m *mailv1.Accepted) { m.Envelope.Hops = 50 }, "0 alice@example.org bounced 554 5.4.6\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, map[string][]string{"alice": nil})
			j := newJob("alice@example.org")
			tt.change(j.message)
			w.through(t, j)
			if got := rows(w.book.got[0]); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if w.people.calls != 0 || len(w.wire.local) != 0 {
				t.Errorf("%d look-ups and %d hints for a message that is settled", w.people.calls, len(w.wire.local))
			}
		})
	}
}

func TestOneLookUpForAllMessages(t *testing.T) {
	w := newWorld(t, map[string][]string{"alice": nil, "bob": nil, "both": {"alice@example.org", "bob@example.org"}})
	w.through(t, newJob("alice@example.org", "bob@example.org"), newJob("bob@example.org"), newJob("both@example.org"))
	if w.people.calls != 2 {
		t.Errorf("%d look-ups for three messages with one level of aliases, want 2", w.people.calls)
	}
	if len(w.wire.local) != 5 {
		t.Errorf("%d local hints, want 5", len(w.wire.local))
	}
}

func TestOneHintForADomain(t *testing.T) {
	w := newWorld(t, nil)
	w.through(t, newJob("a@remote.example", "b@remote.example", "c@other.example"))
	if len(w.wire.remote) != 2 {
		t.Errorf("%d remote hints for two domains", len(w.wire.remote))
	}
}

func TestHintTellsNothingOfOtherRecipients(t *testing.T) {
	w := newWorld(t, map[string][]string{"alice": nil, "bob": nil})
	w.through(t, newJob("alice@example.org", "bob@example.org"))
	for _, h := range w.wire.local {
		if len(h.Message.Envelope.Recipients) != 0 {
			t.Errorf("the hint for %s names %v", h.ForwardPath, h.Message.Envelope.Recipients)
		}
	}
}

func TestRefusalsAreBouncedTogether(t *testing.T) {
	w := newWorld(t, map[string][]string{"alice": nil})
	w.through(t, newJob("alice@example.org", "nobody@example.org", "noone@example.org"))
	if len(w.bouncer.about) != 2 || len(w.book.got[0].Children) != 1 {
		t.Errorf("%d recipients in %d DSNs, want 2 in 1", len(w.bouncer.about), len(w.book.got[0].Children))
	}
}

func TestWhatIsAwayIsAnError(t *testing.T) {
	w := newWorld(t, map[string][]string{"alice": nil})
	w.people.away = errors.New("away")
	if err := w.resolve(context.Background(), []*job{newJob("alice@example.org")}); err == nil {
		t.Error("the directory was away and nobody noticed")
	}
	w.people.away, w.book.away = nil, errors.New("away")
	if jobs, err := w.record(context.Background(), []*job{newJob("alice@example.org")}); err == nil || len(jobs) != 1 {
		t.Errorf("the ledger was away: got %d jobs and %v, want the job back with an error", len(jobs), err)
	}
}

func TestConfigNamesAllFaults(t *testing.T) {
	c := Config{Batch: -1, MaxRecipients: -1, MaxAliasDepth: -1, MaxHops: -1, GiveUpAfter: 1, SweepAfter: 1}
	err := c.Validate()
	for _, key := range []string{"batch", "max_recipients", "max_alias_depth", "max_hops", "give_up_after", "sweep_after"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not named in %v", key, err)
		}
	}
}
