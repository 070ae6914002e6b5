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
	t testing.TB

	mu       sync.Mutex
	next     []string // guarded by mu: dialogues of the connections to come
	messages []string // guarded by mu
	lines    []string // guarded by mu: what clients said
}

func newScript(t testing.TB, dialogues string) *script {
	s := &script{t: t, next: strings.Split(strings.TrimSpace(dialogues), "\n---\n")}
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

func (s *script) serve(conn net.Conn) {
	s.mu.Lock()
	if len(s.next) == 0 {
		s.mu.Unlock()
		s.t.Error("a connection more than the script has")
		return
	}
	dialogue := s.next[0]
	s.next = s.next[1:]
	s.mu.Unlock()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	for line := range strings.Lines(dialogue) {
		line = strings.TrimRight(line, "\n")
		var err error
		switch kind, rest, _ := strings.Cut(strings.TrimLeft(line, "\t "), " "); kind {
		case "S:":
			_, err = io.WriteString(conn, rest+"\r\n")
		case "S-":
			_, err = io.WriteString(conn, strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\x1b`, "\x1b", `\x00`, "\x00").Replace(rest))
		case "C:":
			if !s.read(r, rest) {
				return
			}
		case "TLS":
			secured := tls.Server(conn, serverTLS(s.t))
			err = secured.Handshake()
			conn, r = secured, bufio.NewReader(secured)
		case "close":
			return
		case "wait":
			io.Copy(io.Discard, conn)
			return
		default:
			s.t.Errorf("script: %q", line)
		}
		if err != nil {
			return // the other side has hung up: the outcome tells whether it should have
		}
	}
	io.Copy(io.Discard, r) // QUIT, or nothing
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
