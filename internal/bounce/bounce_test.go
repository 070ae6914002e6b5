package bounce_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/bounce"
	"github.com/mailfarm/mailfarm/internal/dsn"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// world is a writer over a real blob directory.
type world struct {
	t     *testing.T
	blobs blob.Store
	bounce.Writer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	blobs, err := dir.Open(t.Context(), filepath.Join(t.TempDir(), "blobs"), dir.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	return &world{t, blobs, bounce.Writer{Blobs: blobs, Hostname: "mail.example.org", Now: func() time.Time { return now }}}
}

const received = "Received: from client by mail.example.org\r\n"

// accept stores a message.
func (w *world) accept(text string, change func(*mailv1.Envelope)) *mailv1.Accepted {
	w.t.Helper()
	id := envelope.NewQueueID(now)
	env := &mailv1.Envelope{QueueId: id[:], ReversePath: "alice@example.org", AcceptedNs: now.Add(-time.Hour).UnixNano(), Size: int64(len(text))}
	if change != nil {
		change(env)
	}
	var x message.Indexer
	x.Reset()
	x.Write([]byte(text))
	ix, err := x.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: env, PartIndex: ix.Encode(nil)})
	if err != nil {
		w.t.Fatal(err)
	}
	draft, err := w.blobs.Create(blob.ID{})
	if err != nil {
		w.t.Fatal(err)
	}
	draft.Write([]byte(text))
	at, err := draft.Commit(w.t.Context(), blob.Meta{Kind: blob.Accepted, QueueID: id, Tail: tail})
	if err != nil {
		w.t.Fatal(err)
	}
	return &mailv1.Accepted{QueueId: id[:], BlobId: at.Bytes(), Envelope: env, Overlay: &mailv1.Overlay{Prefix: []byte(received)}}
}

func row(state storev1.State, notify envelope.Notify, reply string) *storev1.RecipientRow {
	return &storev1.RecipientRow{ForwardPath: "bob@example.net", State: state, Notify: uint32(notify), LastReply: reply,
		Relay: "mx.example.net[192.0.2.1]:25 TLS 1.3", ExpiryNs: now.Add(100 * time.Hour).UnixNano()}
}

// open reads the frame of a child.
func (w *world) open(child *mailv1.Accepted) (text string, tail *mailv1.FrameTail, meta blob.Meta) {
	w.t.Helper()
	id, err := blob.IDFrom(child.BlobId)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := w.blobs.Open(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f.Reader())
	if err != nil {
		w.t.Fatal(err)
	}
	tail = &mailv1.FrameTail{}
	if err := proto.Unmarshal(f.Meta.Tail, tail); err != nil {
		w.t.Fatal(err)
	}
	return string(b), tail, f.Meta
}

const text = "From: alice@example.org\r\nTo: bob@example.net\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n\r\nLet us have lunch.\r\n"

