package harness

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// Peer is another mail server: it takes mail, or does not, by the recipient's local-part.
//
//	refuse…   550 at RCPT
//	later…    451 at RCPT, the first time an address is seen; then taken
//	never…    451 at RCPT always
//	datafail… 554 at the final dot
type Peer struct {
	Addr string

	mu     sync.Mutex
	seen   map[string]bool
	taken  []Taken
	server *smtp.Server
}

// Taken is a message that a Peer took, once per recipient.
type Taken struct {
	From, To string
	Data     []byte
}

// NewPeer starts a peer on addr ("127.0.0.1:0" for any port) until the test ends.
func NewPeer(t testing.TB, addr string) *Peer {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{Addr: l.Addr().String(), seen: map[string]bool{}}
	p.server = smtp.NewServer(p)
	p.server.Domain = "peer.remote.example"
	p.server.EnableDSN = false
	go p.server.Serve(l)
	t.Cleanup(func() { p.server.Close() })
	return p
}

// Taken is what the peer took so far.
func (p *Peer) Taken() []Taken {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Taken(nil), p.taken...)
}

// Count is how many messages with the Subject the peer took.
func (p *Peer) Count(subject string) (n int) {
	for _, m := range p.Taken() {
		if bytes.Contains(m.Data, []byte("\r\nSubject: "+subject+"\r\n")) {
			n++
		}
	}
	return n
}

// NewSession is go-smtp's.
func (p *Peer) NewSession(*smtp.Conn) (smtp.Session, error) { return &peerSession{p: p}, nil }

type peerSession struct {
	p    *Peer
	from string
	to   []string
}

func (s *peerSession) Mail(from string, _ *smtp.MailOptions) error {
	s.from, s.to = from, nil
	return nil
}

func (s *peerSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	first := !s.p.seen[to]
	s.p.seen[to] = true
	switch {
	case strings.HasPrefix(to, "refuse"):
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user at the peer"}
	case strings.HasPrefix(to, "later") && first, strings.HasPrefix(to, "never"):
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "come back later"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *peerSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for _, to := range s.to {
		if strings.HasPrefix(to, "datafail") {
			return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "not this message"}
		}
	}
	for _, to := range s.to {
		s.p.taken = append(s.p.taken, Taken{From: s.from, To: to, Data: data})
	}
	return nil
}

func (s *peerSession) Reset()        { s.from, s.to = "", nil }
func (s *peerSession) Logout() error { return nil }

// Zone is a DNS zone in which domain's mail goes to addr's address.
func (p *Peer) Zone(domain string) string {
	host, _, _ := net.SplitHostPort(p.Addr)
	return fmt.Sprintf("%[1]s. 60 IN MX 10 mx.%[1]s.\nmx.%[1]s. 60 IN A %[2]s\n", domain, host)
}
