package mailauth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// DMARCResult is whether a message is from the domain that its From field shows.
type DMARCResult struct {
	// Value is None (no policy, or nothing to ask about), Pass, Fail, TempError or PermError.
	Value Value
	// Domain is that of From which decided: with several, the one whose result is worst.
	Domain string
	// Policy is what the domain asks for, and Disposition what is left of it after pct and testing; only with Fail.
	Policy, Disposition Disposition
	Reason              string
}

// DMARC looks up the policies of a message's author domains: StartDMARC with the whole header, Finish with the results of
// SPF and DKIM.
type DMARC struct {
	policies []policy
	lookups  sync.WaitGroup
}

type policy struct {
	domain string
	rec    *DMARCRecord
	asks   Disposition
	err    error
}

// StartDMARC begins to look up the policies; the look-ups end with ctx.
func StartDMARC(ctx context.Context, r Resolver, authors Authors) *DMARC {
	d := &DMARC{policies: make([]policy, len(authors.Domains))}
	for i, domain := range authors.Domains {
		p := &d.policies[i]
		p.domain = domain
		if p.lookUp(resolve.OnlyCached(ctx), r); errors.Is(p.err, resolve.ErrNotCached) {
			d.lookups.Go(func() { p.lookUp(ctx, r) })
		}
	}
	return d
}

func (p *policy) lookUp(ctx context.Context, r Resolver) {
	defer func() {
		if recover() != nil { // a hostile record must not end the process
			p.err = errors.New("internal fault")
		}
	}()
	p.rec, p.asks, p.err = policyOf(ctx, r, p.domain)
}

// Finish waits for the policies and decides. sample, 0 to 99, says where the message falls under "pct": take it from the
// message, so that a second look says the same.
//
// Of several author domains, which RFC 7489 §6.6.1 leaves open, the worst result counts.
func (d *DMARC) Finish(spf SPFResult, dkim []DKIMResult, sample int) DMARCResult {
	d.lookups.Wait()
	worst := DMARCResult{Value: None, Reason: "no author domain"}
	for i, p := range d.policies {
		if r := p.decide(spf, dkim, sample); i == 0 || r.rank() > worst.rank() {
			worst = r
		}
	}
	return worst
}

// Wait waits for the look-ups of an evaluation that is given up; end its context first.
func (d *DMARC) Wait() { d.lookups.Wait() }

// rank orders results from good to bad. A domain without policy beside one that passes is worse: the message is not shown to
// be from it.
func (r DMARCResult) rank() int {
	switch r.Value {
	case Pass:
		return 0
	case None:
		return 1
	case PermError:
		return 2
	case TempError:
		return 3
	}
	switch r.Disposition {
	case DispositionReject:
		return 6
	case DispositionQuarantine:
		return 5
	}
	return 4
}

func (p *policy) decide(spf SPFResult, dkim []DKIMResult, sample int) DMARCResult {
	r := DMARCResult{Domain: p.domain}
	switch {
	case errors.Is(p.err, errBadPolicy):
		r.Value, r.Reason = PermError, p.err.Error()
		return r
	case p.err != nil:
		r.Value, r.Reason = TempError, "policy unavailable"
		return r
	case p.rec == nil:
		r.Value = None
		return r
	}
	trouble := false
	if aligned(spf.Domain, p.domain, p.rec.StrictSPF) {
		if spf.Value == Pass {
			r.Value = Pass
			return r
		}
		trouble = spf.Value == TempError
	}
	for _, s := range dkim {
		if !aligned(s.Domain, p.domain, p.rec.StrictDKIM) {
			continue
		}
		if s.Value == Pass {
			r.Value = Pass
			return r
		}
		trouble = trouble || s.Value == TempError
	}
	if trouble {
		r.Value, r.Reason = TempError, "an aligned result is unavailable"
		return r
	}
	r.Value, r.Policy, r.Disposition = Fail, p.asks, p.asks
	if p.rec.Testing || sample >= p.rec.Percent {
		r.Disposition = p.asks.less()
		r.Reason = fmt.Sprintf("policy applies to %d%% of messages", p.rec.Percent)
		if p.rec.Testing {
			r.Reason = "policy is being tested"
		}
	}
	return r
}

// less is the next milder disposition (RFC 7489 §6.6.4).
func (d Disposition) less() Disposition {
	if d == DispositionReject {
		return DispositionQuarantine
	}
	return DispositionNone
}

// aligned tells whether an authenticated domain speaks for the author's (RFC 7489 §3.1).
func aligned(authenticated, author string, strict bool) bool {
	if authenticated == "" {
		return false
	}
	if strict || authenticated == author {
		return authenticated == author
	}
	return OrganizationalDomain(authenticated) == OrganizationalDomain(author)
}
