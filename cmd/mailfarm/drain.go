package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

func newDrain() *cobra.Command {
	d := &door{}
	var wait time.Duration
	c := &cobra.Command{
		Use:   "drain",
		Short: "Let a mailfarm end without cutting anybody off",
		Long: `Let the mailfarm process that answers end as SIGTERM does: it is not ready any more, so that load balancers send clients
elsewhere; new clients are told to come again; messages that are arriving are finished and answered, and who waits for
nothing is told 421 or BYE; then the process stops. Its configuration says how long that may take (drain.delay and
drain.timeout). The verb waits for the end; with --wait 0 it does not.`,
		Example: "  mailfarm drain\n  mailfarm drain --wait 2m --data /var/lib/mailfarm/imap",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.drain(c.Context(), wait, c.OutOrStdout())
		},
	}
	d.flags(c)
	c.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait for the end")
	return c
}

// drain begins a drain and tells of it until it has ended.
func (d *door) drain(ctx context.Context, wait time.Duration, out io.Writer) error {
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	limit, cancel := context.WithTimeout(ctx, callTime+wait)
	defer cancel()
	stream, err := adminv1.NewAdminClient(conn).Drain(limit, &adminv1.DrainRequest{})
	if err != nil {
		return err
	}
	resp, err := stream.Recv()
	if err != nil {
		return err // it may not have begun
	}
	over := time.AfterFunc(wait, cancel)
	defer over.Stop()
	for {
		if d.json {
			err = printJSON(out, drainJSON{Sessions: resp.Sessions, Drained: resp.Drained})
		} else {
			_, err = fmt.Fprintln(out, drainLine(resp))
		}
		if err != nil || resp.Drained || wait <= 0 {
			return err
		}
		next, err := stream.Recv()
		switch code := status.Code(err); {
		case err == nil:
			resp = next
		case ctx.Err() != nil:
			return ctx.Err()
		case code == codes.Canceled, code == codes.DeadlineExceeded:
			return fmt.Errorf("not drained after %v; it goes on: %s", wait, drainLine(resp))
		case code == codes.Unavailable, errors.Is(err, io.EOF):
			return errors.New("the process ended before it had told that it is drained")
		default:
			return err
		}
	}
}

type drainJSON struct {
	Sessions map[string]uint32 `json:"sessions"`
	Drained  bool              `json:"drained"`
}

func drainLine(r *adminv1.DrainResponse) string {
	if r.Drained {
		return "drained"
	}
	var left []string
	for role, n := range r.Sessions {
		left = append(left, fmt.Sprintf("%s %d", role, n))
	}
	if slices.Sort(left); len(left) == 0 {
		return "draining"
	}
	return "draining: clients of " + strings.Join(left, ", ")
}
