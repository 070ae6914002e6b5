package acceptance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/reply"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient waits for the filter on a busy machine too.
var patient = acceptance.Config{FilterTimeout: time.Minute}

const body = "From: a@remote.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@remote.example>\r\n" +
	"Received: from x by y; Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\nh\xc3\xa4llo\r\n"

func TestAcceptedMessageIsDurableAndPublished(t *testing.T) {
	w := newWorld(t, patient, acceptance.Ingress, verdict(mailv1.Action_ACTION_JUNK, ""))
	w.run()
	env := newEnvelope("alice@example.org")
	receipt, err := w.send(env, acceptance.Options{}, body)
	if err != nil {
		t.Fatal(err)
	}
	frames := w.frames()
	if len(frames) != 1 {
		t.Fatalf("%d frames", len(frames))
	}
	f := frames[0]
	if want := "queued as " + f.Meta.QueueID.String(); receipt != want {
		t.Errorf("receipt %q, want %q", receipt, want)
	}
	if f.Meta.Kind != blob.Accepted || string(f.Meta.QueueID[:]) != string(env.QueueId) || f.Size != int64(len(body)) {
		t.Errorf("frame %+v", f)
	}
	tail := w.tail(f)
	got := tail.GetEnvelope()
	if got.GetHops() != 1 || got.GetMessageId() != "<1@remote.example>" || got.GetSubject() != "Grüße" || got.GetSize() != f.Size ||
		!got.GetEightBit() || got.GetKind() != mailv1.Kind_KIND_ACCEPTED || got.GetAcceptedNs() == 0 {
		t.Errorf("envelope %v", got)
	}
	if v := tail.GetVerdict(); v.GetAction() != mailv1.Action_ACTION_JUNK || !v.GetInDialogue() {
		t.Errorf("verdict %v", v)
	}
	if ix, err := message.Decode(tail.GetPartIndex()); err != nil || ix.Size != f.Size {
		t.Errorf("part index %v, %v", ix, err)
	}
	seen := w.seen(f)
	if !strings.HasSuffix(seen, body) || !strings.HasPrefix(seen, "Received: from client.remote.example ([192.0.2.7])\r\n\tby mx.example.org with ESMTPS\r\n\t(TLS1.3 TLS_AES_128_GCM_SHA256)\r\n\tid "+f.Meta.QueueID.String()+"\r\n\tfor <alice@example.org>;\r\n\t") {
		t.Errorf("seen as %q", seen)
	}
	w.bus.wait(t, 1)
	published := w.bus.on(bus.Filtered)
	if len(published) != 1 || len(w.bus.on(bus.Accepted)) != 0 {
		t.Fatalf("published %v", w.bus.got)
	}
	p := published[0]
	if !bytes.Equal(p.GetQueueId(), env.QueueId) || !bytes.Equal(p.GetBlobId(), f.ID.Bytes()) ||
		p.GetEnvelope().GetSubject() != "Grüße" || p.GetOverlay() == nil || len(p.GetPartIndex()) == 0 || p.GetVerdict() == nil {
		t.Errorf("published %v", p)
	}
	if len(w.trace.all) != 1 || w.trace.all[0].GetEvent() != "accepted" || w.trace.all[0].GetForwardPath() != "alice@example.org" {
		t.Errorf("traces %v", w.trace.all)
	}
}

func TestFilterSeesTheWholeBodyOnce(t *testing.T) {
	var got []byte
	var start *filterv1.CheckStart
	filter := &filterFunc{judge: func(_ context.Context, s *filterv1.CheckStart, b []byte) (*mailv1.Verdict, error) {
		start, got = s, b
		return &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT}, nil
	}}
	w := newWorld(t, patient, acceptance.Submission, filter)
	large := body + strings.Repeat("0123456789 0123456789 0123456789\r\n", 30_000) // a body apart
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{Trusted: true}, large); err != nil {
		t.Fatal(err)
	}
	if string(got) != large || !start.GetTrusted() || start.GetEnvelope().GetReversePath() != "sender@remote.example" {
		t.Errorf("the filter got %d octets of %d, start %v", len(got), len(large), start)
	}
	if seen := w.seen(w.frames()[0]); !strings.HasSuffix(seen, large) {
		t.Errorf("%d octets are seen", len(seen))
	}
}

