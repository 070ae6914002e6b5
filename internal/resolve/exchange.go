package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// udpSize is the EDNS0 payload size that passes without fragments (DNS flag day 2020).
const udpSize = 1232

// exchange asks the servers in turn, the one that answered last first, until one knows.
func (r *Resolver) exchange(ctx context.Context, k key) (*dns.Msg, server, error) {
	first := int(r.preferred.Load())
	last := errNoAnswer
	for try := range r.cfg.Attempts {
		i := (first + try) % len(r.servers)
		msg, err := r.try(ctx, r.servers[i], k)
		if err == nil {
			r.preferred.Store(int32(i))
			return msg, r.servers[i], nil
		}
		last = fmt.Errorf("%s: %w", r.servers[i].addr, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, server{}, last
}

// try asks one server once: by UDP, then by TCP if the answer was cut.
func (r *Resolver) try(ctx context.Context, s server, k key) (*dns.Msg, error) {
	msg, err := r.send(ctx, "udp", s, question(k, true))
	if err == nil && (msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeNotImplemented) {
		// QUIRK: old servers and some boxes on the way refuse EDNS0 (RFC 6891 §7).
		msg, err = r.send(ctx, "udp", s, question(k, false))
	}
	if err == nil && msg.Truncated {
		msg, err = r.send(ctx, "tcp", s, question(k, true))
	}
	if err != nil {
		return nil, err
	}
	switch msg.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return msg, nil
	}
	return nil, fmt.Errorf("answered %s", dns.RcodeToString[msg.Rcode])
}

func question(k key, edns bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(k.name), k.qtype)
	m.AuthenticatedData = true // asks to be told whether the answer was validated (RFC 6840 §5.7)
	if edns {
		m.SetEdns0(udpSize, false)
	}
	return m
}

// send sends one question over a socket of its own, whose random port makes answers hard to forge (RFC 5452 §4), and waits
// for the answer to it.
func (r *Resolver) send(ctx context.Context, network string, s server, q *dns.Msg) (*dns.Msg, error) {
	r.metrics.sent.WithLabelValues(network).Inc()
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, s.addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	c := &dns.Conn{Conn: nc, UDPSize: udpSize}
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		raw, err := c.ReadMsgHeader(nil)
		if errors.Is(err, dns.ErrShortRead) && network == "udp" {
			continue
		}
		if err != nil {
			return nil, err
		}
		a := new(dns.Msg)
		if err := a.Unpack(raw); err != nil && !a.Truncated {
			if network == "tcp" {
				return nil, err
			}
			continue // perhaps forged: the right one may still come
		}
		if answers(a, q) {
			return a, nil
		}
		if network == "tcp" {
			return nil, errors.New("answered another question")
		}
	}
}

// answers tells whether a is an answer to q (RFC 5452 §9.1); a server may leave the question out of an error.
func answers(a, q *dns.Msg) bool {
	if a.Id != q.Id || !a.Response || a.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(a.Question) == 0 {
		return a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError
	}
	aq, qq := a.Question[0], q.Question[0]
	return len(a.Question) == 1 && aq.Qtype == qq.Qtype && aq.Qclass == qq.Qclass && strings.EqualFold(aq.Name, qq.Name)
}
