package dnstest

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxLinks ends CNAME loops in a zone.
const maxLinks = 16

// ServeDNS answers one query.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		return
	}
	qq := q.Question[0]
	r := s.note(qq)
	if !s.wait(r) || r.behave == Drop {
		return
	}
	udp := w.RemoteAddr().Network() == "udp"
	a := new(dns.Msg)
	a.SetReply(q)
	a.RecursionAvailable = true
	switch {
	case r.behave == ServFail:
		a.Rcode = dns.RcodeServerFailure
	case r.behave == Refuse:
		a.Rcode = dns.RcodeRefused
	case r.behave == NoEDNS && q.IsEdns0() != nil:
		a.Rcode = dns.RcodeFormatError
	case r.behave == Truncate && udp:
		a.Truncated = true
	default:
		s.fill(a, qq)
		if r.behave == LinkOnly && len(a.Answer) > 0 {
			a.Answer, a.Ns, a.Rcode = a.Answer[:1], nil, dns.RcodeSuccess
		}
	}
	if opt := q.IsEdns0(); opt != nil && a.Rcode != dns.RcodeFormatError {
		a.SetEdns0(1232, false)
	}
	if r.behave == Forge && udp {
		forge(w, a)
	}
	if udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		a.Truncate(size)
	}
	w.WriteMsg(a) // a client that has gone is no concern of ours
}

func forge(w dns.ResponseWriter, a *dns.Msg) {
	f := a.Copy()
	f.Id++
	f.Answer, f.Rcode = nil, dns.RcodeNameError
	w.WriteMsg(f)
	f.Id = a.Id
	f.Question[0].Name = "forged.invalid."
	w.WriteMsg(f)
	w.Write([]byte("no DNS message"))
}

func (s *Server) note(q dns.Question) rule {
	name := strings.ToLower(q.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	s.counts[question{name, q.Qtype}]++
	for _, q := range []question{{name, q.Qtype}, {name, allTypes}, {"", q.Qtype}} {
		if r, ok := s.rules[q]; ok {
			return r
		}
	}
	return s.rules[question{"", allTypes}]
}

// wait lets a rule's delay pass; false when the server stops first.
func (s *Server) wait(r rule) bool {
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-s.stopping:
			return false
		}
	}
	if r.delay > 0 {
		t := time.NewTimer(r.delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.stopping:
			return false
		}
	}
	return true
}

// fill answers from the records, along CNAMEs as far as they are ours.
func (s *Server) fill(a *dns.Msg, q dns.Question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.AuthenticatedData = s.secure
	name := strings.ToLower(q.Name)
	for range maxLinks {
		var alias *dns.CNAME
		n := 0
		for _, rr := range s.records[name] {
			if rr.Header().Rrtype == q.Qtype {
				a.Answer = append(a.Answer, rr)
				n++
			} else if cn, ok := rr.(*dns.CNAME); ok {
				alias = cn
			}
		}
		if n > 0 {
			return
		}
		if alias == nil {
			break
		}
		a.Answer = append(a.Answer, alias)
		name = strings.ToLower(alias.Target)
	}
	if !s.exists(name) {
		a.Rcode = dns.RcodeNameError
	}
	if s.negTTL > 0 {
		a.Ns = append(a.Ns, &dns.SOA{
			Hdr:  dns.RR_Header{Name: parent(name), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600},
			Ns:   "ns.invalid.",
			Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: s.negTTL,
		})
	}
}

// exists tells whether a name has records or lies above one that has (RFC 8020). It needs mu.
func (s *Server) exists(name string) bool {
	if len(s.records[name]) > 0 {
		return true
	}
	for n := range s.records {
		if strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}

func parent(name string) string {
	if i := strings.IndexByte(name, '.'); i >= 0 && i+1 < len(name) {
		return name[i+1:]
	}
	return "."
}