func TestVerdicts(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for _, row := range []struct {
		name    string
		filter  filterv1.FilterServer
		reply   string      // empty: accepted
		subject bus.Subject // where to, when accepted
	}{
		{"accept", verdict(mailv1.Action_ACTION_ACCEPT, ""), "", bus.Filtered},
		{"discard is recorded", verdict(mailv1.Action_ACTION_DISCARD, ""), "", bus.Filtered},
		{"quarantine", verdict(mailv1.Action_ACTION_QUARANTINE, ""), "", bus.Filtered},
		{"reject", verdict(mailv1.Action_ACTION_REJECT, "550 5.7.26 DMARC says no"), "550 5.7.26 DMARC says no", ""},
		{"reject for now", verdict(mailv1.Action_ACTION_REJECT, "451 4.7.1 greylisted"), "451 4.7.1 greylisted", ""},
		{"reject without a reply", verdict(mailv1.Action_ACTION_REJECT, ""), "550 5.7.1 message refused by policy", ""},
		{"reject with a mad reply", verdict(mailv1.Action_ACTION_REJECT, "250 2.0.0 ha"), "550 5.7.1 message refused by policy", ""},
		{"undecided", verdict(mailv1.Action_ACTION_UNSPECIFIED, ""), "", bus.Accepted},
		{"no filter", nil, "", bus.Accepted},
		{"failing", &filterFunc{early: func() (*mailv1.Verdict, error) { return nil, errors.New("out of order") }}, "", bus.Accepted},
		{"early", &filterFunc{early: func() (*mailv1.Verdict, error) {
			return &mailv1.Verdict{Action: mailv1.Action_ACTION_REJECT, Reply: "550 5.7.1 seen enough"}, nil
		}}, "550 5.7.1 seen enough", ""},
		{"hanging", &filterFunc{judge: func(ctx context.Context, _ *filterv1.CheckStart, _ []byte) (*mailv1.Verdict, error) {
			select {
			case <-hang:
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		}}, "", bus.Accepted},
	} {
		t.Run(row.name, func(t *testing.T) {
			// Patient with filters that answer, so that a busy machine does not fail the test.
			cfg := patient
			if row.name == "hanging" {
				cfg.FilterTimeout = 300 * time.Millisecond
			}
			w := newWorld(t, cfg, acceptance.Ingress, row.filter)
			w.run()
			// Large, so that a filter that does not read stops the flow of octets.
			_, err := w.send(newEnvelope("a@b", "c@d"), acceptance.Options{}, body+strings.Repeat("x\r\n", 1<<17))
			if row.reply != "" {
				if err == nil || reply.Of(err).String() != row.reply {
					t.Errorf("got %v, want %s", err, row.reply)
				}
				if n := len(w.frames()); n != 0 {
					t.Errorf("%d frames of a refused message", n)
				}
				if w.trace.all[0].GetEvent() != "refused" {
					t.Errorf("traces %v", w.trace.all)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.bus.wait(t, 1)
			if len(w.frames()) != 1 || len(w.bus.on(row.subject)) != 1 {
				t.Errorf("%d frames, published %v", len(w.frames()), w.bus.got)
			}
		})
	}
}

func TestSlowFilterRests(t *testing.T) {
	var calls atomic.Int64
	filter := &filterFunc{judge: func(ctx context.Context, _ *filterv1.CheckStart, _ []byte) (*mailv1.Verdict, error) {
		calls.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	w := newWorld(t, acceptance.Config{FilterTimeout: 20 * time.Millisecond}, acceptance.Ingress, filter)
	for range 3 {
		if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, body); err != nil {
			t.Fatal(err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("a filter that does not answer was asked %d times within its rest", n)
	}
}

func TestStoreFailures(t *testing.T) {
	full := fmt.Errorf("write segment: %w", blob.ErrFull)
	odd := errors.New("fsync /secret/path: input/output error")
	for _, row := range []struct {
		name  string
		store brokenStore
		want  string
	}{
		{"full at begin", brokenStore{create: full}, "452 4.3.1"},
		{"full in the body", brokenStore{write: full}, "452 4.3.1"},
		{"full at commit", brokenStore{commit: full}, "452 4.3.1"},
		{"flush failed", brokenStore{commit: odd}, "451 4.3.0"},
		{"write failed", brokenStore{write: odd}, "451 4.3.0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, acceptance.Config{}, acceptance.Ingress, nil)
			w.run()
			good := w.blobs.Drafts
			*w.blobs = row.store
			w.blobs.Drafts = good
			_, err := w.send(newEnvelope("a@b"), acceptance.Options{}, body)
			if err == nil || !strings.HasPrefix(reply.Of(err).String(), row.want) || strings.Contains(reply.Of(err).String(), "secret") {
				t.Errorf("got %v, want %s", err, row.want)
			}
			*w.blobs = brokenStore{Drafts: good}
			if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, body); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if n := len(w.frames()); n != 1 {
				t.Errorf("%d frames, want 1", n)
			}
		})
	}
}

func TestHopLimit(t *testing.T) {
	w := newWorld(t, acceptance.Config{MaxHops: 3}, acceptance.Ingress, nil)
	hop := "Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000\r\n"
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, strings.Repeat(hop, 2)+body); err == nil || reply.Of(err).Enhanced != "5.4.6" || reply.Of(err).Code != 554 {
		t.Errorf("three hops: %v", err)
	}
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, hop+body); err != nil {
		t.Errorf("two hops: %v", err)
	}
	if n := len(w.frames()); n != 1 {
		t.Errorf("%d frames", n)
	}
}

func TestBusAway(t *testing.T) {
	w := newWorld(t, acceptance.Config{Backlog: 3}, acceptance.Ingress, nil)
	w.bus.set(true)
	stop := w.run()
	for i := range 3 {
		if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, body); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if n := w.a.Unpublished(); n != 3 {
		t.Errorf("%d unpublished, want 3", n)
	}
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, body); err == nil || reply.Of(err).Code != 451 {
		t.Errorf("beyond the backlog: %v", err)
	}
	w.bus.set(false)
	w.bus.wait(t, 3)
	stop()
	if got := w.bus.on(bus.Accepted); len(got) != 3 || w.a.Unpublished() != 0 {
		t.Errorf("%d published, %d left", len(got), w.a.Unpublished())
	}
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, body); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestStopOffersWhatWaits(t *testing.T) {
	w := newWorld(t, acceptance.Config{}, acceptance.Ingress, nil)
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, body); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.bus.on(bus.Accepted); len(got) != 1 {
		t.Errorf("%d published", len(got))
	}
}

