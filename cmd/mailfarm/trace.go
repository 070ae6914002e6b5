package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/envelope"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// query is what a trace is asked for.
type query struct {
	rcpt, from, messageID, since, until, client, reply, domain, before string
	stage, role, host, event                                           string
	limit                                                              uint32
	follow                                                             bool
}

func newTrace() *cobra.Command {
	d := &door{}
	q := &query{}
	c := &cobra.Command{
		Use:   "trace [QUEUE-ID]",
		Short: "Follow messages from connect to last recipient: afterwards, or live with --follow",
		Long: `Find messages by what is known of them, newest first, or show one by its queue id with its way over all processes.
Conditions are joined by "and". Messages are found as long as the ledger keeps them (ledger.prune_after, 30 days); the way over
the processes as long as the history does (bus.trace_max_age, 3 days). With --follow, events are shown as they happen, of all
processes of the farm.`,
		Example: `  mailfarm trace 06EXAMP1E0WJ7Z3V5K9Q2R8T4M
  mailfarm trace --rcpt alice@example.org --since 1h
  mailfarm trace --from @example.net --reply '550 user unknown' --since 2026-01-31 --until '2026-01-31 12:00'
  mailfarm trace --message-id '<abc@client.example>'
  mailfarm trace --client 192.0.2.1 --limit 20 --before 06EXAMP1E0WJ7Z3V5K9Q2R8T4M
  mailfarm trace --follow --from bob@example.net
  mailfarm trace --follow --role delivery-remote --event deferred --domain example.net`,
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
	f.StringVar(&q.rcpt, "rcpt", "", "messages to this address, or to a domain: @example.org")
	f.StringVar(&q.from, "from", "", "messages of this sender, or of a domain: @example.org; <> is the null sender")
	f.StringVar(&q.domain, "domain", "", "messages from or to this domain")
	f.StringVar(&q.messageID, "message-id", "", "messages with this Message-ID")
	f.StringVar(&q.client, "client", "", "messages handed in by this IP address")
	f.StringVar(&q.reply, "reply", "", "messages whose last reply has these whole words, in any order: '550 user unknown'")
	f.StringVar(&q.since, "since", "", "messages accepted since: 30m, 24h, 2006-01-02, 2006-01-02T15:04:05")
	f.StringVar(&q.until, "until", "", "messages accepted until, in the same forms")
	f.StringVar(&q.before, "before", "", "messages before this queue id: the last one shown asks for the next page")
	f.StringVar(&q.stage, "stage", "", "with --follow: smtp, filter, router, local or remote")
	f.StringVar(&q.role, "role", "", "with --follow: ingress, submission, filter, router, delivery-local or delivery-remote")
	f.StringVar(&q.host, "host", "", "with --follow: what this host saw")
	f.StringVar(&q.event, "event", "", "with --follow: accepted, refused, judged, queued, delivered, deferred, bounced, relayed …")
	f.Uint32Var(&q.limit, "limit", 100, "at most as many messages")
	f.BoolVar(&q.follow, "follow", false, "show events live until interrupted")
	return c
}

// ask makes the request of a search; ok is false where nothing was asked for.
func (q *query) ask(now time.Time) (req *storev1.QueueListRequest, ok bool, err error) {
	req = &storev1.QueueListRequest{ForwardPath: q.rcpt, ReversePath: q.from, MessageId: q.messageID, Client: q.client, Reply: q.reply,
		Domain: strings.TrimPrefix(q.domain, "@"), Limit: q.limit}
	if q.stage+q.role+q.host+q.event != "" {
		return nil, false, errors.New("--stage, --role, --host and --event want --follow")
	}
	if q.client != "" {
		if _, err := netip.ParseAddr(q.client); err != nil {
			return nil, false, fmt.Errorf("--client %s: it is an IP address", q.client)
		}
	}
	if req.SinceNs, req.UntilNs, err = span(q.since, q.until, now); err != nil {
		return nil, false, err
	}
	if q.before != "" {
		id, err := envelope.ParseQueueID(q.before)
		if err != nil {
			return nil, false, fmt.Errorf("--before %s: %w", q.before, err)
		}
		req.Before = id[:]
	}
	ok = q.rcpt+q.from+q.messageID+q.client+q.reply+q.domain+q.since+q.until+q.before != ""
	return req, ok, nil
}

func (d *door) trace(c *cobra.Command, q *query, args []string) error {
	req, ok, err := q.ask(time.Now())
	if err != nil {
		return err
	}
	if len(args) == 1 {
		id, err := envelope.ParseQueueID(args[0])
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		req.QueueId = id[:]
		return d.traceOne(c, req)
	}
	if !ok {
		return errors.New("say which messages: a queue id, --rcpt, --from, --domain, --message-id, --client, --reply, --since, --until, or --follow")
	}
	return d.traceAll(c, req)
}

// traceOne shows a message in full, with its way over the processes where the history has it.
func (d *door) traceOne(c *cobra.Command, req *storev1.QueueListRequest) error {
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		stream, err := storev1.NewQueueClient(conn).List(ctx, req)
		if err != nil {
			return err
		}
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the ledger knows no such message: it may be too young to be routed, or pruned")
		}
		if err != nil {
			return err
		}
		entry := resp.Entries[0]
		if d.json {
			return printEntriesJSON(c.OutOrStdout(), resp.Entries[:1])
		}
		if err := printEntry(c.OutOrStdout(), entry); err != nil {
			return err
		}
		way, err := adminv1.NewAdminClient(conn).Journey(ctx, journeyOf(entry))
		if status.Code(err) == codes.Unimplemented || status.Code(err) == codes.Unavailable {
			_, err = fmt.Fprintln(c.ErrOrStderr(), "its way over the processes is not to be had now: "+explain(err))
			return err
		}
		if err != nil {
			return err
		}
		return printJourney(c.OutOrStdout(), way)
	})
}

