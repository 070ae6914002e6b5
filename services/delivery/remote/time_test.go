package remote

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/resolve"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// bubble is the role with everything around it in memory, so that its time is the test's.
type bubble struct {
	storev1.LedgerClient
	mu       sync.Mutex
	env      *mailv1.Envelope
	renewed  []time.Duration // guarded by mu: since the claim
	outcomes []*storev1.Outcome
	lost     bool // guarded by mu: renewals find the claim another's
	began    time.Time
	body     []byte
	net      *network
	service  *Service
}

func newBubble(t testing.TB, cfg Config) *bubble {
	b := &bubble{env: letterTo("bob@example.net"), body: []byte(body), net: &network{t: t, hosts: map[string]func(net.Conn){}, pipe: true}}
	cfg.Hostname = hostname
	s, err := New(cfg, Deps{
		Ledger: b, Frames: b, DSN: b, Resolve: b, Dial: b.net, Trace: obs.NoTrace{}, Log: slog.New(slog.DiscardHandler),
		Metrics: prometheus.NewRegistry(), Now: time.Now, Owner: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	b.service = s
	return b
}

// send is one attempt; it tells how long that took and the outcome.
func (b *bubble) send() (time.Duration, *storev1.Outcome) {
	id := envelope.NewQueueID(time.Now())
	b.began = time.Now()
	b.service.carry(context.Background(), &job{id: id, owner: "x", to: "example.net", work: &mailv1.RemoteWork{QueueId: id[:], Group: "example.net"}})
	took := time.Since(b.began)
	b.service.pool.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.outcomes) == 0 {
		return took, nil
	}
	return took, b.outcomes[0]
}

func (b *bubble) Claim(_ context.Context, req *storev1.ClaimRequest, _ ...grpc.CallOption) (*storev1.ClaimResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row := &storev1.RecipientRow{ForwardPath: "bob@example.net", State: storev1.State_STATE_QUEUED}
	if req.Renew {
		b.renewed = append(b.renewed, time.Since(b.began))
		return &storev1.ClaimResponse{Claims: []*storev1.Claimed{{Claimed: !b.lost, Recipients: []*storev1.RecipientRow{row}}}}, nil
	}
	m := &mailv1.Accepted{QueueId: req.Work[0].QueueId, BlobId: make([]byte, blob.IDLen), Envelope: b.env}
	return &storev1.ClaimResponse{Claims: []*storev1.Claimed{{Claimed: true, Message: m, Recipients: []*storev1.RecipientRow{row}}}}, nil
}

func (b *bubble) Report(_ context.Context, req *storev1.ReportRequest, _ ...grpc.CallOption) (*storev1.ReportResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes = append(b.outcomes, req.Reports[0].Outcomes...)
	return &storev1.ReportResponse{Results: []*storev1.ReportResult{{Accepted: true}}}, nil
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func (b *bubble) Open(context.Context, blob.ID) (*blob.Frame, error) {
	return &blob.Frame{Size: int64(len(b.body)), Body: memory{bytes.NewReader(b.body)}}, nil
}

func (b *bubble) Bounce(context.Context, *mailv1.Accepted, []*storev1.RecipientRow) (*mailv1.Accepted, error) {
	return nil, nil
}

func (b *bubble) MXHosts(context.Context, string) ([]resolve.Host, error) {
	return []resolve.Host{{Name: "mx"}}, nil
}

func (b *bubble) LookupAddr(context.Context, string) (resolve.Answer[netip.Addr], error) {
	return resolve.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, nil
}

// TestTimeouts ends each step in its time, also with a peer that says a little now and then.
func TestTimeouts(t *testing.T) {
	cfg := Config{Timeouts: Timeouts{Command: 5 * time.Minute, Data: 3 * time.Minute, Final: 10 * time.Minute}}
	trickle := func(c net.Conn, what string) {
		for {
			if _, err := io.WriteString(c, what); err != nil {
				return
			}
			time.Sleep(time.Minute) // of the bubble
		}
	}
	for _, row := range []struct {
		name   string
		script string
		then   func(c net.Conn)
		size   int
		want   time.Duration
		reply  string
	}{
		{"no greeting", "", nil, 0, 5 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25 at greeting: timed out"},
		{"a greeting that trickles", "", func(c net.Conn) { trickle(c, "220-x\r\n") }, 0, 5 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25 at greeting: timed out"},
		{"no reply to MAIL", upTo["MAIL"], nil, 0, 5 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25 at MAIL: timed out"},
		{"a reply that trickles", upTo["RCPT"], func(c net.Conn) { trickle(c, "2") }, 0, 5 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25 at RCPT: the reply is not understood"},
		{"lines that trickle", upTo["DATA"], func(c net.Conn) { trickle(c, "354-x\r\n") }, 0, 5 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25 at DATA: timed out"},
		{"the message is not read", upTo["DATA"] + "S: 354 go", nil, 100_000, 3 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25 at the message: timed out"},
		{"the message is read now and then", upTo["DATA"] + "S: 354 go", func(c net.Conn) {
			for {
				if _, err := c.Read(make([]byte, 100)); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}, 100_000, 3 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25 at the message: timed out"},
		{"no word on the message", upTo["dot"], nil, 0, 10 * time.Minute, "451 4.4.2 mx[192.0.2.1]:25: timed out before the reply to the message: it may have arrived"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, cfg)
				b.body = append(b.body, strings.Repeat("a line\r\n", row.size/8)...)
				over := make(chan struct{})
				b.net.at("192.0.2.1", func(c net.Conn) {
					if row.script != "" {
						s := newScript(t, row.script)
						s.patience = time.Hour
						s.serveOpen(c)
					}
					if row.then != nil {
						row.then(c)
					}
					<-over
				})
				took, o := b.send()
				close(over)
				if took != row.want {
					t.Errorf("it took %v, want %v", took, row.want)
				}
				if o.GetState() != storev1.State_STATE_QUEUED || o.GetReply() != row.reply {
					t.Errorf("outcome %v, want %q", o, row.reply)
				}
				b.net.wg.Wait()
			})
		})
	}
}

// TestClaimIsRenewed as long as the peer takes, and the attempt ends although each step keeps its time.
func TestClaimIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Config{ClaimLease: 2 * time.Minute, Timeouts: Timeouts{Attempt: 20 * time.Minute}})
		b.body = append(b.body, strings.Repeat("a line\r\n", 1<<20)...)
		b.net.at("192.0.2.1", func(c net.Conn) {
			s := newScript(t, upTo["DATA"]+"S: 354 go")
			s.patience = time.Hour
			s.serveOpen(c)
			// 32 KiB a minute is all that is asked for, and would take hours.
			for {
				if _, err := io.CopyN(io.Discard, c, 32<<10); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		})
		took, o := b.send()
		if took != 20*time.Minute || o.GetReply() != "451 4.4.7 the attempt took too long" {
			t.Errorf("it took %v: %v", took, o)
		}
		last := time.Duration(0)
		for _, at := range b.renewed {
			if at-last > time.Minute {
				t.Errorf("not renewed between %v and %v", last, at)
			}
			last = at
		}
		if last < 19*time.Minute {
			t.Errorf("the last renewal was after %v", last)
		}
		b.net.wg.Wait()
	})
}

// TestClaimLostMeanwhile ends the attempt as soon as a renewal tells, without a word to the ledger.
func TestClaimLostMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Config{ClaimLease: 2 * time.Minute})
		b.lost = true
		b.net.at("192.0.2.1", func(c net.Conn) { io.Copy(io.Discard, c) })
		took, o := b.send()
		if took != 30*time.Second || o != nil {
			t.Errorf("it took %v: %v", took, o)
		}
		b.net.wg.Wait()
	})
}

// TestReportOutlastsOutages: with the ledger away for hours the outcome is kept, and the claim renewed.
func TestReportOutlastsOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, Config{})
		back := time.Now().Add(3 * time.Hour)
		b.service.deps.Ledger = &meddler{LedgerClient: b, report: func(*storev1.ReportRequest) error {
			if time.Now().Before(back) {
				return errAway
			}
			return nil
		}}
		b.net.at("192.0.2.1", func(c net.Conn) {
			s := newScript(t, hello+sends("MAIL", "RCPT"))
			s.patience = 24 * time.Hour
			s.serve(c)
		})
		took, o := b.send()
		if took < 3*time.Hour || took > 3*time.Hour+pauseMax+quitTime || o.GetState() != storev1.State_STATE_RELAYED {
			t.Errorf("it took %v: %v", took, o)
		}
		b.net.wg.Wait()
	})
}