// TestKinds writes one DSN per kind, where the sender wants it, with a status code of the action's class.
func TestKinds(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		state        storev1.State
		notify       envelope.Notify
		reply        string
		action, code string // empty for none
	}{
		{storev1.State_STATE_BOUNCED, 0, "550 5.1.1 no such user", "failed", "5.1.1"},
		{storev1.State_STATE_BOUNCED, envelope.NotifyFailure, "451 4.4.1 refused", "failed", "5.4.7"},
		{storev1.State_STATE_BOUNCED, envelope.NotifyFailure, "550 no such user", "failed", "5.4.7"},
		{storev1.State_STATE_BOUNCED, envelope.NotifyFailure, "", "failed", "5.4.7"},
		{storev1.State_STATE_BOUNCED, envelope.NotifySuccess | envelope.NotifyDelay, "550 5.1.1 no such user", "", ""},
		{storev1.State_STATE_BOUNCED, envelope.NotifyNever, "550 5.1.1 no such user", "", ""},
		{storev1.State_STATE_QUEUED, 0, "451 4.7.1 greylisted", "delayed", "4.7.1"},
		{storev1.State_STATE_QUEUED, envelope.NotifyDelay, "554 5.3.2 greeted so by all hosts", "delayed", "4.0.0"},
		{storev1.State_STATE_QUEUED, envelope.NotifyFailure, "451 4.7.1 greylisted", "", ""},
		{storev1.State_STATE_DELIVERED, envelope.NotifySuccess, "250 2.1.5 delivered", "delivered", "2.1.5"},
		{storev1.State_STATE_DELIVERED, 0, "250 2.1.5 delivered", "", ""},
		{storev1.State_STATE_RELAYED, envelope.NotifySuccess, "250 queued", "relayed", "2.0.0"},
		{storev1.State_STATE_RELAYED, envelope.NotifyFailure, "250 queued", "", ""},
		{storev1.State_STATE_EXPANDED, envelope.NotifySuccess, "", "expanded", "2.0.0"},
	} {
		t.Run(fmt.Sprintf("%v %d %s", tt.state, tt.notify, tt.reply), func(t *testing.T) {
			w.t = t
			parent := w.accept(text, func(e *mailv1.Envelope) { e.Envid = "ENV+1" })
			child, err := w.Bounce(t.Context(), parent, []*storev1.RecipientRow{row(tt.state, tt.notify, tt.reply)})
			if err != nil {
				t.Fatal(err)
			}
			if tt.action == "" {
				if child != nil {
					t.Errorf("a DSN that nobody wants")
				}
				return
			}
			if child == nil {
				t.Fatal("no DSN")
			}
			got, tail, meta := w.open(child)
			for _, want := range []string{
				"\r\nAction: " + tt.action + "\r\nStatus: " + tt.code + "\r\n", "\r\nFinal-Recipient: rfc822; bob@example.net\r\n",
				"\r\nRemote-MTA: dns; mx.example.net\r\n", "\r\nOriginal-Envelope-Id: ENV+1\r\n", "\r\nReporting-MTA: dns; mail.example.org\r\n",
				"\r\nArrival-Date: Sat, 21 Nov 2026 11:00:00 +0000\r\n", "\r\nIn-Reply-To: <1@example.org>\r\n", "\r\nTo: <alice@example.org>\r\n", received,
			} {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in\n%s", want, got)
				}
			}
			if strings.Contains(got, "Will-Retry-Until") != (tt.action == "delayed") {
				t.Errorf("Will-Retry-Until in\n%s", got)
			}
			checkChild(t, parent, child, tail, meta, int64(len(got)))
		})
	}
}

// checkChild sees to what makes the DSN a message of ours.
func checkChild(t *testing.T, parent, child *mailv1.Accepted, tail *mailv1.FrameTail, meta blob.Meta, size int64) {
	t.Helper()
	env := child.Envelope
	if env.ReversePath != "" || len(env.Recipients) != 1 || env.Recipients[0].ForwardPath != parent.Envelope.ReversePath ||
		env.Recipients[0].Notify != uint32(envelope.NotifyNever) {
		t.Errorf("from %q to %v, want the null reverse-path and the sender", env.ReversePath, env.Recipients)
	}
	if env.Kind != mailv1.Kind_KIND_GENERATED || !bytes.Equal(env.Parent, parent.QueueId) || env.Size != size || child.Verdict.GetAction() != mailv1.Action_ACTION_ACCEPT {
		t.Errorf("child %v", child)
	}
	id, err := envelope.QueueIDFrom(child.QueueId)
	if err != nil || meta.QueueID != id || meta.Kind != blob.Generated {
		t.Errorf("frame %v of %s (%v)", meta, id, err)
	}
	if !proto.Equal(tail.Envelope, env) || !bytes.Equal(tail.PartIndex, child.PartIndex) {
		t.Errorf("the frame's tail is another: %v", tail)
	}
	ix, err := message.Decode(child.PartIndex)
	if err != nil || ix.Size != size || !ix.Root().Is("multipart", "report") || ix.MessageID() != env.MessageId || env.MessageId == "" {
		t.Errorf("part index %v, %v", ix, err)
	}
}