// journeyOf asks for the history of a message's time in the farm.
func journeyOf(e *storev1.LedgerEntry) *adminv1.JourneyRequest {
	const around = int64(time.Minute)
	until := e.RecordedNs
	for _, r := range e.Recipients {
		until = max(until, r.ChangedNs)
	}
	return &adminv1.JourneyRequest{QueueId: e.Message.QueueId, SinceNs: min(e.Message.GetEnvelope().GetAcceptedNs(), e.RecordedNs) - around, UntilNs: until + around}
}

// printJourney prints what each process saw, with the time since the first event.
func printJourney(w io.Writer, way *adminv1.JourneyResponse) error {
	if len(way.Events) == 0 {
		return nil
	}
	began := way.Events[0].TimeNs
	var rows [][]string
	for _, ev := range way.Events {
		rows = append(rows, []string{
			time.Unix(0, ev.TimeNs).Local().Format("2006-01-02 15:04:05.000"), "+" + short(time.Duration(ev.TimeNs-began)), ev.Role, ev.Host, ev.Event,
			short(time.Duration(ev.DurationUs) * time.Microsecond), ev.ForwardPath, ev.Detail,
		})
	}
	if err := table(w, "TIME\tSINCE\tROLE\tHOST\tEVENT\tTOOK\tTO\tDETAIL", rows); err != nil {
		return err
	}
	if way.Cut {
		_, err := fmt.Fprintln(w, "(the history holds more than was read)")
		return err
	}
	return nil
}

// short is a duration to three digits or so.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
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
	for resp, err := range answers(stream.Recv) {
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

// span reads --since and --until; 0 is no bound.
func span(since, until string, now time.Time) (sinceNs, untilNs int64, err error) {
	for _, t := range []struct {
		flag, value string
		ns          *int64
	}{{"--since", since, &sinceNs}, {"--until", until, &untilNs}} {
		if t.value == "" {
			continue
		}
		at, err := parseTime(t.flag, t.value, now)
		if err != nil {
			return 0, 0, err
		}
		*t.ns = at.UnixNano()
	}
	if since != "" && until != "" && sinceNs >= untilNs {
		return 0, 0, fmt.Errorf("nothing lies between --since %s and --until %s: the later one is --until", since, until)
	}
	return sinceNs, untilNs, nil
}

// parseTime reads a duration before now, or a time in the local zone.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q: give a duration (30m, 24h) or a time (2006-01-02T15:04:05)", flag, s)
}

func (d *door) follow(c *cobra.Command, q *query, args []string) error {
	if q.since+q.until+q.before+q.reply != "" {
		return errors.New("--since, --until, --before and --reply do not go with --follow")
	}
	req := &adminv1.FollowRequest{ForwardPath: q.rcpt, ReversePath: q.from, MessageId: q.messageID, Client: q.client,
		Domain: strings.TrimPrefix(q.domain, "@"), Stage: q.stage, Role: q.role, Host: q.host, Event: q.event}
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
		if resp.Lost > 0 {
			fmt.Fprintf(c.ErrOrStderr(), "%d events were not shown: they come faster than they are read\n", resp.Lost)
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
	parts := []string{at.Local().Format("15:04:05.000"), fmt.Sprintf("%-15s", cmp.Or(ev.Role, ev.Stage)), fmt.Sprintf("%-12s", ev.Host), fmt.Sprintf("%-11s", ev.Event), queueID(ev.QueueId)}
	if ev.ReversePath != "" || ev.ForwardPath != "" {
		parts = append(parts, null(ev.ReversePath)+" → "+ev.ForwardPath)
	}
	if ev.Detail != "" {
		parts = append(parts, ev.Detail)
	}
	_, err := fmt.Fprintln(w, strings.Join(parts, "  "))
	return err
}
