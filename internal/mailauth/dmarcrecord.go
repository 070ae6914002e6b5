package mailauth

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Disposition is what a domain asks to be done with mail that fails (RFC 7489 §6.3).
type Disposition string

// Dispositions.
const (
	DispositionNone       Disposition = "none"
	DispositionQuarantine Disposition = "quarantine"
	DispositionReject     Disposition = "reject"
)

// DMARCRecord is a domain's policy.
type DMARCRecord struct {
	// Policy is for the domain, Subdomains for those below it and Missing for those of them that do not exist ("p", "sp", "np").
	Policy, Subdomains, Missing Disposition
	// StrictDKIM and StrictSPF ask for the same domain, not only the same organisation ("adkim", "aspf").
	StrictDKIM, StrictSPF bool
	// Percent is of how many failing messages in a hundred the policy holds ("pct").
	Percent int
	// Testing asks for one step less than the policy ("t" of DMARCbis).
	Testing bool
}

var (
	errNotDMARC  = errors.New("not a DMARC record")
	errBadPolicy = errors.New("DMARC record without a valid policy")
)

// ParseDMARC reads a record (RFC 7489 §6.3, §6.4). Unknown tags and values are passed over, but for the policies: without a
// valid one a record that asks for reports counts as "none" (§6.6.3), any other not at all.
func ParseDMARC(txt string) (*DMARCRecord, error) {
	tags, err := parseTags(txt)
	if err != nil || len(tags) == 0 || tags[0].name != "v" || tags[0].value != "DMARC1" {
		return nil, errNotDMARC
	}
	rec := &DMARCRecord{
		StrictDKIM: strings.EqualFold(tags.get("adkim", "r"), "s"),
		StrictSPF:  strings.EqualFold(tags.get("aspf", "r"), "s"),
		Testing:    strings.EqualFold(tags.get("t", "n"), "y"),
		Percent:    100,
	}
	if n, err := strconv.Atoi(tags.get("pct", "100")); err == nil && n >= 0 && n <= 100 {
		rec.Percent = n
	}
	p, ok := disposition(tags, "p", "")
	sp, okSub := disposition(tags, "sp", p)
	np, okMissing := disposition(tags, "np", sp)
	if !ok || p == "" || !okSub || !okMissing {
		if !strings.Contains(strings.ToLower(tags.get("rua", "")), "mailto:") {
			return nil, errBadPolicy
		}
		p, sp, np = DispositionNone, DispositionNone, DispositionNone
	}
	rec.Policy, rec.Subdomains, rec.Missing = p, sp, np
	return rec, nil
}

// disposition is a tag's value, or def where it is not given.
func disposition(tags tagList, name string, def Disposition) (Disposition, bool) {
	t, ok := tags.find(name)
	if !ok {
		return def, true
	}
	switch d := Disposition(strings.ToLower(t.value)); d {
	case DispositionNone, DispositionQuarantine, DispositionReject:
		return d, true
	}
	return "", false
}

// OrganizationalDomain is the part of a domain that somebody registered (RFC 7489 §3.2), by the public suffix list. A public
// suffix is its own.
func OrganizationalDomain(domain string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return org
}

// policyOf finds the record that holds for a domain: its own, or that of its organization (RFC 7489 §6.6.3). nil is none.
func policyOf(ctx context.Context, r Resolver, domain string) (*DMARCRecord, Disposition, error) {
	rec, err := dmarcRecord(ctx, r, domain)
	if err != nil {
		return nil, "", err
	}
	if rec != nil {
		return rec, rec.Policy, nil
	}
	org := OrganizationalDomain(domain)
	if org == domain {
		return nil, "", nil
	}
	if rec, err = dmarcRecord(ctx, r, org); err != nil || rec == nil {
		return nil, "", err
	}
	if rec.Missing != rec.Subdomains {
		// The name exists if any type does; NXDOMAIN holds for all of them.
		switch _, err := r.LookupA(ctx, domain); {
		case errors.Is(err, resolve.ErrNoDomain):
			return rec, rec.Missing, nil
		case errors.Is(err, resolve.ErrNotCached):
			return nil, "", err
		}
	}
	return rec, rec.Subdomains, nil
}

// dmarcRecord is the one record at _dmarc.<domain>; several are none.
func dmarcRecord(ctx context.Context, r Resolver, domain string) (*DMARCRecord, error) {
	txts, err := r.LookupTXT(ctx, "_dmarc."+domain)
	switch {
	case errors.Is(err, resolve.ErrNotFound), errors.Is(err, resolve.ErrName):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var found *DMARCRecord
	var bad error
	n := 0
	for _, txt := range txts.Records {
		rec, err := ParseDMARC(txt)
		if errors.Is(err, errNotDMARC) {
			continue
		}
		if n++; n > 1 {
			return nil, nil
		}
		found, bad = rec, err
	}
	return found, bad
}
