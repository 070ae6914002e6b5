package smtpd_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/smtpd"

	"github.com/emersion/go-smtp"
)

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// script is a connection whose peer has said all it will say.
type script struct {
	in  io.Reader
	out bytes.Buffer
	cut int
}

func (s *script) Read(p []byte) (int, error) {
	if s.cut > 0 && len(p) > s.cut {
		p = p[:s.cut]
	}
	return s.in.Read(p)
}
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(mustAddrPort("192.0.2.1:25")) }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

var replyLine = regexp.MustCompile(`^([2345][0-9][0-9][ -][ -~]*\r\n)*$`)

// FuzzConnection: whatever a peer says, replies are well-formed lines that do not depend on how the octets came in, every
// accepted message is free of bare CR, bare LF and NUL, nothing panics, and every session is closed.
func FuzzConnection(f *testing.F) {
	for _, seed := range []string{
		"EHLO c\r\nMAIL FROM:<a@b> SIZE=3\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\na\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n",
		"EHLO c\r\nAUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\nAUTH LOGIN\r\n*\r\n",
		"HELO c\r\nMAIL FROM:<\"a@b\"@c>\r\nRCPT TO:<@x:postmaster@y>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\n.\r\n\r\n.\r\n",
		"LHLO\r\nRSET\r\nVRFY a\r\nHELP\r\nSTARTTLS\r\nEXPN\r\n\n\x00\r\nRCPT TO:<unknown@x>\r\n",
		"EHLO c\r\nMAIL FROM:<\xc3\xbc@b> SMTPUTF8\r\nRCPT TO:<c@d> ORCPT=utf-8;\\x{FC}\r\nDATA\r\n..\r\n.\r\n",
	} {
		f.Add([]byte(seed), uint8(0), false)
		f.Add([]byte(seed), uint8(3), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint8, lmtp bool) {
		whole := converse(t, input, 0, lmtp)
		if pieces := converse(t, input, int(cut), lmtp); pieces != whole {
			t.Fatalf("%q\nwhole:  %q\npieces: %q", input, whole, pieces)
		}
	})
}

func converse(t *testing.T, input []byte, cut int, lmtp bool) string {
	cfg := smtpd.Config{Hostname: "mx.example.org", LMTP: lmtp, Limits: smtpd.Limits{MessageBytes: 1000, Recipients: 5, Errors: 50}}
	b := &backend{}
	s, err := smtpd.New(cfg, b, quiet())
	if err != nil {
		t.Fatal(err)
	}
	conn := &script{in: bytes.NewReader(input), cut: cut}
	s.ServeConn(conn, false)
	out := conn.out.String()
	if !replyLine.MatchString(out) {
		t.Fatalf("%q: replies %q", input, out)
	}
	if b.sessions != b.closed {
		t.Fatalf("%q: %d sessions, %d closed", input, b.sessions, b.closed)
	}
	if st := s.Stats(); st.Open != 0 || st.Panics != int64(bytes.Count([]byte(out), []byte("421 4.3.0"))) {
		t.Fatalf("%q: stats %+v", input, st)
	}
	for _, m := range b.messages {
		bare := bytes.ReplaceAll([]byte(m.body), []byte("\r\n"), nil)
		if bytes.IndexByte(bare, 0) >= 0 || hasBareEnd(m.body) || len(m.body) > 1000 || len(m.rcpts) == 0 || len(m.rcpts) > 5 {
			t.Fatalf("%q: accepted %+v", input, m)
		}
	}
	return out
}

func hasBareEnd(s string) bool {
	for i := range len(s) {
		if s[i] == '\r' && (i+1 == len(s) || s[i+1] != '\n') || s[i] == '\n' && (i == 0 || s[i-1] != '\r') {
			return true
		}
	}
	return false
}

// discard takes every message and keeps nothing.
type discard struct{}

func (discard) NewSession(context.Context, *smtpd.Conn) (smtpd.Session, error) { return discard{}, nil }
func (discard) AuthMechanisms() []string                                       { return nil }
func (discard) Auth(context.Context, string) (smtpd.Mechanism, error)          { return nil, io.EOF }
func (discard) Mail(context.Context, envelope.ReversePath, *smtp.MailOptions) error {
	return nil
}
func (discard) Rcpt(context.Context, []smtpd.Rcpt)          {}
func (discard) Data(context.Context) (smtpd.Message, error) { return discardMessage{}, nil }
func (discard) Reset()                                      {}
func (discard) Close()                                      {}

type discardMessage struct{}

func (discardMessage) Write(p []byte) (int, error)            { return len(p), nil }
func (discardMessage) Commit(context.Context) (string, error) { return "ok", nil }
func (discardMessage) Abort()                                 {}

// conversation gives text again and again.
type conversation struct {
	script
	text  []byte
	left  int
	at    int
	wrote int
}

func (c *conversation) Read(p []byte) (int, error) {
	if c.at == len(c.text) {
		if c.left--; c.left <= 0 {
			return 0, io.EOF
		}
		c.at = 0
	}
	n := copy(p, c.text[c.at:])
	c.at += n
	return n, nil
}

func (c *conversation) Write(p []byte) (int, error) {
	c.wrote++
	return len(p), nil
}

// BenchmarkSession: one operation is one message of 4 KiB, MAIL, RCPT and DATA pipelined, against a backend that does nothing.
func BenchmarkSession(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789abcdef\r\n"), 52)
	text := []byte("MAIL FROM:<bench@remote.example> SIZE=4096\r\nRCPT TO:<user1@example.org>\r\nDATA\r\n")
	text = append(append(text, body...), ".\r\n"...)
	s, err := smtpd.New(smtpd.Config{Hostname: "mx.example.org", Limits: smtpd.Limits{Messages: 1 << 40}}, discard{}, quiet())
	if err != nil {
		b.Fatal(err)
	}
	conn := &conversation{text: text, left: b.N}
	conn.in = nil
	hello := []byte("EHLO bench\r\n")
	first := &prefixed{conversation: conn, prefix: hello}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.ResetTimer()
	s.ServeConn(first, false)
	if got := s.Stats().Messages; got != int64(b.N) {
		b.Fatalf("%d messages, want %d", got, b.N)
	}
	b.ReportMetric(float64(conn.wrote)/float64(b.N), "writes/msg")
}

type prefixed struct {
	*conversation
	prefix []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.conversation.Read(b)
}

func TestAllocationsPerMessage(t *testing.T) {
	// MailOptions and the two command lines; the bodies cost none.
	const most = 3
	result := testing.Benchmark(BenchmarkSession)
	if got := result.AllocsPerOp(); got > most {
		t.Errorf("%d allocations per message, want %d at most", got, most)
	}
}