// TestIDsAreThoseOfTheWork: done again the same, and different for each kind and recipient.
func TestIDsAreThoseOfTheWork(t *testing.T) {
	w := newWorld(t)
	parent := w.accept(text, nil)
	seen := map[string]string{}
	for _, state := range []storev1.State{storev1.State_STATE_BOUNCED, storev1.State_STATE_QUEUED, storev1.State_STATE_DELIVERED, storev1.State_STATE_RELAYED, storev1.State_STATE_EXPANDED} {
		for number := range uint32(3) {
			r := row(state, envelope.NotifySuccess|envelope.NotifyFailure|envelope.NotifyDelay, "")
			r.Number = number
			var ids [2]string
			for i := range ids {
				child, err := w.Bounce(t.Context(), parent, []*storev1.RecipientRow{r})
				if err != nil {
					t.Fatal(err)
				}
				ids[i] = string(child.QueueId)
			}
			key := fmt.Sprint(state, number)
			if ids[0] != ids[1] {
				t.Errorf("%s: another id the second time", key)
			}
			if other, ok := seen[ids[0]]; ok {
				t.Errorf("%s has the id of %s", key, other)
			}
			seen[ids[0]] = key
		}
	}
}

// TestRecipients: one DSN for several, without those who want none; it is the first one's, wanted or not.
func TestRecipients(t *testing.T) {
	w := newWorld(t)
	parent := w.accept(text, nil)
	var rows []*storev1.RecipientRow
	for i, notify := range []envelope.Notify{envelope.NotifyNever, 0, envelope.NotifyFailure, envelope.NotifySuccess} {
		r := row(storev1.State_STATE_BOUNCED, notify, "550 5.1.1 no")
		r.Number, r.ForwardPath, r.Orcpt = uint32(i), fmt.Sprintf("r%d@example.net", i), fmt.Sprintf("rfc822;o%d@example.com", i)
		rows = append(rows, r)
	}
	child, err := w.Bounce(t.Context(), parent, rows)
	if err != nil {
		t.Fatal(err)
	}
	got, _, _ := w.open(child)
	for i, want := range []bool{false, true, true, false} {
		if strings.Contains(got, fmt.Sprintf("Final-Recipient: rfc822; r%d@example.net", i)) != want ||
			strings.Contains(got, fmt.Sprintf("Original-Recipient: rfc822; o%d@example.com", i)) != want {
			t.Errorf("recipient %d: told of %t, want %t", i, !want, want)
		}
	}
	if id := envelope.ChildID(envelope.QueueID(parent.QueueId), 0, 0); !bytes.Equal(child.QueueId, id[:]) {
		t.Error("the id is not the first recipient's")
	}
}

// TestReturned: the header, or the whole message where RET=FULL asks for it, a recipient failed and it is not too large.
func TestReturned(t *testing.T) {
	w := newWorld(t)
	const header = received + "From: alice@example.org\r\n"
	large := text + strings.Repeat("a line of the message\r\n", dsn.MaxReturned/20)
	longHeader := "Subject: long\r\n" + strings.Repeat("X-Field: a value of some length\r\n", 4000) + "\r\nthe text\r\n"
	for _, tt := range []struct {
		name, text  string
		ret         mailv1.Ret
		state       storev1.State
		whole       bool
		mediaType   string
		mostInBytes int
	}{
		{"RET=HDRS", text, mailv1.Ret_RET_HDRS, storev1.State_STATE_BOUNCED, false, "text/rfc822-headers", 4000},
		{"no RET", text, mailv1.Ret_RET_UNSPECIFIED, storev1.State_STATE_BOUNCED, false, "text/rfc822-headers", 4000},
		{"RET=FULL", text, mailv1.Ret_RET_FULL, storev1.State_STATE_BOUNCED, true, "message/rfc822", 4000},
		{"RET=FULL, a delay", text, mailv1.Ret_RET_FULL, storev1.State_STATE_QUEUED, false, "text/rfc822-headers", 4000},
		{"RET=FULL, success", text, mailv1.Ret_RET_FULL, storev1.State_STATE_DELIVERED, false, "text/rfc822-headers", 4000},
		{"RET=FULL, large", large, mailv1.Ret_RET_FULL, storev1.State_STATE_BOUNCED, false, "text/rfc822-headers", 4000},
		{"a long header", longHeader, mailv1.Ret_RET_FULL, storev1.State_STATE_QUEUED, false, "text/rfc822-headers", dsn.MaxReturnedHeader + 4000},
		{"no header at all", "\r\njust text\r\n", mailv1.Ret_RET_HDRS, storev1.State_STATE_BOUNCED, false, "text/rfc822-headers", 4000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			parent := w.accept(tt.text, func(e *mailv1.Envelope) { e.Ret = tt.ret })
			child, err := w.Bounce(t.Context(), parent, []*storev1.RecipientRow{row(tt.state, envelope.NotifySuccess|envelope.NotifyFailure|envelope.NotifyDelay, "")})
			if err != nil {
				t.Fatal(err)
			}
			got, _, _ := w.open(child)
			if !strings.Contains(got, "\r\nContent-Type: "+tt.mediaType+"\r\n") || len(got) > tt.mostInBytes {
				t.Errorf("%d octets, want at most %d, with %s:\n%.3000s", len(got), tt.mostInBytes, tt.mediaType, got)
			}
			if whole := strings.Contains(got, "Let us have lunch."); whole != tt.whole {
				t.Errorf("the text is returned: %t", whole)
			}
			if strings.Contains(tt.text, "From: ") && !strings.Contains(got, header) {
				t.Errorf("no header in\n%.3000s", got)
			}
		})
	}
}

