package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/envelope"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// query is what a trace is asked for.
type query struct {
	rcpt, from, messageID, since string
	limit                        uint32
	follow                       bool
}

func newTrace() *cobra.Command {
	d := &door{}
	q := &query{}
	c := &cobra.Command{
		Use:   "trace [QUEUE-ID]",
		Short: "Follow messages from connect to last recipient: afterwards, or live with --follow",
		Example: `  mailfarm trace 06EXAMP1E0WJ7Z3V5K9Q2R8T4M
  mailfarm trace --rcpt alice@example.org --since 1h
  mailfarm trace --message-id '<abc@client.example>'
  mailfarm trace --follow --from bob@example.net`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if q.follow {
				return d.follow(c, q, args)
			}
			return d.trace(c, q, args)
		},
	}
	d.flags(c)
	f := c.Flags()
	f.StringVar(&q.rcpt, "rcpt", "", "messages to this address")
	f.StringVar(&q.from, "from", "", "messages of this sender")
	f.StringVar(&q.messageID, "message-id", "", "messages with this Message-ID")
	f.StringVar(&q.since, "since", "", "messages accepted since: 30m, 24h, 2006-01-02, 2006-01-02T15:04:05")
	f.Uint32Var(&q.limit, "limit", 100, "at most as many messages")
	f.BoolVar(&q.follow, "follow", false, "show events live until interrupted")
	return c
}

func (d *door) trace(c *cobra.Command, q *query, args []string) error {
	req := &storev1.QueueListRequest{ForwardPath: q.rcpt, ReversePath: q.from, MessageId: q.messageID, Limit: q.limit}
	if len(args) == 1 {
		id, err := envelope.ParseQueueID(args[0])
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		req.QueueId = id[:]
	}
	if q.since != "" {
		t, err := parseSince(q.since, time.Now())
		if err != nil {
			return err
		}
		req.SinceNs = t.UnixNano()
	}
	if len(args) == 0 && q.rcpt == "" && q.from == "" && q.messageID == "" && q.since == "" {
		return errors.New("say which messages: a queue id, --rcpt, --from, --message-id, --since, or --follow")
	}
	if len(args) == 1 {
		return d.listQueue(c, req, true)
	}
	return d.traceAll(c, req)
}

// traceAll shows each message in full, as trace of one does.
func (d *door) traceAll(c *cobra.Command, req *storev1.QueueListRequest) error {
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(c.Context(), callTime)
	defer cancel()
	stream, err := storev1.NewQueueClient(conn).List(ctx, req)
	if err != nil {
		return err
	}
	var all []*storev1.LedgerEntry
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if d.json {
			all = append(all, resp.Entries...)
			continue
		}
		for _, e := range resp.Entries {
			if err := printEntry(c.OutOrStdout(), e); err != nil {
				return err
			}
		}
	}
	if d.json {
		return printEntriesJSON(c.OutOrStdout(), all)
	}
	return nil
}

// parseSince reads a duration before now, or a time in the local zone.
func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: give a duration (30m, 24h) or a time (2006-01-02T15:04:05)", s)
}

func (d *door) follow(c *cobra.Command, q *query, args []string) error {
	req := &adminv1.FollowRequest{ForwardPath: q.rcpt, ReversePath: q.from, MessageId: q.messageID}
	if len(args) == 1 {
		id, err := envelope.ParseQueueID(args[0])
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		req.QueueId = id[:]
	}
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := adminv1.NewAdminClient(conn).Follow(c.Context(), req)
	if err != nil {
		return err
	}
	if _, err := stream.Header(); err != nil { // comes once nothing is missed any more
		return err
	}
	if !d.json {
		fmt.Fprintln(c.ErrOrStderr(), "following; Ctrl-C ends")
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			return nil
		}
		if err != nil {
			return err
		}
		for _, ev := range resp.Events {
			if err := d.printEvent(c.OutOrStdout(), ev); err != nil {
				return err
			}
		}
	}
}

func (d *door) printEvent(w io.Writer, ev *mailv1.TraceEvent) error {
	at := time.Unix(0, ev.TimeNs)
	if d.json {
		// One line an event, for what reads lines.
		b, err := asJSON(ev)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	parts := []string{at.Local().Format("15:04:05.000"), fmt.Sprintf("%-7s", ev.Stage), fmt.Sprintf("%-11s", ev.Event), queueID(ev.QueueId)}
	if ev.ReversePath != "" || ev.ForwardPath != "" {
		parts = append(parts, null(ev.ReversePath)+" → "+ev.ForwardPath)
	}
	if ev.Detail != "" {
		parts = append(parts, ev.Detail)
	}
	_, err := fmt.Fprintln(w, strings.Join(parts, "  "))
	return err
}
