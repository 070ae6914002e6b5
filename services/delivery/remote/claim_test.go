package remote

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// meddler is a ledger that tests come between.
type meddler struct {
	storev1.LedgerClient
	claim  func(*storev1.ClaimRequest) error
	report func(*storev1.ReportRequest) error
	// after is called behind a report that was entered; its error is what the caller hears.
	after func() error
}

func (m *meddler) Claim(ctx context.Context, req *storev1.ClaimRequest, opts ...grpc.CallOption) (*storev1.ClaimResponse, error) {
	if m.claim != nil {
		if err := m.claim(req); err != nil {
			return nil, err
		}
	}
	return m.LedgerClient.Claim(ctx, req, opts...)
}

func (m *meddler) Report(ctx context.Context, req *storev1.ReportRequest, opts ...grpc.CallOption) (*storev1.ReportResponse, error) {
	if m.report != nil {
		if err := m.report(req); err != nil {
			return nil, err
		}
	}
	resp, err := m.LedgerClient.Report(ctx, req, opts...)
	if err == nil && m.after != nil {
		err = m.after()
	}
	return resp, err
}

var errAway = errors.New("away")

// TestReportIsTriedUntilEntered: a message that the peer took is neither forgotten nor sent twice, whatever the ledger does.
func TestReportIsTriedUntilEntered(t *testing.T) {
	var tries atomic.Int64
	w := newWorld(t, "", func(w *world) {
		w.deps.Ledger = &meddler{LedgerClient: w.ledger, report: func(*storev1.ReportRequest) error {
			if tries.Add(1) <= 3 {
				return errAway
			}
			return nil
		}}
	})
	peer := newScript(t, hello+sends("MAIL", "RCPT"))
	w.net.at("192.0.2.1", peer.serve)
	m := w.send(letterTo("bob@example.net"), body)
	w.wait(1)
	w.want(m, "relayed 250 2.0.0 ok")
	if n := tries.Load(); n != 4 || len(peer.took()) != 1 {
		t.Errorf("%d reports, %d messages", n, len(peer.took()))
	}
}

// TestReportWhoseAnswerIsLost was entered: it is not entered twice, and what became of the message is told once.
func TestReportWhoseAnswerIsLost(t *testing.T) {
	for _, row := range []struct {
		script, event, state string
		dsns                 int
	}{
		{upTo["RCPT"] + "S: 550 5.1.1 no", "bounced", "bounced 550 5.1.1 no", 1},
		{upTo["RCPT"] + "S: 451 4.2.0 later", "deferred", "queued 451 4.2.0 later", 0},
		{hello + sends("MAIL", "RCPT"), "relayed", "relayed 250 2.0.0 ok", 0},
	} {
		t.Run(row.event, func(t *testing.T) {
			var lost atomic.Bool
			done := make(chan struct{}, 10)
			w := newWorld(t, "", func(w *world) {
				w.deps.Ledger = &meddler{LedgerClient: w.ledger, report: func(*storev1.ReportRequest) error { done <- struct{}{}; return nil },
					after: func() error {
						if lost.CompareAndSwap(false, true) {
							return errAway
						}
						return nil
					}}
			})
			w.net.at("192.0.2.1", newScript(t, row.script).serve)
			m := w.send(letterTo("bob@example.net"), body)
			<-done
			<-done
			if lines := w.wait(1); !strings.HasPrefix(lines[0], row.event+" ") {
				t.Errorf("told %q", lines)
			}
			w.stop()
			w.want(m, row.state)
			if n := len(w.children()); n != row.dsns {
				t.Errorf("%d DSNs, want %d", n, row.dsns)
			}
			if n := len(w.events); n != 0 {
				t.Errorf("%d more events", n)
			}
		})
	}
}