// TestNobodyToTell: nothing answers the null reverse-path.
func TestNobodyToTell(t *testing.T) {
	w := newWorld(t)
	parent := w.accept(text, func(e *mailv1.Envelope) { e.ReversePath = "" })
	for _, about := range [][]*storev1.RecipientRow{{row(storev1.State_STATE_BOUNCED, envelope.NotifyFailure, "550 5.1.1 no")}, nil} {
		if child, err := w.Bounce(t.Context(), parent, about); child != nil || err != nil {
			t.Errorf("about %v: %v, %v", about, child, err)
		}
	}
	if child, err := w.Bounce(t.Context(), &mailv1.Accepted{}, []*storev1.RecipientRow{row(storev1.State_STATE_BOUNCED, 0, "")}); child != nil || err != nil {
		t.Errorf("without envelope: %v, %v", child, err)
	}
	held := row(storev1.State_STATE_HELD, 0, "")
	if _, err := w.Bounce(t.Context(), w.accept(text, nil), []*storev1.RecipientRow{held}); err == nil {
		t.Error("a DSN of a state that none tells of")
	}
}

// broken is a blob store with trouble.
type broken struct {
	blob.Store
	open, read, commit error
}

func (b broken) Open(ctx context.Context, id blob.ID) (*blob.Frame, error) {
	if b.open != nil {
		return nil, b.open
	}
	f, err := b.Store.Open(ctx, id)
	if err == nil && b.read != nil {
		f.Body = unreadable{f.Body, b.read}
	}
	return f, err
}

type unreadable struct {
	io.Closer
	err error
}

func (u unreadable) ReadAt([]byte, int64) (int, error) { return 0, u.err }

func (b broken) Create(body blob.ID) (blob.Draft, error) {
	d, err := b.Store.Create(body)
	if err == nil && b.commit != nil {
		d = uncommitted{d, b.commit}
	}
	return d, err
}

type uncommitted struct {
	blob.Draft
	err error
}

func (u uncommitted) Commit(context.Context, blob.Meta) (blob.ID, error) { return blob.ID{}, u.err }

