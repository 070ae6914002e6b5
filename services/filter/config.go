package filter

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Config of the filter role.
type Config struct {
	// AuthservID names the farm in Authentication-Results, the same in all processes: a domain name. No default.
	AuthservID string `yaml:"authserv_id"`
	// OwnIDs are further names of ours: fields that claim to come from them, or from names below them, are cut.
	OwnIDs []string `yaml:"own_ids"`
	// Deadline is how long after the last octet a verdict waits for the DNS. Below the caller's patience (3s). Default 2.5s.
	Deadline time.Duration `yaml:"deadline"`
	// JunkAt is the score from which on a message is junk. Negative: never. Default 6.
	JunkAt float64 `yaml:"junk_at"`
	// RejectAt is the score from which on a message is refused. Default 0: never.
	RejectAt float64 `yaml:"reject_at"`
	// DMARCReject is what p=reject does to a message that fails: "reject", "junk", or "score" to leave it to the scores.
	// Lists and forwarders break honest mail, hence default "junk".
	DMARCReject string `yaml:"dmarc_reject"`
	// DMARCQuarantine is what p=quarantine does: "junk" or "score". Default "junk".
	DMARCQuarantine string `yaml:"dmarc_quarantine"`
	// LateReject is what becomes of a message that would be refused but was accepted already: "junk" or "quarantine".
	// Default "junk".
	LateReject string `yaml:"late_reject"`
	// SkipNetworks are clients whose address says nothing about the sender (relays of ours, a backup MX, the loopback): no
	// SPF and no DMARC for them. Default none.
	SkipNetworks []netip.Prefix `yaml:"skip_networks"`
	// Scores replaces the scores of reasons, by name.
	Scores map[string]float64 `yaml:"scores"`
	// Batch is how many messages from the bus are judged at once, at most. Default 128.
	Batch int `yaml:"batch"`
}

// Choices in the configuration.
const (
	actReject     = "reject"
	actJunk       = "junk"
	actQuarantine = "quarantine"
	actScore      = "score"
)

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	setDefault(&c.Deadline, 2500*time.Millisecond)
	setDefault(&c.JunkAt, 6)
	setDefault(&c.DMARCReject, actJunk)
	setDefault(&c.DMARCQuarantine, actJunk)
	setDefault(&c.LateReject, actJunk)
	setDefault(&c.Batch, 128)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate tells all faults at once, naming the key.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if _, err := resolve.Name(c.AuthservID); err != nil {
		fault("authserv_id: %w", err)
	}
	for _, id := range c.OwnIDs {
		if _, err := resolve.Name(id); err != nil {
			fault("own_ids: %w", err)
		}
	}
	if c.Deadline < 10*time.Millisecond || c.Deadline > time.Minute {
		fault("deadline: %v is not between 10ms and 1m", c.Deadline)
	}
	if c.RejectAt < 0 {
		fault("reject_at: %v is negative", c.RejectAt)
	}
	if c.RejectAt > 0 && c.JunkAt > c.RejectAt {
		fault("reject_at: %v is below junk_at %v", c.RejectAt, c.JunkAt)
	}
	for _, choice := range []struct {
		key, value string
		allowed    []string
	}{
		{"dmarc_reject", c.DMARCReject, []string{actReject, actJunk, actScore}},
		{"dmarc_quarantine", c.DMARCQuarantine, []string{actJunk, actScore}},
		{"late_reject", c.LateReject, []string{actJunk, actQuarantine}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			fault("%s: %q is not one of %q", choice.key, choice.value, choice.allowed)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Scores)) {
		if _, ok := defaultScores[name]; !ok {
			fault("scores: no reason is called %q", name)
		}
	}
	if c.Batch < 1 || c.Batch > 10_000 {
		fault("batch: %d is not between 1 and 10,000", c.Batch)
	}
	return errors.Join(faults...)
}