func TestLargePayloads(t *testing.T) {
	w := newWorld(t, acceptance.Config{}, acceptance.Ingress, nil)
	w.run()
	// An index above 32 KiB: many parts.
	var parts strings.Builder
	parts.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for i := range 2000 {
		fmt.Fprintf(&parts, "--b\r\nContent-Type: text/plain; name=\"file-%d-%s\"\r\n\r\nx\r\n", i, strings.Repeat("n", 30))
	}
	parts.WriteString("--b--\r\n")
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{}, parts.String()); err != nil {
		t.Fatal(err)
	}
	w.bus.wait(t, 1)
	got := w.bus.on(bus.Accepted)[0]
	if tail := w.tail(w.frames()[0]); len(tail.GetPartIndex()) <= 32<<10 || len(got.GetPartIndex()) != 0 || got.GetEnvelope() == nil {
		t.Errorf("part index of %d octets, %d of it published, envelope %v", len(tail.GetPartIndex()), len(got.GetPartIndex()), got.GetEnvelope())
	}
	// An envelope above 256 KiB: many recipients.
	var rcpts []string
	for i := range 3000 {
		rcpts = append(rcpts, fmt.Sprintf("%s%d@example.org", strings.Repeat("r", 80), i))
	}
	if _, err := w.send(newEnvelope(rcpts...), acceptance.Options{}, body); err != nil {
		t.Fatal(err)
	}
	w.bus.wait(t, 1)
	got = w.bus.on(bus.Accepted)[1]
	if got.GetEnvelope() != nil || len(got.GetQueueId()) != 16 || len(got.GetBlobId()) != blob.IDLen {
		t.Errorf("published %v", got)
	}
	if n := len(w.tail(w.frames()[1]).GetEnvelope().GetRecipients()); n != 3000 {
		t.Errorf("%d recipients in the tail", n)
	}
}

