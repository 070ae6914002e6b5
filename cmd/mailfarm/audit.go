package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errUnaccounted ends the audit verb with status 1: its output has told the rest.
var errUnaccounted = errors.New("recipients are unaccounted for")

// auditTime bounds an audit: one of a large farm takes its time, so that mail goes first.
const auditTime = 24 * time.Hour

func newAudit() *cobra.Command {
	d := &door{}
	var since, until string
	req := &storev1.AuditRequest{}
	c := &cobra.Command{
		Use:   "audit",
		Short: "Account for every recipient ever accepted; exit status 1 if one is unaccounted for",
		Long: `Account for every recipient of every accepted message, by comparing what the blob store, the ledger and the
mailboxes hold. Each recipient is in exactly one state. "unaccounted" must be 0: anything else is an alarm, and the
exit status is 1.

What an earlier audit found settled is counted as it was; --full looks at everything again. One store process, the elected
auditor, does both by itself (ledger.audit_every, ledger.audit_full_every) and shows the result in its metrics; --last shows
that result and who it is.`,
		Example: "  mailfarm audit\n  mailfarm audit --last --json\n  mailfarm audit --full\n  mailfarm audit --since 24h --until 1h",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if req.SinceNs, req.UntilNs, err = span(since, until, time.Now()); err != nil {
				return err
			}
			if req.Last && (req.Full || since+until != "") {
				return errors.New("--last shows the latest audit as it was: it goes with no other condition")
			}
			return d.audit(c, req)
		},
	}
	d.flags(c)
	f := c.Flags()
	f.BoolVar(&req.Full, "full", false, "look at everything again, also at what earlier audits found settled")
	f.BoolVar(&req.Last, "last", false, "show the elected auditor's latest audit instead of making one")
	f.StringVar(&since, "since", "", "messages accepted since: 30m, 24h, 2006-01-02, 2006-01-02T15:04:05")
	f.StringVar(&until, "until", "", "messages accepted until, in the same forms")
	return c
}

func (d *door) audit(c *cobra.Command, req *storev1.AuditRequest) error {
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(c.Context(), auditTime)
	defer cancel()
	resp, err := storev1.NewQueueClient(conn).Audit(ctx, req)
	if err != nil {
		return err
	}
	if err := d.printAudit(c.OutOrStdout(), resp); err != nil {
		return err
	}
	if resp.Unaccounted > 0 {
		return errUnaccounted
	}
	return nil
}

type auditJSON struct {
	Accepted    uint64        `json:"accepted"`
	Delivered   uint64        `json:"delivered"`
	Relayed     uint64        `json:"relayed"`
	Bounced     uint64        `json:"bounced"`
	Expanded    uint64        `json:"expanded"`
	Discarded   uint64        `json:"discarded"`
	Quarantined uint64        `json:"quarantined"`
	Pending     uint64        `json:"pending"`
	Queued      uint64        `json:"queued"`
	Held        uint64        `json:"held"`
	Dead        uint64        `json:"dead"`
	Unaccounted uint64        `json:"unaccounted"`
	Added       uint64        `json:"added"`
	Generated   uint64        `json:"generated"`
	Frames      uint64        `json:"frames"`
	Settled     uint64        `json:"settled"`
	Auditor     string        `json:"auditor"`
	AuditedAt   string        `json:"audited_at,omitempty"`
	Findings    []findingJSON `json:"findings"`
}

type findingJSON struct {
	QueueID   string `json:"queue_id"`
	Recipient int32  `json:"recipient"`
	Problem   string `json:"problem"`
}

// auditOf is an audit as --json prints it.
func auditOf(r *storev1.AuditResponse) auditJSON {
	a := auditJSON{
		Accepted: r.Accepted, Delivered: r.Delivered, Relayed: r.Relayed, Bounced: r.Bounced, Expanded: r.Expanded, Discarded: r.Discarded,
		Quarantined: r.Quarantined, Pending: r.Pending, Queued: r.Queued, Held: r.Held, Dead: r.Dead, Unaccounted: r.Unaccounted,
		Added: r.Added, Generated: r.Generated, Frames: r.Frames, Settled: r.Settled, Auditor: r.Auditor, Findings: []findingJSON{},
	}
	if r.AuditedNs != 0 {
		a.AuditedAt = time.Unix(0, r.AuditedNs).UTC().Format(time.RFC3339)
	}
	for _, f := range r.Findings {
		a.Findings = append(a.Findings, findingJSON{queueID(f.QueueId), f.Number, f.Problem})
	}
	return a
}

func (d *door) printAudit(w io.Writer, r *storev1.AuditResponse) error {
	a := auditOf(r)
	if d.json {
		return printJSON(w, a)
	}
	for _, l := range []struct {
		name  string
		n     uint64
		about string
	}{
		{"accepted", a.Accepted, "recipients of messages that got a 250"},
		{"added", a.Added, "recipients that aliases added"},
		{"generated", a.Generated, "recipients of messages made here (DSNs)"},
		{"delivered", a.Delivered, "in a mailbox"},
		{"relayed", a.Relayed, "taken by another server"},
		{"bounced", a.Bounced, "refused, and reported to the sender"},
		{"expanded", a.Expanded, "replaced by an alias's targets"},
		{"discarded", a.Discarded, "dropped by a rule or an operator, on record"},
		{"quarantined", a.Quarantined, "kept back for review"},
		{"pending", a.Pending, "stored, not yet routed"},
		{"queued", a.Queued, "waiting for delivery"},
		{"held", a.Held, "waiting for an operator"},
		{"dead", a.Dead, "poison: see mailfarm queue list --dead"},
		{"unaccounted", a.Unaccounted, "none of these: must be 0"},
	} {
		fmt.Fprintf(w, "%-12s %10d  %s\n", l.name, l.n, l.about)
	}
	for _, f := range a.Findings {
		fmt.Fprintf(w, "! %s recipient %d: %s\n", f.QueueID, f.Recipient, f.Problem)
	}
	if a.Auditor != "" {
		fmt.Fprintf(w, "%-12s %10s  its latest audit ended %s\n", "auditor", a.Auditor, when(r.AuditedNs))
	}
	return nil
}
