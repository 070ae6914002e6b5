package remote

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// server is go-smtp's, which takes everything.
type server struct {
	mu    sync.Mutex
	got   []string // guarded by mu: messages
	conns int      // guarded by mu
	smtp  *smtp.Server
}

func newServer(t testing.TB, secure bool) *server {
	s := &server{}
	s.smtp = smtp.NewServer(s)
	s.smtp.Domain = "mx1.example.net"
	s.smtp.ErrorLog = quiet{}
	s.smtp.MaxLineLength = 100_000
	if secure {
		s.smtp.TLSConfig = serverTLS(t)
	}
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// serve answers one connection.
func (s *server) serve(c net.Conn) {
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	l := &oneConn{conn: c, done: make(chan struct{})}
	s.smtp.Serve(l)
}

// oneConn is a listener with one connection; it ends with it.
type oneConn struct {
	conn net.Conn
	once bool
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.once {
		<-l.done
		return nil, net.ErrClosed
	}
	l.once = true
	return &closing{Conn: l.conn, l: l}, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

type closing struct {
	net.Conn
	l    *oneConn
	once sync.Once
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.l.done) })
	return c.Conn.Close()
}

func (s *server) NewSession(*smtp.Conn) (smtp.Session, error) { return s, nil }
func (s *server) Mail(string, *smtp.MailOptions) error        { return nil }
func (s *server) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (s *server) Reset()                                      {}
func (s *server) Logout() error                               { return nil }
func (s *server) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, string(text))
	return err
}

func (s *server) took() (messages []string, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...), s.conns
}

// TestOpportunisticTLS uses TLS with any certificate, and does without where it fails.
func TestOpportunisticTLS(t *testing.T) {
	plain := "---\n" + hello + sends("MAIL", "RCPT")
	const tlsHello = "S: 220 hi\nC: EHLO out.example.org\nS: 250-hi\nS: 250-SIZE 1\nS: 250 starttls\nC: STARTTLS\n"
	for _, row := range []struct {
		name, script string
		tls          string
	}{
		{"used", tlsHello + "S: 220 go\nTLS\nC: EHLO out.example.org\nS: 250 hi\n" + sends("MAIL", "RCPT"), " TLS 1.3"},
		{"refused", tlsHello + "S: 454 4.7.0 not now\n" + plain, ""},
		{"refused for good", tlsHello + "S: 502 5.5.1 what?\n" + plain, ""},
		{"broken off", tlsHello + "S: 220 go\nclose\n" + plain, ""},
		{"no TLS", tlsHello + "S: 220 go\nS: what do you want?\n" + plain, ""},
		{"plaintext behind the reply", tlsHello + `S- 220 go\r\n250 injected\r\n` + "\n" + plain, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, "", nil)
			w.net.at("192.0.2.1", newScript(t, row.script).serve)
			m := w.send(letterTo("bob@example.net"), body)
			w.wait(1)
			w.want(m, "relayed 250 2.0.0 ok")
			if got, want := w.rows(m)[0].Relay, "mx1.example.net[192.0.2.1]:25"+row.tls; got != want {
				t.Errorf("relay %q, want %q", got, want)
			}
		})
	}
}

// TestRealServer sends large and odd messages by TLS to go-smtp's server: octet for octet the same.
func TestRealServer(t *testing.T) {
	for _, secure := range []bool{true, false} {
		t.Run(fmt.Sprintf("TLS %t", secure), func(t *testing.T) {
			w := newWorld(t, "", nil)
			s := newServer(t, secure)
			w.net.at("192.0.2.1", s.serve)
			for i, text := range []string{
				body,
				body + strings.Repeat("a line of an ordinary length, as in mail\r\n", 100_000),
				"Subject: dots\r\n\r\n.\r\n..\r\n.dot\r\nend.\r\n.\r\n",
				"Subject: long\r\n\r\n" + strings.Repeat("x", 50_000) + "\r\n",
				"Subject: no end of line\r\n\r\nend",
			} {
				m := w.send(letterTo("bob@example.net"), text)
				w.wait(1)
				if got := w.states(m)[0]; !strings.HasPrefix(got, "relayed 250 2.0.0 ") {
					t.Fatal(i, got)
				}
				want := strings.TrimSuffix(m.body, "\r\n") + "\r\n"
				if got, _ := s.took(); got[len(got)-1] != want {
					t.Errorf("message %d: got %d octets, want %d", i, len(got[len(got)-1]), len(want))
				}
			}
		})
	}
}

