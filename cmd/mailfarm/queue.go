package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/envelope"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newQueue() *cobra.Command {
	d := &door{}
	c := group("queue", "The queue: what was accepted and is not settled yet")
	d.flags(c)
	c.AddCommand(queueList(d), queueShow(d), queueRetry(d),
		queueAct(d, "hold", storev1.Action_ACTION_HOLD, "Keep messages from being tried until they are released", "held"),
		queueAct(d, "release", storev1.Action_ACTION_RELEASE, "Let held or quarantined messages go on", "released"),
		queueAct(d, "delete", storev1.Action_ACTION_DELETE, "Discard what is not delivered yet; the ledger remembers it", "discarded"))
	return c
}

func queueList(d *door) *cobra.Command {
	var dead bool
	req := &storev1.QueueListRequest{UnfinishedOnly: true}
	c := &cobra.Command{
		Use:     "list",
		Short:   "List messages with recipients that are not settled, newest first",
		Example: "  mailfarm queue list\n  mailfarm queue list --rcpt bob@example.net --json\n  mailfarm queue list --dead",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dead {
				return d.listDead(c)
			}
			return d.listQueue(c, req, false)
		},
	}
	c.Flags().StringVar(&req.ForwardPath, "rcpt", "", "only messages to this address")
	c.Flags().StringVar(&req.ReversePath, "from", "", "only messages of this sender")
	c.Flags().Uint32Var(&req.Limit, "limit", 1000, "at most as many messages")
	c.Flags().BoolVar(&dead, "dead", false, "list dead letters: work that panicked or could not be read")
	return c
}

func queueShow(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "show QUEUE-ID",
		Short:   "Show one message with all its recipients",
		Example: "  mailfarm queue show 06EXAMP1E0WJ7Z3V5K9Q2R8T4M",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := envelope.ParseQueueID(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return d.listQueue(c, &storev1.QueueListRequest{QueueId: id[:]}, true)
		},
	}
}

// listQueue prints what matches as it arrives. one asks for a message that must be there.
func (d *door) listQueue(c *cobra.Command, req *storev1.QueueListRequest, one bool) error {
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		stream, err := storev1.NewQueueClient(conn).List(ctx, req)
		if err != nil {
			return err
		}
		var entries []*storev1.LedgerEntry
		for resp, err := range answers(stream.Recv) {
			if err != nil {
				return err
			}
			entries = append(entries, resp.Entries...)
		}
		switch {
		case one && len(entries) == 0:
			return errors.New("the ledger knows no such message: it may be too young to be routed, or pruned")
		case d.json:
			return printEntriesJSON(c.OutOrStdout(), entries)
		case one:
			return printEntry(c.OutOrStdout(), entries[0])
		}
		return printEntries(c.OutOrStdout(), entries)
	})
}

func printEntries(w io.Writer, entries []*storev1.LedgerEntry) error {
	var rows [][]string
	for _, e := range entries {
		for _, r := range e.Recipients {
			rows = append(rows, []string{
				queueID(e.Message.QueueId), when(e.Message.Envelope.AcceptedNs), null(e.Message.Envelope.ReversePath), r.ForwardPath,
				stateName(r.State), fmt.Sprint(r.Attempts), due(r), r.LastReply,
			})
		}
	}
	return table(w, "QUEUE ID\tACCEPTED\tFROM\tTO\tSTATE\tTRIES\tNEXT\tLAST REPLY", rows)
}

func due(r *storev1.RecipientRow) string {
	if r.State != storev1.State_STATE_QUEUED {
		return "-"
	}
	return when(r.DueNs)
}

// stateName is a state as the operator reads it: "queued", "delivered".
func stateName(s storev1.State) string { return lowerName(s.String(), "STATE_") }

func queueRetry(d *door) *cobra.Command {
	var all, dead bool
	c := &cobra.Command{
		Use:     "retry [QUEUE-ID…]",
		Short:   "Try messages again now",
		Example: "  mailfarm queue retry 06EXAMP1E0WJ7Z3V5K9Q2R8T4M\n  mailfarm queue retry --all\n  mailfarm queue retry --dead",
		RunE: func(c *cobra.Command, args []string) error {
			if dead {
				return d.retryDead(c)
			}
			return d.act(c, storev1.Action_ACTION_RETRY, args, all, "", "to be tried again")
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every message that waits")
	c.Flags().BoolVar(&dead, "dead", false, "put all dead letters back to work")
	return c
}

func queueAct(d *door, verb string, action storev1.Action, short, done string) *cobra.Command {
	var all bool
	var rcpt string
	c := &cobra.Command{
		Use:     verb + " [QUEUE-ID…]",
		Short:   short,
		Example: fmt.Sprintf("  mailfarm queue %s 06EXAMP1E0WJ7Z3V5K9Q2R8T4M\n  mailfarm queue %s --all --rcpt bob@example.net", verb, verb),
		RunE: func(c *cobra.Command, args []string) error {
			return d.act(c, action, args, all, rcpt, done)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every message that is not settled")
	c.Flags().StringVar(&rcpt, "rcpt", "", "only this recipient address")
	return c
}

func (d *door) act(c *cobra.Command, action storev1.Action, ids []string, all bool, rcpt, done string) error {
	if all == (len(ids) > 0) {
		return errors.New("name queue ids, or say --all")
	}
	req := &storev1.ActRequest{Action: action, All: all, ForwardPath: rcpt}
	for _, s := range ids {
		id, err := envelope.ParseQueueID(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		req.QueueIds = append(req.QueueIds, id[:])
	}
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		resp, err := storev1.NewQueueClient(conn).Act(ctx, req)
		if err != nil {
			return err
		}
		if d.json {
			return printJSON(c.OutOrStdout(), map[string]uint32{"recipients": resp.Recipients})
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d recipients %s\n", resp.Recipients, done)
		return err
	})
}

func (d *door) listDead(c *cobra.Command) error {
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		resp, err := adminv1.NewAdminClient(conn).ListDead(ctx, &adminv1.ListDeadRequest{})
		if err != nil {
			return err
		}
		type row struct {
			Number   uint64 `json:"number"`
			QueueID  string `json:"queue_id"`
			Subject  string `json:"subject"`
			Tries    uint32 `json:"tries"`
			BuriedNs int64  `json:"buried_ns"`
			Reason   string `json:"reason"`
		}
		all := make([]row, 0, len(resp.Dead))
		var rows [][]string
		for _, x := range resp.Dead {
			r := row{x.Sequence, queueID(x.QueueId), x.Letter.Subject, x.Letter.Deliveries, x.Letter.TimeNs, x.Letter.Reason}
			all = append(all, r)
			rows = append(rows, []string{fmt.Sprint(r.Number), r.QueueID, r.Subject, fmt.Sprint(r.Tries), when(r.BuriedNs), r.Reason})
		}
		if d.json {
			return printJSON(c.OutOrStdout(), all)
		}
		return table(c.OutOrStdout(), "NUMBER\tQUEUE ID\tSUBJECT\tTRIES\tBURIED\tREASON", rows)
	})
}

func (d *door) retryDead(c *cobra.Command) error {
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		resp, err := adminv1.NewAdminClient(conn).RetryDead(ctx, &adminv1.RetryDeadRequest{All: true})
		if err != nil {
			return err
		}
		if d.json {
			return printJSON(c.OutOrStdout(), map[string]uint32{"retried": resp.Retried})
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d dead letters are back at work\n", resp.Retried)
		return err
	})
}