// TestLostClaim ends the dialogue without the dot: the recipients are another's by then.
func TestLostClaim(t *testing.T) {
	w := newWorld(t, "", nil)
	ended := make(chan string, 1)
	again := newScript(t, hello+sends("MAIL", "RCPT"))
	var calls atomic.Int64
	w.net.at("192.0.2.1", func(c net.Conn) {
		if calls.Add(1) > 1 {
			again.serve(c)
			return
		}
		newScript(t, hello+"C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA").serveOpen(c)
		w.pass(time.Hour)
		if w.sweep() != 1 {
			t.Error("the row was not due")
		}
		c.Write([]byte("354 go\r\n"))
		text := make([]byte, 64<<10)
		n, _ := readAll(c, text)
		ended <- string(text[:n])
	})
	m := w.send(letterTo("bob@example.net"), body)
	if got := <-ended; strings.Contains(got, "\r\n.\r\n") {
		t.Errorf("the peer got the dot: %q", got)
	}
	// The sweep's hint sends it.
	w.wait(1)
	w.want(m, "relayed 250 2.0.0 ok")
}

// TestUnsureClaim ends the dialogue without the dot, and is no attempt.
func TestUnsureClaim(t *testing.T) {
	reported := make(chan *storev1.Outcome, 1)
	w := newWorld(t, "", func(w *world) {
		w.deps.Ledger = &meddler{LedgerClient: w.ledger, claim: func(req *storev1.ClaimRequest) error {
			if req.Renew {
				return errAway
			}
			return nil
		}, report: func(req *storev1.ReportRequest) error { reported <- req.Reports[0].Outcomes[0]; return nil }}
	})
	ended := make(chan string, 1)
	w.net.at("192.0.2.1", func(c net.Conn) {
		newScript(t, hello+"C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go").serveOpen(c)
		text := make([]byte, 64<<10)
		n, _ := readAll(c, text)
		ended <- string(text[:n])
	})
	m := w.send(letterTo("bob@example.net"), body)
	if got := <-ended; strings.Contains(got, "\r\n.\r\n") {
		t.Errorf("the peer got the dot: %q", got)
	}
	if o := <-reported; o.State != storev1.State_STATE_QUEUED || o.Reply != "" {
		t.Errorf("reported %v", o)
	}
	w.stop()
	if r := w.rows(m)[0]; r.Attempts != 0 || r.State != storev1.State_STATE_QUEUED {
		t.Errorf("row %v", r)
	}
}

// TestPausedBeforeTheDot: whoever stood still for long since the claim was renewed does not go by it.
func TestPausedBeforeTheDot(t *testing.T) {
	for _, row := range []struct {
		name  string
		pause time.Duration
		sent  bool
	}{{"long", 61 * time.Second, false}, {"shortly", 30 * time.Second, true}} {
		t.Run(row.name, func(t *testing.T) {
			reported := make(chan *storev1.Outcome, 1)
			w := newWorld(t, "", func(w *world) {
				w.cfg.ClaimLease = 2 * time.Minute
				w.deps.Ledger = &meddler{LedgerClient: w.ledger, claim: func(req *storev1.ClaimRequest) error {
					if req.Renew {
						w.pass(row.pause)
					}
					return nil
				}, report: func(req *storev1.ReportRequest) error { reported <- req.Reports[0].Outcomes[0]; return nil }}
			})
			ended := make(chan string, 1)
			w.net.at("192.0.2.1", func(c net.Conn) {
				if row.sent {
					newScript(t, hello+sends("MAIL", "RCPT")).serve(c)
					return
				}
				newScript(t, hello+"C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go").serveOpen(c)
				text := make([]byte, 64<<10)
				n, _ := readAll(c, text)
				ended <- string(text[:n])
			})
			w.send(letterTo("bob@example.net"), body)
			if o := <-reported; (o.State == storev1.State_STATE_RELAYED) != row.sent || !row.sent && (o.State != storev1.State_STATE_QUEUED || o.Reply != "") {
				t.Errorf("reported %v", o)
			}
			if row.sent {
				return
			}
			if got := <-ended; strings.Contains(got, "\r\n.\r\n") {
				t.Errorf("the peer got the dot: %q", got)
			}
		})
	}
}

