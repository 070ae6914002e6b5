package remote

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestRetryAndExpiry defers by the schedule, tells the sender once that a message is late, and bounces it when its time is
// over, at the last try.
func TestRetryAndExpiry(t *testing.T) {
	w := newWorld(t, "", func(w *world) { w.cfg.DelayNoticeAfter = 90 * time.Minute })
	m := w.send(letterTo("bob@example.net"), body)
	const refused = "451 4.4.1 connect to mx1.example.net[192.0.2.1]:25: connection refused"
	for i, step := range []struct {
		after time.Duration // since the last attempt
		wait  time.Duration // until the next
		dsn   string
	}{
		{0, time.Minute, ""},
		{time.Minute, time.Hour, ""},
		{time.Hour, time.Hour, ""},
		{time.Hour, time.Hour, "delayed"},
		{time.Hour, time.Hour, ""},
		{time.Hour, 59 * time.Minute, ""}, // not beyond the expiry, after five hours
		{59 * time.Minute, 0, "failed"},
	} {
		w.pass(step.after)
		if i > 0 && w.sweep() != 1 {
			t.Fatalf("attempt %d: not due after %v", i+1, step.after)
		}
		w.wait(1)
		row := w.rows(m)[0]
		if want := uint32(i + 1); row.Attempts != want {
			t.Errorf("attempt %d: %d are counted", i+1, row.Attempts)
		}
		state := "queued"
		if step.wait == 0 {
			state = "bounced"
		} else if wait := time.Unix(0, row.DueNs).Sub(w.now()); wait > step.wait || wait < step.wait-30*time.Second {
			t.Errorf("attempt %d: due in %v, want %v", i+1, wait, step.wait)
		}
		w.want(m, state+" "+refused)
		dsns := w.children()
		if step.dsn == "" && len(dsns) > 0 || step.dsn != "" && (len(dsns) != 1 || !strings.Contains(dsns[0], "\r\nAction: "+step.dsn+"\r\n")) {
			t.Errorf("attempt %d: DSNs %q, want %q", i+1, dsns, step.dsn)
		}
	}
	w.pass(24 * time.Hour)
	if w.sweep() != 0 {
		t.Error("something is due after the bounce")
	}
}

// TestNotify: which outcomes are told of, by the sender's wishes and what the peer can do.
func TestNotify(t *testing.T) {
	taken, takenDSN := hello+sends("MAIL", "RCPT"), offering("DSN")+sends("MAIL", "RCPT")
	refused := upTo["RCPT"] + "S: 550 5.1.1 no"
	null := strings.Replace(refused, "alice@example.org", "", 1)
	w := newWorld(t, "", nil)
	for _, row := range []struct {
		name, script, from string
		notify             envelope.Notify
		want               string
	}{
		{"success, the peer cannot tell", taken, "alice@example.org", envelope.NotifySuccess, "relayed"},
		{"success, the peer tells", takenDSN, "alice@example.org", envelope.NotifySuccess, ""},
		{"success, nobody asked", taken, "alice@example.org", 0, ""},
		{"success, only failure asked for", taken, "alice@example.org", envelope.NotifyFailure, ""},
		{"success of a null reverse-path", taken, "", envelope.NotifySuccess, ""},
		{"failure, nobody asked", refused, "alice@example.org", 0, "failed"},
		{"failure asked for", refused, "alice@example.org", envelope.NotifyFailure | envelope.NotifyDelay, "failed"},
		{"failure, only success asked for", refused, "alice@example.org", envelope.NotifySuccess, ""},
		{"failure, never", refused, "alice@example.org", envelope.NotifyNever, ""},
		{"failure of a null reverse-path", null, "", envelope.NotifyFailure, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			defer w.in(t)()
			w.idle()
			w.net.at("192.0.2.1", newScript(t, row.script).serve)
			env := letterTo("bob@example.net")
			env.ReversePath, env.Recipients[0].Notify = row.from, uint32(row.notify)
			w.send(env, body)
			w.wait(1)
			dsns := w.children()
			if row.want == "" && len(dsns) > 0 || row.want != "" && (len(dsns) != 1 || !strings.Contains(dsns[0], "\r\nAction: "+row.want+"\r\n")) {
				t.Errorf("DSNs %q, want %q", dsns, row.want)
			}
		})
	}
}

// TestDSNNamesThePeer by its name and its words, hostile ones made harmless.
func TestDSNNamesThePeer(t *testing.T) {
	w := newWorld(t, "", nil)
	w.net.at("192.0.2.1", newScript(t, upTo["RCPT"]+`S- 550-5.1.1 no \x1b[31m`+"\n"+`S- \x00such\r\n`+"\n"+`S- 550 5.1.1 user: \xff\r\n`).serve)
	w.send(letterTo("bob@example.net"), body)
	w.wait(1)
	dsns := w.children()
	for _, want := range []string{"\r\nStatus: 5.1.1\r\n", "\r\nRemote-MTA: dns; mx1.example.net\r\n", "\r\nDiagnostic-Code: smtp; 550 5.1.1 no [31m such user: "} {
		if len(dsns) != 1 || !strings.Contains(dsns[0], want) {
			t.Errorf("%q is not in %q", want, dsns)
		}
	}
}

// failing cannot write DSNs.
type failing struct{ Notifier }

func (failing) Bounce(context.Context, *mailv1.Accepted, []*storev1.RecipientRow) (*mailv1.Accepted, error) {
	return nil, errAway
}

// TestDSNCannotBeWritten: a bounce waits for its DSN, and what was sent is not sent again.
func TestDSNCannotBeWritten(t *testing.T) {
	w := newWorld(t, "", func(w *world) { w.deps.DSN = failing{} })
	w.service.drain.cut() // as at the end of the process: nothing is tried for long
	w.stop()
	w.start()
	s := w.service
	m := w.accept(letterTo("bob@example.net", "carol@example.net", "dave@example.net"), body)
	rows := w.rows(m)
	rows[0].Notify = uint32(envelope.NotifySuccess)
	claim, err := w.ledger.Claim(t.Context(), &storev1.ClaimRequest{Owner: "x", LeaseMs: 1000, Work: []*mailv1.RemoteWork{{QueueId: m.id[:], Group: "example.net"}}})
	w.check(err)
	s.drain.cut()
	j := &job{work: &mailv1.RemoteWork{QueueId: m.id[:], Group: "example.net"}, id: m.id, owner: "x", message: claim.Claims[0].Message, open: rows}
	ok := s.settle(t.Context(), j, []result{
		{row: rows[0], verdict: verdict{storev1.State_STATE_RELAYED, "250 2.0.0 ok"}},
		{row: rows[1], verdict: bounces("550 5.1.1 no")},
		{row: rows[2], verdict: waits("451 4.3.0 later")},
	})
	if !ok || len(j.open) != 0 {
		t.Errorf("settled: %t, open: %v", ok, j.open)
	}
	w.want(m, "relayed 250 2.0.0 ok", "queued 550 5.1.1 no", "queued 451 4.3.0 later")
	var events []string
	for _, e := range w.wait(3) {
		word, _, _ := strings.Cut(e, " ")
		events = append(events, word)
	}
	if want := []string{"relayed", "deferred", "deferred"}; !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
}
