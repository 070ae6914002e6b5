package farm_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/admin"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/farm"
	"github.com/mailfarm/mailfarm/internal/join"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestJoin runs a site, stops it with mail in all states, joins it to a farm and starts the roles there.
func TestJoin(t *testing.T) {
	ports := freePorts(t)
	mx, mxPort, dns := startPeer(t)
	closed := freePorts(t).SMTP // nobody listens there
	cfg := newConfig(t, ports, func(c *farm.Config) {
		c.Remote.Port, c.DNS.Servers, c.Remote.Retry = closed, []string{dns}, []time.Duration{2 * time.Second}
	})
	site := start(t, cfg, ports)
	for range 5 {
		if err := site.send(ports.SMTP, "", "carol@sender.example", bob, letter); err != nil {
			t.Fatal(err)
		}
	}
	large := letter[:len(letter)-3] + strings.Repeat("0123456789abcdef\r\n", 40_000)
	if err := site.send(ports.SMTP, "", "carol@sender.example", bob, large); err != nil {
		t.Fatal(err)
	}
	if err := site.send(ports.Submission, alice, alice, "dave@remote.example", "From: "+alice+"\r\nSubject: out\r\n\r\nHello.\r\n"); err != nil {
		t.Fatal(err)
	}
	site.letters(bob, 6)
	site.imap(t, bob, `STORE 2:3 +FLAGS.SILENT (\Deleted)`, "EXPUNGE", `STORE 1 +FLAGS.SILENT (\Flagged Later)`)
	site.eventually("deferred", func() bool { return site.audit(t).Queued == 1 })
	before := site.imap(t, bob, "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE EMAILID)")
	site.stop()
	unrouted(t, cfg.Data)

	srv := servers.S3(t)
	in := newConfig(t, ports, func(c *farm.Config) {
		c.Remote.Port, c.DNS.Servers = mxPort, []string{dns}
		c.Database.URL, c.Bus.Servers = servers.Postgres(t).URL, servers.NATS(t, 1).URLs()
		c.Blob.S3 = s3.Config{Endpoint: srv.Endpoint, Bucket: srv.Bucket(t), AccessKey: srv.AccessKey, SecretKey: srv.SecretKey, Spool: t.TempDir()}
	})
	quiet := slog.New(slog.DiscardHandler)
	if err := farm.SetUp(t.Context(), in, farm.First{}, quiet, t.Logf); err != nil {
		t.Fatal(err)
	}
	r, err := join.Run(t.Context(), join.Config{From: cfg.Data, Database: in.Database, S3: in.Blob.S3, Horizon: in.Ledger.RecoverHorizon}, join.Deps{Log: quiet, Say: t.Logf})
	if err != nil || !r.Same || r.Bodies.Unrouted != 1 {
		t.Fatalf("join: %+v, %v", r, err)
	}
	if _, err := farm.New(t.Context(), cfg, farm.Whole, "test", quiet); err == nil || !strings.Contains(err.Error(), "mailfarm join") {
		t.Errorf("the site runs by itself: %v", err)
	}

	moved := start(t, in, ports)
	if after := moved.imap(t, bob, "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE EMAILID)"); !slices.Equal(after, before) {
		t.Errorf("bob sees\n%s\nand saw\n%s", strings.Join(after, ""), strings.Join(before, ""))
	}
	if got := moved.letters(bob, 4); !strings.HasSuffix(got[3], "0123456789abcdef\r\n.\r\n") && !strings.HasSuffix(got[3], "0123456789abcdef\r\n") {
		t.Errorf("the large letter is another")
	}
	moved.letters(alice, 1)
	moved.eventually("the deferred message is sent", func() bool { return len(mx.messages()) == 1 })
	if err := moved.send(ports.SMTP, "", "carol@sender.example", bob, letter); err != nil {
		t.Fatal(err)
	}
	moved.letters(bob, 5)
	var audit *storev1.AuditResponse
	moved.eventually("all is settled", func() bool {
		audit = moved.audit(t)
		return audit.Queued+audit.Pending == 0
	})
	if audit.Unaccounted != 0 || audit.Relayed != 1 || audit.Accepted != 9 {
		t.Errorf("audit: %v", audit)
	}
	if n := len(mx.messages()); n != 1 {
		t.Errorf("the deferred message was sent %d times", n)
	}
	moved.stop()
}

// unrouted leaves a message for alice in a site that stopped, which nobody has routed.
func unrouted(t *testing.T, data string) {
	t.Helper()
	blobs, err := dir.Open(t.Context(), filepath.Join(data, "blob"), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := blobs.Create(blob.ID{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte(letter)); err != nil {
		t.Fatal(err)
	}
	id := envelope.NewQueueID(time.Now())
	tail, err := proto.Marshal(&mailv1.FrameTail{
		Envelope: &mailv1.Envelope{QueueId: id[:], AcceptedNs: time.Now().UnixNano(), ReversePath: "carol@sender.example", Kind: mailv1.Kind_KIND_ACCEPTED,
			Size: int64(len(letter)), Recipients: []*mailv1.Recipient{{ForwardPath: alice}}},
		Verdict: &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Commit(t.Context(), blob.Meta{Kind: blob.Accepted, QueueID: id, Tail: tail}); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Close(); err != nil {
		t.Fatal(err)
	}
}

func (r *running) audit(t *testing.T) *storev1.AuditResponse {
	t.Helper()
	conn, err := admin.Dial("", r.cfg.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	audit, err := storev1.NewQueueClient(conn).Audit(t.Context(), &storev1.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return audit
}

// imap selects an account's INBOX and returns all untagged answers to that and to the commands, sorted out of what changes
// with every session.
func (r *running) imap(t *testing.T, user string, commands ...string) (answers []string) {
	t.Helper()
	conn, err := net.Dial("tcp", at(r.ports.IMAP))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(conn)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for i, command := range append([]string{"LOGIN " + user + " " + farm.DevPassword, "SELECT INBOX (CONDSTORE)"}, commands...) {
		tag := fmt.Sprintf("a%d", i)
		fmt.Fprintf(conn, "%s %s\r\n", tag, command)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			if rest, ok := strings.CutPrefix(line, tag+" "); ok {
				if !strings.HasPrefix(rest, "OK") {
					t.Fatalf("%s: %s", command, rest)
				}
				break
			}
			if !strings.Contains(line, "RECENT") && !strings.Contains(line, "CAPABILITY") {
				answers = append(answers, line)
			}
		}
	}
	return answers
}