// TestReuse sends one message after the other over one connection, at most MessagesPerConnection.
func TestReuse(t *testing.T) {
	w := newWorld(t, "", func(w *world) { w.cfg.MessagesPerConnection, w.cfg.KeepConnection = 3, time.Minute })
	s := newServer(t, true)
	w.net.at("192.0.2.1", s.serve)
	for i := range 7 {
		m := w.send(letterTo("bob@example.net"), body)
		w.wait(1)
		if got := w.states(m)[0]; !strings.HasPrefix(got, "relayed ") {
			t.Fatal(got)
		}
		if _, conns := s.took(); conns != i/3+1 {
			t.Errorf("%d connections for %d messages, want %d", conns, i+1, i/3+1)
		}
	}
}

// TestStaleConnection: what a peer did to a connection while it waited is not held against the next message.
func TestStaleConnection(t *testing.T) {
	first := hello + sends("MAIL", "RCPT")
	for name, end := range map[string]string{
		"closed":           "close",
		"421, then closed": "S: 421 4.4.2 idle for too long\nclose",
		"421 at MAIL":      "C: MAIL\nS: 421 4.4.2 idle for too long",
		"closed at MAIL":   "C: MAIL\nclose",
		"nonsense at MAIL": "C: MAIL\nS: ?\nclose",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", func(w *world) { w.cfg.KeepConnection = time.Minute })
			peer := newScript(t, first+end+"\n---\n"+first)
			w.net.at("192.0.2.1", peer.serve)
			for range 2 {
				m := w.send(letterTo("bob@example.net"), body)
				w.wait(1)
				w.want(m, "relayed 250 2.0.0 ok")
			}
			if n := len(peer.took()); n != 2 {
				t.Errorf("the peer took %d messages", n)
			}
		})
	}
}

// TestRefusedOnKeptConnection: a refusal is one, whatever the connection did before.
func TestRefusedOnKeptConnection(t *testing.T) {
	w := newWorld(t, "", func(w *world) { w.cfg.KeepConnection = time.Minute })
	w.net.at("192.0.2.1", newScript(t, hello+sends("MAIL", "RCPT")+"C: MAIL\nS: 550 5.7.1 enough\nC: QUIT\nS: 221 bye").serve)
	w.send(letterTo("bob@example.net"), body)
	w.wait(1)
	m := w.send(letterTo("bob@example.net"), body)
	w.wait(1)
	w.want(m, "bounced 550 5.7.1 enough")
}

func TestPoolIsBounded(t *testing.T) {
	var closed sync.WaitGroup
	p := newPool(time.Hour, 2, func(_ string, f func()) { f() })
	idle := func(name string) *peer {
		ours, theirs := net.Pipe()
		closed.Go(func() {
			newScript(t, "S: 220 hi\nC: EHLO\nS: 250 hi\nC: QUIT\nS: 221 bye").serve(theirs)
			theirs.Close()
		})
		c := &peer{Client: smtp.NewClient(ours), raw: ours, host: host{name, "192.0.2.1:25"}}
		if err := c.Hello("us"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	a, b := idle("a"), idle("b")
	p.put(a)
	p.put(b)
	p.put(idle("c"))
	if p.get(host{"c", "192.0.2.1:25"}) != nil || p.get(host{"a", "192.0.2.2:25"}) != nil {
		t.Error("a connection that was not kept")
	}
	if got := p.get(a.host); got != a || p.get(a.host) != nil {
		t.Error("not the connection that was put")
	}
	p.put(a)
	p.close()
	closed.Wait()
}