func TestComplete(t *testing.T) {
	complete := acceptance.Options{Trusted: true, Complete: true}
	for _, row := range []struct {
		name, body    string
		has, hasNot   []string
		date, message bool // added
	}{
		{"nothing missing", "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-Id: <x@y>\r\nTo: a@b\r\n\r\nhi\r\n", []string{"To: a@b\r\n"}, nil, false, false},
		{"all missing", "To: a@b\r\n\r\nhi\r\n", nil, nil, true, true},
		{"Bcc", "BCC: secret@b,\r\n secret2@b\r\nTo: a@b\r\nBcc: secret3@b\r\nResent-Bcc: secret4@b\r\n\r\nBcc: this is text\r\n",
			[]string{"To: a@b\r\n", "Bcc: this is text\r\n"}, []string{"secret"}, true, true},
		{"Bcc only", "Bcc: secret@b\r\n\r\nhi\r\n", []string{"\r\n\r\nhi\r\n"}, []string{"secret", "Bcc"}, true, true},
		{"no header", "just text\r\n", []string{"\r\n\r\njust text\r\n"}, nil, true, true},
		{"empty", "", nil, nil, true, true},
		{"folded names in text", "Subject: Date:\r\n\tBcc: secretless\r\n\r\n", []string{"\tBcc: secretless"}, nil, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, acceptance.Config{}, acceptance.Submission, nil)
			if _, err := w.send(newEnvelope("a@b", "c@d"), complete, row.body); err != nil {
				t.Fatal(err)
			}
			f := w.frames()[0]
			seen := w.seen(f)
			for _, s := range row.has {
				if !strings.Contains(seen, s) {
					t.Errorf("%q is not in %q", s, seen)
				}
			}
			for _, s := range row.hasNot {
				if strings.Contains(seen, s) {
					t.Errorf("%q is in %q", s, seen)
				}
			}
			if strings.Contains(seen, "for <") {
				t.Errorf("one of several recipients is told: %q", seen)
			}
			prefix := string(w.tail(f).GetOverlay().GetPrefix())
			if strings.Contains(prefix, "Date: ") != row.date || strings.Contains(prefix, "Message-ID: ") != row.message {
				t.Errorf("prefix %q", prefix)
			}
			parsed, err := mail.ReadMessage(strings.NewReader(seen + "\r\n"))
			if err != nil {
				t.Fatalf("%v: %q", err, seen)
			}
			if _, err := parsed.Header.Date(); err != nil || parsed.Header.Get("Message-Id") == "" {
				t.Errorf("date %v, header %v", err, parsed.Header)
			}
			if got := w.tail(f).GetEnvelope().GetMessageId(); got != parsed.Header.Get("Message-Id") {
				t.Errorf("message-id %q of the envelope is not that of %q", got, seen)
			}
		})
	}
}

func TestCompleteRefusesWhatItCannotSee(t *testing.T) {
	w := newWorld(t, acceptance.Config{}, acceptance.Submission, nil)
	huge := strings.Repeat("X-Filler: x\r\n", message.MaxFields) + "Bcc: secret@b\r\n\r\n"
	if _, err := w.send(newEnvelope("a@b"), acceptance.Options{Complete: true}, huge); err == nil || reply.Of(err).Code != 554 {
		t.Errorf("got %v", err)
	}
}

func TestReceivedOfOddClients(t *testing.T) {
	for _, row := range []struct{ name, helo, address, want string }{
		{"IPv6", "h.example", "2001:db8::1", "Received: from h.example ([IPv6:2001:db8::1])\r\n"},
		{"helo that is no name", "a(b)c@", "192.0.2.1", "Received: from [192.0.2.1] ([192.0.2.1])\r\n"},
		{"literal", "[192.0.2.9]", "192.0.2.1", "Received: from [192.0.2.9] ([192.0.2.1])\r\n"},
		{"nothing known", "", "", "Received: from unknown\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, acceptance.Config{}, acceptance.Ingress, nil)
			env := newEnvelope("postmaster")
			env.Client = &mailv1.Client{Helo: row.helo, Address: row.address, Protocol: "SMTP"}
			if _, err := w.send(env, acceptance.Options{}, body); err != nil {
				t.Fatal(err)
			}
			seen := w.seen(w.frames()[0])
			if !strings.HasPrefix(seen, row.want) || !strings.Contains(seen, "with SMTP\r\n\tid ") || strings.Contains(seen, "for <") {
				t.Errorf("seen as %q", seen)
			}
			received, _, _ := strings.Cut(seen, "\r\nFrom:")
			_, date, _ := strings.Cut(received, ";\r\n\t")
			if _, err := mail.ParseDate(date); err != nil {
				t.Errorf("date of %q: %v", received, err)
			}
		})
	}
}

func TestAbortKeepsNothing(t *testing.T) {
	w := newWorld(t, acceptance.Config{}, acceptance.Ingress, verdict(mailv1.Action_ACTION_ACCEPT, ""))
	m, err := w.a.Begin(t.Context(), newEnvelope("a@b"), acceptance.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Write(bytes.Repeat([]byte("x\r\n"), 1<<18)); err != nil {
		t.Fatal(err)
	}
	m.Abort()
	m.Abort()
	if n := len(w.frames()); n != 0 || w.a.Unpublished() != 0 {
		t.Errorf("%d frames, %d unpublished", n, w.a.Unpublished())
	}
}

func TestConfigNamesAllFaults(t *testing.T) {
	_, err := acceptance.New(acceptance.Ingress, "x", acceptance.Config{MaxHops: -1, Backlog: -1, FilterTimeout: -1}, acceptance.Deps{})
	for _, key := range []string{"max_hops", "backlog", "filter_timeout"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not in %v", key, err)
		}
	}
}
