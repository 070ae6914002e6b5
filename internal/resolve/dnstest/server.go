// Package dnstest is a DNS server on the loopback for tests: it answers from a zone text, over UDP and TCP on one port, and
// can be told to be slow, to fail or to fall silent, per name. It counts what it is asked.
//
//	srv := dnstest.Start(t, `
//	example.org.         60 IN MX  10 mx.example.org.
//	mx.example.org.      60 IN A   192.0.2.1
//	example.org.         60 IN TXT "v=spf1 mx -all"
//	`)
//	r, err := resolve.New(resolve.Config{Servers: []string{srv.Addr()}}, resolve.Deps{})
package dnstest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Behaviour is how the server treats questions about a name.
type Behaviour int

// Behaviours.
const (
	// Answer is the ordinary one.
	Answer Behaviour = iota
	// ServFail answers SERVFAIL.
	ServFail
	// Refuse answers REFUSED.
	Refuse
	// Drop never answers.
	Drop
	// Truncate answers empty with the TC bit over UDP, in full over TCP.
	Truncate
	// NoEDNS answers FORMERR to questions with EDNS0.
	NoEDNS
	// LinkOnly answers with the CNAME of the name alone, as an authoritative server of one zone does.
	LinkOnly
	// Forge sends an answer with another id and one to another question before the right one, over UDP.
	Forge
)

// Server is a DNS server. Its methods may be called at once from many goroutines.
type Server struct {
	addr     string
	udp, tcp *dns.Server
	stopping chan struct{}
	serving  sync.WaitGroup

	mu      sync.Mutex
	records map[string][]dns.RR // guarded by mu; by name in lower case with final dot
	rules   map[question]rule   // guarded by mu; type 0 is for all types, name "" for all names without a rule
	counts  map[question]int    // guarded by mu
	total   int                 // guarded by mu
	secure  bool                // guarded by mu
	negTTL  uint32              // guarded by mu
}

type rule struct {
	behave Behaviour
	delay  time.Duration
	gate   chan struct{} // closed to let answers go
}

type question struct {
	name  string
	qtype uint16
}

// allTypes stands for every type in a rule.
const allTypes = dns.TypeNone

// Start begins a server with the records of a zone text (RFC 1035 §5) and stops it when the test ends.
func Start(t testing.TB, zone string) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Listen begins a server on a UDP and TCP address; port 0 chooses one. Close it.
func Listen(addr, zone string) (*Server, error) {
	s := &Server{stopping: make(chan struct{}), records: map[string][]dns.RR{}, rules: map[question]rule{},
		counts: map[question]int{}, negTTL: 60}
	if err := s.Add(zone); err != nil {
		return nil, err
	}
	pc, l, err := listenBoth(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for DNS questions: %w", err)
	}
	s.addr = pc.LocalAddr().String()
	s.udp = &dns.Server{PacketConn: pc, Handler: s}
	s.tcp = &dns.Server{Listener: l, Handler: s}
	var started sync.WaitGroup
	for _, srv := range []*dns.Server{s.udp, s.tcp} {
		started.Add(1)
		srv.NotifyStartedFunc = started.Done
		s.serving.Go(func() { srv.ActivateAndServe() })
	}
	started.Wait()
	return s, nil
}

// listenBoth finds a port that is free for UDP and TCP.
func listenBoth(addr string) (net.PacketConn, net.Listener, error) {
	var last error
	for range 20 {
		pc, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, err
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l, nil
		}
		last = err
		pc.Close()
	}
	return nil, nil, last
}

// Close stops the server and waits for its answers.
func (s *Server) Close() error {
	close(s.stopping)
	err := errors.Join(s.udp.Shutdown(), s.tcp.Shutdown())
	s.serving.Wait()
	return err
}

// Addr is the server's address and port.
func (s *Server) Addr() string { return s.addr }

// Add adds the records of a zone text. Names without a final dot are below the root.
func (s *Server) Add(zone string) error {
	zp := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	zp.SetDefaultTTL(60)
	s.mu.Lock()
	defer s.mu.Unlock()
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		name := strings.ToLower(rr.Header().Name)
		s.records[name] = append(s.records[name], rr)
	}
	if err := zp.Err(); err != nil {
		return fmt.Errorf("zone text: %w", err)
	}
	return nil
}

// Remove forgets all records of a name.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, canonical(name))
}

// Behave sets how questions about a name are treated, of all types or of those given; name "" stands for all names without
// a rule of their own.
func (s *Server) Behave(name string, b Behaviour, types ...uint16) {
	if len(types) == 0 {
		types = []uint16{allTypes}
	}
	for _, t := range types {
		s.change(question{canonical(name), t}, func(r *rule) { r.behave = b })
	}
}

// Delay lets answers about a name wait.
func (s *Server) Delay(name string, d time.Duration) {
	s.change(question{canonical(name), allTypes}, func(r *rule) { r.delay = d })
}

// Hold keeps answers about a name back until release is called.
func (s *Server) Hold(name string) (release func()) {
	gate := make(chan struct{})
	s.change(question{canonical(name), allTypes}, func(r *rule) { r.gate = gate })
	return sync.OnceFunc(func() { close(gate) })
}

func (s *Server) change(q question, f func(*rule)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rules[q]
	f(&r)
	s.rules[q] = r
}

// Secure sets the AD bit of all answers.
func (s *Server) Secure(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure = on
}

// NegativeTTL sets the MINIMUM of the SOA that comes with absences, in seconds; 0 leaves the SOA out. It begins with 60.
func (s *Server) NegativeTTL(seconds uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.negTTL = seconds
}

// Queries counts the queries received so far, repeats included.
func (s *Server) Queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// QueriesFor counts the queries for a name and type: "example.org", dns.TypeMX.
func (s *Server) QueriesFor(name string, qtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[question{canonical(name), qtype}]
}

func canonical(name string) string {
	if name == "" {
		return ""
	}
	return strings.ToLower(dns.Fqdn(name))
}
