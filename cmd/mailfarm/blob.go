package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newBlob() *cobra.Command {
	c := group("blob", "See how the room of the blob store is used, and give it back")
	c.AddCommand(newBlobStat(), newBlobReclaim())
	return c
}

func newBlobStat() *cobra.Command {
	d := &door{}
	c := &cobra.Command{
		Use:   "stat",
		Short: "Tell what lives in the blob store, what is dead, and what was given back",
		Long: `Tell what the last round of the store's worker found, and what was given back since the site was made.

"live" is what a mailbox or the queue refers to; "dead" waits for its segment to be worth rewriting, and then for the
restore window (reclaim.restore_window); "open" is too young to be looked at. "rewritten" is what was copied to give back
"freed": their ratio is the write amplification.`,
		Example: "  mailfarm blob stat\n  mailfarm blob stat --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				s, err := storev1.NewBlobsClient(conn).Stat(ctx, &storev1.BlobsStatRequest{})
				if err != nil {
					return err
				}
				return d.printBlobStat(c.OutOrStdout(), s)
			})
		},
	}
	d.flags(c)
	return c
}

func newBlobReclaim() *cobra.Command {
	d, dry := &door{}, false
	c := &cobra.Command{
		Use:   "reclaim",
		Short: "Have the room that nothing refers to looked for and given back now",
		Long: `Ask the store's worker for a round at once, instead of at its next time (reclaim.every), and have what was expunged longer
ago than it is kept (store.expunged_retention) purged. It keeps all its waits: what is found dead now is removed
after the restore window. See how it goes by "mailfarm blob stat".

With --dry-run nothing is changed: all segments are looked at, and it is told what a round would do.`,
		Example: "  mailfarm blob reclaim --dry-run\n  mailfarm blob reclaim",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				r, err := storev1.NewBlobsClient(conn).Reclaim(ctx, &storev1.ReclaimRequest{DryRun: dry})
				if err != nil {
					return err
				}
				return d.printReclaim(c.OutOrStdout(), r, dry)
			})
		},
	}
	d.flags(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "only tell what would be given back")
	return c
}

type spaceJSON struct {
	Incarnations int64 `json:"incarnations"`
	Segments     int64 `json:"segments"`
	Open         int64 `json:"open_bytes"`
	Live         int64 `json:"live_bytes"`
	Dead         int64 `json:"dead_bytes"`
	LiveBodies   int64 `json:"live_body_bytes"`
	DeadBodies   int64 `json:"dead_body_bytes"`
}

type blobStatJSON struct {
	spaceJSON
	Began           string `json:"round_began,omitempty"`
	Ended           string `json:"round_ended,omitempty"`
	Freed           int64  `json:"freed_bytes"`
	Rewritten       int64  `json:"rewritten_bytes"`
	RemovedSegments int64  `json:"removed_segments"`
	RemovedBodies   int64  `json:"removed_bodies"`
	MovedFrames     int64  `json:"moved_frames"`
	Condemned       int64  `json:"condemned_frames"`
	Pardoned        int64  `json:"pardoned_frames"`
	WaitingBodies   int64  `json:"segments_waiting_bodies"`
	WaitingDead     int64  `json:"segments_waiting_dead"`
	WaitingEmpty    int64  `json:"segments_waiting_empty"`
	Stuck           int64  `json:"segments_stuck"`
	Gaps            int64  `json:"gaps"`
	// Traffic is absent where blobs lie in a directory.
	Traffic *trafficJSON `json:"traffic,omitempty"`
}

type trafficJSON struct {
	Processes          int64   `json:"processes"`
	Messages           int64   `json:"messages"`
	Requests           int64   `json:"requests"`
	Errors             int64   `json:"errors"`
	Sent               int64   `json:"sent_bytes"`
	Received           int64   `json:"received_bytes"`
	RequestsOfThousand float64 `json:"requests_per_1000_messages"`
	BytesOfThousand    float64 `json:"bytes_per_1000_messages"`
}

func trafficOf(t *storev1.BlobTraffic) *trafficJSON {
	if t == nil {
		return nil
	}
	j := &trafficJSON{Processes: t.Processes, Messages: t.Messages, Requests: t.Requests, Errors: t.Errors, Sent: t.Sent, Received: t.Received}
	if t.Messages > 0 {
		j.RequestsOfThousand = float64(t.Requests) * 1000 / float64(t.Messages)
		j.BytesOfThousand = float64(t.Sent+t.Received) * 1000 / float64(t.Messages)
	}
	return j
}

