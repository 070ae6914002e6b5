package remote

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// host is one address of a mail server: what a connection is kept by.
type host struct {
	name string
	// address is an IP address with port.
	address string
}

// String names a host in logs and replies: "mx.example.org[192.0.2.1]:25".
func (h host) String() string {
	ip, port, err := net.SplitHostPort(h.address)
	if err != nil {
		return h.name
	}
	return fmt.Sprintf("%s[%s]:%s", h.name, ip, port)
}

// peer is a connection to another server, greeted and ready for MAIL.
type peer struct {
	*smtp.Client
	host host
	// raw is the connection beneath TLS: closing it ends whatever waits for the peer.
	raw net.Conn
	tls string // "TLS 1.3", empty without
	ext map[string]string
	// sent counts the messages it took.
	sent  int
	timer *time.Timer // guarded by pool.mu
}

// relay names the peer in logs, DSNs and the ledger.
func (p *peer) relay() string {
	if p.tls == "" {
		return p.host.String()
	}
	return p.host.String() + " " + p.tls
}

// has tells whether the peer offers an extension.
func (p *peer) has(extension string) bool {
	_, ok := p.ext[extension]
	return ok
}

// recipients is how many the peer takes in one transaction, as far as it says (RFC 9422 §4.3), and at most limit.
func (p *peer) recipients(limit int) int {
	for _, l := range strings.Fields(p.ext["LIMITS"]) {
		name, value, _ := strings.Cut(l, "=")
		if n, err := strconv.Atoi(value); err == nil && n > 0 && strings.EqualFold(name, "RCPTMAX") {
			limit = min(limit, n)
		}
	}
	return limit
}

// quitTime is how long we wait for the reply to QUIT: it changes nothing.
const quitTime = time.Second

// quit ends the connection. It takes quitTime at most.
func (p *peer) quit() {
	p.CommandTimeout = quitTime
	if p.Quit() != nil {
		p.raw.Close()
	}
}
