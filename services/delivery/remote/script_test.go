package remote

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a peer that says and wants what a dialogue tells, one connection after the other:
//
//	S: 220 hello      a line that it says
//	S- text           octets as they are, with \r, \n and \x1b, without line end
//	C: MAIL FROM:<    a line that must begin so
//	C: .              the message, up to its final dot
//	TLS               the server's side of a handshake
//	close             hangs up
//	wait              reads nothing until the other side hangs up
//	---               the next connection
type script struct {
	t        testing.TB
	patience time.Duration

	mu       sync.Mutex
	next     []string // guarded by mu: dialogues of the connections to come
	messages []string // guarded by mu
	lines    []string // guarded by mu: what clients said
	// reached is closed before the step that it is for.
	reached map[string]chan struct{} // guarded by mu
}

// before closes a channel when the script comes to a step.
func (s *script) before(step string, reached chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reached = map[string]chan struct{}{step: reached}
}

func newScript(t testing.TB, dialogues string) *script {
	s := &script{t: t, patience: patience, next: strings.Split(strings.TrimSpace(dialogues), "\n---\n")}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.next) > 0 {
			t.Errorf("%d dialogues were not asked for, the next is\n%s", len(s.next), s.next[0])
		}
	})
	return s
}

// took are the messages so far.
func (s *script) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

// said are the clients' commands so far.
func (s *script) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// serve speaks one dialogue and waits for QUIT.
func (s *script) serve(conn net.Conn) {
	conn, r := s.speak(conn)
	if conn == nil {
		return
	}
	if line, _ := r.ReadString('\n'); line == "QUIT\r\n" {
		io.WriteString(conn, "221 bye\r\n")
	}
}

// serveOpen speaks one dialogue and leaves the connection to the caller.
func (s *script) serveOpen(conn net.Conn) { s.speak(conn) }

// readAll reads until the other side hangs up.
func readAll(conn net.Conn, b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		var m int
		m, err = conn.Read(b[n:])
		n += m
	}
	return n, err
}

// speak speaks one dialogue; a nil connection is at its end.
func (s *script) speak(conn net.Conn) (net.Conn, *bufio.Reader) {
	s.mu.Lock()
	if len(s.next) == 0 {
		s.mu.Unlock()
		s.t.Error("a connection more than the script has")
		return nil, nil
	}
	dialogue := s.next[0]
	s.next = s.next[1:]
	s.mu.Unlock()
	conn.SetDeadline(time.Now().Add(s.patience))
	r := bufio.NewReader(conn)
	for line := range strings.Lines(dialogue) {
		line = strings.TrimRight(line, "\n")
		s.mu.Lock()
		if reached := s.reached[strings.TrimSpace(line)]; reached != nil {
			close(reached)
		}
		s.mu.Unlock()
		var err error
		switch kind, rest, _ := strings.Cut(strings.TrimLeft(line, "\t "), " "); kind {
		case "S:":
			_, err = io.WriteString(conn, rest+"\r\n")
		case "S-":
			_, err = io.WriteString(conn, strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\x1b`, "\x1b", `\x00`, "\x00").Replace(rest))
		case "C:":
			if !s.read(r, rest) {
				return nil, nil
			}
		case "TLS":
			secured := tls.Server(conn, serverTLS(s.t))
			err = secured.Handshake()
			conn, r = secured, bufio.NewReader(secured)
		case "close":
			return nil, nil
		case "wait":
			io.Copy(io.Discard, conn)
			return nil, nil
		default:
			s.t.Errorf("script: %q", line)
		}
		if err != nil {
			return nil, nil // the other side has hung up: the outcome tells whether it should have
		}
	}
	return conn, r
}

// read reads a line or a message; false where the client says something else.
func (s *script) read(r *bufio.Reader, want string) bool {
	if want == "." {
		var text strings.Builder
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				s.t.Errorf("no final dot behind %q: %v", text.String(), err)
				return false
			}
			if line == ".\r\n" {
				break
			}
			text.WriteString(strings.TrimPrefix(line, "."))
		}
		s.mu.Lock()
		s.messages = append(s.messages, text.String())
		s.mu.Unlock()
		return true
	}
	line, err := r.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	s.mu.Lock()
	s.lines = append(s.lines, line)
	s.mu.Unlock()
	if err != nil || !strings.HasPrefix(line, want) {
		s.t.Errorf("the client says %q (%v), want %q", line, err, want)
		return false
	}
	return true
}

// serverTLS makes a certificate that nobody trusts.
var serverTLS = func() func(t testing.TB) *tls.Config {
	var once sync.Once
	var cfg *tls.Config
	return func(t testing.TB) *tls.Config {
		once.Do(func() {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
			if err != nil {
				t.Fatal(err)
			}
			cfg = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		})
		return cfg
	}
}()