type reclaimJSON struct {
	spaceJSON
	Dying     int64 `json:"dying_segments"`
	Bodies    int64 `json:"dead_bodies"`
	Freed     int64 `json:"would_free_bytes"`
	Rewritten int64 `json:"would_rewrite_bytes"`
}

func spaceOf(s *storev1.BlobSpace) spaceJSON {
	return spaceJSON{s.GetIncarnations(), s.GetSegments(), s.GetOpen(), s.GetLive(), s.GetDead(), s.GetLiveBodies(), s.GetDeadBodies()}
}

func roundTime(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).Format(time.RFC3339)
}

func (d *door) printBlobStat(w io.Writer, s *storev1.BlobsStatResponse) error {
	j := blobStatJSON{
		spaceJSON: spaceOf(s.Space), Began: roundTime(s.BeganNs), Ended: roundTime(s.EndedNs), Freed: s.Freed, Rewritten: s.Rewritten,
		RemovedSegments: s.RemovedSegments, RemovedBodies: s.RemovedBodies, MovedFrames: s.MovedFrames, Condemned: s.CondemnedFrames,
		Pardoned: s.PardonedFrames, WaitingBodies: s.WaitingBodies, WaitingDead: s.WaitingDead, WaitingEmpty: s.WaitingEmpty,
		Stuck: s.Stuck, Gaps: s.Gaps, Traffic: trafficOf(s.Traffic),
	}
	if d.json {
		return printJSON(w, j)
	}
	if j.Ended == "" {
		fmt.Fprintln(w, "no round has ended yet")
	} else {
		fmt.Fprintf(w, "round ended %s\n", j.Ended)
		printSpace(w, j.spaceJSON)
	}
	for _, l := range []struct {
		name  string
		n     int64
		about string
	}{
		{"freed", j.Freed, "octets given back since the site was made"},
		{"rewritten", j.Rewritten, "octets copied for it"},
		{"segments", j.RemovedSegments, "removed"},
		{"bodies", j.RemovedBodies, "removed from segments that stay"},
		{"waiting", j.WaitingBodies + j.WaitingDead + j.WaitingEmpty, "segments to be looked at again or removed"},
		{"stuck", j.Stuck, "segments with a needed frame that cannot be copied: see the log"},
		{"gaps", j.Gaps, "incarnations to be read before anything is given back"},
	} {
		fmt.Fprintf(w, "%-12s %15d  %s\n", l.name, l.n, l.about)
	}
	if t := j.Traffic; t != nil {
		fmt.Fprintf(w, "%-12s %15d  to the S3 server by %d processes that live, %d of them failed; %d messages stored\n",
			"requests", t.Requests, t.Processes, t.Errors, t.Messages)
		fmt.Fprintf(w, "%-12s %15.1f  requests, and %.0f octets, for 1,000 messages\n", "", t.RequestsOfThousand, t.BytesOfThousand)
	}
	return nil
}

func printSpace(w io.Writer, s spaceJSON) {
	for _, l := range []struct {
		name  string
		n     int64
		about string
	}{
		{"live", s.Live, "octets in segments that something refers to"},
		{"dead", s.Dead, "octets in segments that nothing refers to"},
		{"live bodies", s.LiveBodies, "octets of large bodies that something refers to"},
		{"dead bodies", s.DeadBodies, "octets of large bodies that nothing refers to"},
		{"open", s.Open, "octets in segments too young to be looked at"},
		{"segments", s.Segments, "looked at"},
	} {
		fmt.Fprintf(w, "%-12s %15d  %s\n", l.name, l.n, l.about)
	}
}

func (d *door) printReclaim(w io.Writer, r *storev1.ReclaimResponse, dry bool) error {
	if !dry {
		if d.json {
			return printJSON(w, map[string]bool{"asked": true})
		}
		fmt.Fprintln(w, "asked for a round: see `mailfarm blob stat`")
		return nil
	}
	j := reclaimJSON{spaceJSON: spaceOf(r.Space), Dying: r.Dying, Bodies: r.DeadBodies, Freed: r.Freed, Rewritten: r.Rewritten}
	if d.json {
		return printJSON(w, j)
	}
	printSpace(w, j.spaceJSON)
	fmt.Fprintf(w, "a round would give back %d octets: %d segments, for which %d octets are copied, and %d large bodies\n",
		j.Freed, j.Dying, j.Rewritten, j.Bodies)
	return nil
}
