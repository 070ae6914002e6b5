package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"blitiri.com.ar/go/spf"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// maxSPFRecord is the longest SPF record that is evaluated, octets; RFC 7208 §3.4 asks for less than 512.
const maxSPFRecord = 8 << 10

// SPFResult is whether a client may send for a domain.
type SPFResult struct {
	// Value is None, Neutral, Pass, Fail, SoftFail, TempError or PermError.
	Value Value
	// Domain is what was asked about, in A-labels; empty where there was no name to ask about.
	Domain string
	// Helo tells that the domain is that of HELO, as the reverse-path is null (RFC 7208 §2.4).
	Helo bool
	// Reason is for the log and the reader: the mechanism, or what went wrong.
	Reason string
}

// SPF is the evaluation of one message's client: StartSPF, Finish.
type SPF struct {
	result SPFResult
	asking sync.WaitGroup // counts the evaluation, if it goes on
}

// StartSPF evaluates the policy of the reverse-path's domain, or that of the HELO name where it is null, for a client: at
// most ten terms that ask the DNS and two of them in vain (RFC 7208 §4.6.4). reversePath has no angle brackets.
//
// With all answers in the cache it is done when it returns; else it goes on and ends with ctx.
func StartSPF(ctx context.Context, r Resolver, client netip.Addr, helo, reversePath string) *SPF {
	s := &SPF{}
	evaluate := func(ctx context.Context) (missed bool) {
		defer func() {
			if p := recover(); p != nil { // a hostile record must not end the process
				s.result, missed = SPFResult{Value: TempError, Reason: fmt.Sprint("internal fault: ", p)}, false
			}
		}()
		s.result, missed = evaluateSPF(ctx, r, client, helo, reversePath)
		return missed
	}
	if evaluate(resolve.OnlyCached(ctx)) {
		s.asking.Go(func() { evaluate(ctx) })
	}
	return s
}

// Finish waits for the result.
func (s *SPF) Finish() SPFResult {
	s.asking.Wait()
	return s.result
}

// evaluateSPF also tells whether an answer was missed in the cache.
func evaluateSPF(ctx context.Context, r Resolver, client netip.Addr, helo, reversePath string) (_ SPFResult, missed bool) {
	local, domain, helos := "postmaster", helo, true
	if at := strings.LastIndexByte(reversePath, '@'); at >= 0 {
		local, domain, helos = reversePath[:at], reversePath[at+1:], false
	} else if reversePath != "" {
		return SPFResult{Value: None, Reason: "reverse-path without domain"}, false
	}
	name, err := resolve.Name(domain)
	if err != nil || !strings.Contains(name, ".") || !client.IsValid() {
		// RFC 7208 §4.3: a literal, a single label or no name at all.
		return SPFResult{Value: None, Helo: helos, Reason: "no domain name to ask about"}, false
	}
	res := SPFResult{Domain: name, Helo: helos}
	// QUIRK: the library takes the first "@" of the sender for the last.
	sender := strings.ReplaceAll(local, "@", "_") + "@" + name
	client = client.Unmap().WithZone("")
	asked := &spfResolver{r: r, v4: client.Is4()}
	v, err := spf.CheckHostWithSender(client.AsSlice(), helo, sender,
		spf.WithContext(ctx), spf.WithResolver(asked))
	res.Value = Value(v)
	if err != nil {
		res.Reason = err.Error()
	}
	if res.Value == TempError {
		res.Reason = "DNS failure"
	}
	return res, asked.missed
}

// spfResolver asks our resolver in the library's terms. Its errors are of the type that the library looks for.
type spfResolver struct {
	r  Resolver
	v4 bool // the client's address family: of the other none are asked for (RFC 7208 §5)
	// missed tells that an answer was not in the cache.
	missed bool
}

func (s *spfResolver) fault(name string, err error) error {
	s.missed = s.missed || errors.Is(err, resolve.ErrNotCached)
	if errors.Is(err, resolve.ErrNotFound) || errors.Is(err, resolve.ErrName) {
		// A name that macros made unfit is one that does not exist (RFC 7208 §4.3, §5).
		return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: true}
	}
	return &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
}

func (s *spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := s.r.LookupTXT(ctx, name)
	if err != nil {
		return nil, s.fault(name, err)
	}
	for _, txt := range a.Records {
		if len(txt) > maxSPFRecord && strings.HasPrefix(strings.ToLower(txt[:8]), "v=spf1 ") {
			return nil, errors.New("record is too long") // to the library: permerror
		}
	}
	return a.Records, nil
}

func (s *spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a, err := s.r.LookupMX(ctx, name)
	if errors.Is(err, resolve.ErrNullMX) {
		return nil, nil
	}
	if err != nil {
		return nil, s.fault(name, err)
	}
	mxs := make([]*net.MX, len(a.Records))
	for i, mx := range a.Records {
		mxs[i] = &net.MX{Host: mx.Host, Pref: mx.Preference}
	}
	return mxs, nil
}

// LookupIPAddr gives the addresses of the client's family. "exists" always wants IPv4 (RFC 7208 §5.7), which for an IPv6
// client is asked for beside the other.
func (s *spfResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	v4, err := s.r.LookupA(ctx, host)
	var v6 resolve.Answer[netip.Addr]
	if !s.v4 {
		var err6 error
		v6, err6 = s.r.LookupAAAA(ctx, host)
		switch {
		case err6 == nil && errors.Is(err, resolve.ErrNotFound):
			err = nil
		case err6 != nil && !errors.Is(err6, resolve.ErrNotFound):
			err = err6
		}
	}
	if err != nil {
		return nil, s.fault(host, err)
	}
	ips := make([]net.IPAddr, 0, len(v4.Records)+len(v6.Records))
	for _, ip := range v4.Records {
		ips = append(ips, net.IPAddr{IP: ip.AsSlice()})
	}
	for _, ip := range v6.Records {
		ips = append(ips, net.IPAddr{IP: ip.AsSlice()})
	}
	return ips, nil
}

func (s *spfResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, s.fault(addr, resolve.ErrName)
	}
	a, err := s.r.LookupPTR(ctx, ip)
	if err != nil {
		return nil, s.fault(addr, err)
	}
	return a.Records, nil
}
