package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errUnaccounted ends the audit verb with status 1: its output has told the rest.
var errUnaccounted = errors.New("recipients are unaccounted for")

func newAudit() *cobra.Command {
	d := &door{}
	c := &cobra.Command{
		Use:   "audit",
		Short: "Account for every recipient ever accepted; exit status 1 if one is unaccounted for",
		Long: `Account for every recipient of every accepted message, by comparing what the blob store, the ledger and the
mailboxes hold. Each recipient is in exactly one state. "unaccounted" must be 0: anything else is an alarm, and the
exit status is 1.`,
		Example: "  mailfarm audit\n  mailfarm audit --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := storev1.NewQueueClient(conn).Audit(ctx, &storev1.AuditRequest{})
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
			})
		},
	}
	d.flags(c)
	return c
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
	Findings    []findingJSON `json:"findings"`
}

type findingJSON struct {
	QueueID   string `json:"queue_id"`
	Recipient int32  `json:"recipient"`
	Problem   string `json:"problem"`
}

func (d *door) printAudit(w io.Writer, r *storev1.AuditResponse) error {
	a := auditJSON{
		Accepted: r.Accepted, Delivered: r.Delivered, Relayed: r.Relayed, Bounced: r.Bounced, Expanded: r.Expanded, Discarded: r.Discarded,
		Quarantined: r.Quarantined, Pending: r.Pending, Queued: r.Queued, Held: r.Held, Dead: r.Dead, Unaccounted: r.Unaccounted,
		Added: r.Added, Generated: r.Generated, Frames: r.Frames, Findings: []findingJSON{},
	}
	for _, f := range r.Findings {
		a.Findings = append(a.Findings, findingJSON{queueID(f.QueueId), f.Number, f.Problem})
	}
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
	return nil
}