// TestHintsThatDoNotHold are dropped: nothing is sent for another generation, group or message.
func TestHintsThatDoNotHold(t *testing.T) {
	w := newWorld(t, "", nil)
	w.net.at("192.0.2.1", newScript(t, hello+sends("MAIL", "RCPT")).serve)
	m := w.accept(letterTo("bob@example.net"), body)
	other := make([]byte, 16)
	for _, work := range []*mailv1.RemoteWork{
		{QueueId: m.id[:], Group: "example.net", Generation: 7}, {QueueId: m.id[:], Group: "example.com"}, {QueueId: other, Group: "example.net"},
	} {
		w.publish(work)
	}
	w.hint(m)
	w.hint(m) // twice
	w.wait(1)
	w.hint(m) // done
	w.look(6)
	w.stop()
	w.want(m, "relayed 250 2.0.0 ok")
	if got := w.net.dialed(); len(got) != 1 {
		t.Errorf("dialed %q", got)
	}
}

// TestLedgerAway postpones what cannot be claimed, and goes on when the ledger is back.
func TestLedgerAway(t *testing.T) {
	var tries atomic.Int64
	w := newWorld(t, "", func(w *world) {
		w.deps.Ledger = &meddler{LedgerClient: w.ledger, claim: func(*storev1.ClaimRequest) error {
			if tries.Add(1) == 1 {
				return errAway
			}
			return nil
		}}
	})
	w.net.at("192.0.2.1", newScript(t, hello+sends("MAIL", "RCPT")).serve)
	m := w.send(letterTo("bob@example.net"), body)
	w.wait(1)
	w.want(m, "relayed 250 2.0.0 ok")
}

// panicking panics when a message is opened, as often as it is told.
type panicking struct {
	Frames
	times atomic.Int64
}

func (p *panicking) Open(ctx context.Context, id blob.ID) (*blob.Frame, error) {
	if p.times.Add(-1) >= 0 {
		panic("cannot open this")
	}
	return p.Frames.Open(ctx, id)
}

// TestPanics: work that panics is tried again, and ends as a dead letter with its row; its neighbours go on.
func TestPanics(t *testing.T) {
	t.Run("twice", func(t *testing.T) {
		w := newWorld(t, "", func(w *world) {
			p := &panicking{Frames: w.blobs}
			p.times.Store(2)
			w.deps.Frames = p
		})
		w.net.at("192.0.2.1", newScript(t, hello+sends("MAIL", "RCPT")).serve)
		m := w.send(letterTo("bob@example.net"), body)
		w.wait(1)
		w.want(m, "relayed 250 2.0.0 ok")
	})
	t.Run("always", func(t *testing.T) {
		var p *panicking
		w := newWorld(t, "", func(w *world) {
			p = &panicking{Frames: w.blobs}
			p.times.Store(1 << 40)
			w.deps.Frames = p
		})
		m := w.send(letterTo("bob@example.net"), body)
		var dead []bus.DeadLetter
		for deadline := time.Now().Add(patience); len(dead) == 0; {
			var err error
			dead, err = w.conn.ListDead(t.Context(), 10)
			w.check(err)
			if time.Now().After(deadline) {
				t.Fatal("no dead letter")
			}
		}
		w.want(m, "dead 451 4.3.0 panic: cannot open this")
		if d := dead[0].Letter; d.Subject != string(bus.Remote) || d.Reason != "panic: cannot open this" || d.Deliveries != 3 {
			t.Errorf("dead letter %v", d)
		}
		p.times.Store(0)
		w.net.at("192.0.2.1", newScript(t, hello+sends("MAIL", "RCPT")).serve)
		w.send(letterTo("carol@example.net"), body)
		w.wait(1)
		// The operator lets it go again.
		n, err := w.db.Ledger().Act(t.Context(), &storev1.ActRequest{Action: storev1.Action_ACTION_RETRY, QueueIds: [][]byte{m.id[:]}})
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
		w.idle()
		w.net.at("192.0.2.1", newScript(t, hello+sends("MAIL", "RCPT")).serve)
		w.sweep()
		w.wait(1)
		w.want(m, "relayed 250 2.0.0 ok")
	})
	t.Run("undecodable", func(t *testing.T) {
		w := newWorld(t, "", nil)
		for _, payload := range []string{"no protobuf at all", "\x0a\x03abc"} {
			w.check(w.conn.Publish(t.Context(), bus.Remote, 1, []byte(payload)))
		}
		for deadline := time.Now().Add(patience); ; {
			dead, err := w.conn.ListDead(t.Context(), 10)
			w.check(err)
			if len(dead) == 2 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d dead letters", len(dead))
			}
		}
	})
}
