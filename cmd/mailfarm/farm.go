package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

func newFarm() *cobra.Command {
	d := &door{}
	c := group("farm", "The processes of a running farm")
	d.flags(c)
	c.AddCommand(farmStatus(d))
	return c
}

func farmStatus(d *door) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show all processes, whether they are ready, and how much work waits",
		Long: `Show all processes that are on the bus, with their roles and versions, whether they could serve a login or a message now and
what they lack, and how much work waits on the bus and is in hand, by partition. It takes two or three seconds: whoever is busy
may answer late.`,
		Example: "  mailfarm farm status\n  mailfarm farm status --json | jq '.processes[] | select(.ready | not)'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := adminv1.NewAdminClient(conn).Status(ctx, &adminv1.StatusRequest{})
				if err != nil {
					return err
				}
				if d.json {
					return printJSON(c.OutOrStdout(), newStatusJSON(resp))
				}
				return printStatus(c.OutOrStdout(), resp)
			})
		},
	}
}

type statusJSON struct {
	Processes []processJSON `json:"processes"`
	Work      []lagJSON     `json:"work"`
	BusError  string        `json:"bus_error,omitempty"`
}

type processJSON struct {
	Name     string            `json:"name"`
	Host     string            `json:"host"`
	Version  string            `json:"version"`
	Roles    []string          `json:"roles"`
	Started  time.Time         `json:"started"`
	Ready    bool              `json:"ready"`
	Draining bool              `json:"draining"`
	Parts    map[string]string `json:"parts"`
	Sessions map[string]uint32 `json:"sessions"`
}

type lagJSON struct {
	Subject   string `json:"subject"`
	Partition uint32 `json:"partition"`
	Waiting   uint64 `json:"waiting"`
	InHand    uint64 `json:"in_hand"`
}

func newStatusJSON(resp *adminv1.StatusResponse) statusJSON {
	out := statusJSON{Processes: []processJSON{}, Work: []lagJSON{}, BusError: resp.BusError}
	for _, p := range resp.Processes {
		out.Processes = append(out.Processes, processJSON{
			Name: p.Name, Host: p.Host, Version: p.Version, Roles: p.Roles, Started: time.Unix(0, p.StartedNs).UTC(), Ready: p.Ready,
			Draining: p.Draining, Parts: p.Parts, Sessions: p.Sessions,
		})
	}
	for _, l := range resp.Lags {
		out.Work = append(out.Work, lagJSON{Subject: l.Subject, Partition: l.Partition, Waiting: l.Waiting, InHand: l.InHand})
	}
	return out
}

func printStatus(w io.Writer, resp *adminv1.StatusResponse) error {
	var rows [][]string
	for _, p := range resp.Processes {
		rows = append(rows, []string{p.Name, p.Version, time.Since(time.Unix(0, p.StartedNs)).Round(time.Second).String(), state(p), sessions(p)})
	}
	if err := table(w, "PROCESS\tVERSION\tUP\tSTATE\tSESSIONS", rows); err != nil {
		return err
	}
	if resp.BusError != "" {
		_, err := fmt.Fprintf(w, "\nthe bus cannot tell what waits: %s\n", resp.BusError)
		return err
	}
	var work [][]string
	for _, l := range resp.Lags {
		if n := len(work); n == 0 || work[n-1][0] != l.Subject {
			work = append(work, []string{l.Subject, "", ""})
		}
		row := work[len(work)-1]
		row[1] += fmt.Sprintf(" %d", l.Waiting)
		row[2] += fmt.Sprintf(" %d", l.InHand)
	}
	for _, row := range work {
		row[1], row[2] = strings.TrimSpace(row[1]), strings.TrimSpace(row[2])
	}
	fmt.Fprintln(w)
	return table(w, "WORK\tWAITING, BY PARTITION\tIN HAND", work)
}

// state tells what a process lacks.
func state(p *adminv1.Process) string {
	if p.Draining {
		return "draining"
	}
	if p.Ready {
		return "ready"
	}
	var lacks []string
	for part, is := range p.Parts {
		if is != "ready" {
			lacks = append(lacks, part+" "+is)
		}
	}
	slices.Sort(lacks)
	return "not ready: " + strings.Join(lacks, ", ")
}

func sessions(p *adminv1.Process) string {
	var all []string
	for role, n := range p.Sessions {
		all = append(all, fmt.Sprintf("%s %d", role, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