// TestTrouble: a message that is gone for good is told of without its text; what may come back is an error.
func TestTrouble(t *testing.T) {
	w := newWorld(t)
	away := errors.New("away")
	for _, tt := range []struct {
		name  string
		store broken
		want  error
	}{
		{"missing", broken{open: blob.ErrNotFound}, nil},
		{"corrupt", broken{open: fmt.Errorf("frame: %w", blob.ErrCorrupt)}, nil},
		{"corrupt body", broken{read: fmt.Errorf("block: %w", blob.ErrCorrupt)}, nil},
		{"away", broken{open: away}, away},
		{"body away", broken{read: away}, away},
		{"full", broken{commit: blob.ErrFull}, blob.ErrFull},
	} {
		for _, ret := range []mailv1.Ret{mailv1.Ret_RET_FULL, mailv1.Ret_RET_HDRS} {
			t.Run(tt.name+" "+ret.String(), func(t *testing.T) {
				w.t = t
				parent := w.accept(text, func(e *mailv1.Envelope) { e.Ret = ret })
				tt.store.Store = w.blobs
				writer := bounce.Writer{Blobs: tt.store, Hostname: w.Hostname, Now: w.Now}
				child, err := writer.Bounce(t.Context(), parent, []*storev1.RecipientRow{row(storev1.State_STATE_BOUNCED, 0, "550 5.1.1 no")})
				if !errors.Is(err, tt.want) || (child == nil) != (tt.want != nil) {
					t.Fatalf("got %v, %v; want %v", child, err, tt.want)
				}
				if child == nil {
					return
				}
				got, _, _ := w.open(child)
				if !strings.Contains(got, "\r\nStatus: 5.1.1\r\n") || strings.Contains(got, "Subject: lunch") {
					t.Errorf("got\n%s", got)
				}
			})
		}
	}
}

// TestInternational: a sender who spoke SMTPUTF8 gets a DSN with his own letters, others one in ASCII.
func TestInternational(t *testing.T) {
	w := newWorld(t)
	for _, utf8 := range []bool{true, false} {
		parent := w.accept(text, func(e *mailv1.Envelope) { e.Smtputf8 = utf8 })
		r := row(storev1.State_STATE_BOUNCED, 0, "550 5.6.7 nø")
		r.ForwardPath = "bøb@example.net"
		child, err := w.Bounce(t.Context(), parent, []*storev1.RecipientRow{r})
		if err != nil {
			t.Fatal(err)
		}
		got, _, _ := w.open(child)
		if strings.Contains(got, "bøb") != utf8 || child.Envelope.Smtputf8 != utf8 || child.Envelope.EightBit != utf8 {
			t.Errorf("SMTPUTF8 %t: %v\n%s", utf8, child.Envelope, got)
		}
	}
}

// TestUnsetTimes are left out.
func TestUnsetTimes(t *testing.T) {
	w := newWorld(t)
	parent := w.accept(text, func(e *mailv1.Envelope) { e.AcceptedNs = 0 })
	r := row(storev1.State_STATE_QUEUED, 0, "451 4.4.1 away")
	r.ExpiryNs = 0
	child, err := w.Bounce(t.Context(), parent, []*storev1.RecipientRow{r})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := w.open(child); strings.Contains(got, "1970") || strings.Contains(got, "0001") {
		t.Errorf("got\n%s", got)
	}
}

func BenchmarkBounce(b *testing.B) {
	blobs, err := dir.Open(b.Context(), filepath.Join(b.TempDir(), "blobs"), dir.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer blobs.Close()
	w := bounce.Writer{Blobs: noFlush{blobs}, Hostname: "mail.example.org", Now: time.Now}
	draft, err := blobs.Create(blob.ID{})
	if err != nil {
		b.Fatal(err)
	}
	draft.Write([]byte(text))
	id := envelope.NewQueueID(now)
	at, err := draft.Commit(b.Context(), blob.Meta{Kind: blob.Accepted, QueueID: id})
	if err != nil {
		b.Fatal(err)
	}
	parent := &mailv1.Accepted{QueueId: id[:], BlobId: at.Bytes(), Envelope: &mailv1.Envelope{ReversePath: "alice@example.org"}}
	rows := []*storev1.RecipientRow{row(storev1.State_STATE_BOUNCED, 0, "550 5.1.1 no such user")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Bounce(b.Context(), parent, rows); err != nil {
			b.Fatal(err)
		}
	}
}

// noFlush measures the writing without the disk.
type noFlush struct{ blob.Store }

func (noFlush) Create(blob.ID) (blob.Draft, error) { return &nowhere{}, nil }

type nowhere struct{ bytes.Buffer }

func (*nowhere) Size() int64                                        { return 0 }
func (*nowhere) ReadAt([]byte, int64) (int, error)                  { return 0, io.EOF }
func (*nowhere) Commit(context.Context, blob.Meta) (blob.ID, error) { return blob.ID{}, nil }
func (*nowhere) Discard()                                           {}
