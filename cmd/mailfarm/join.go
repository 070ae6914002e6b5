package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/join"
)

func newJoin() *cobra.Command {
	var file string
	var asJSON bool
	var cfg join.Config
	c := &cobra.Command{
		Use:   "join --from DATA",
		Short: "Move a site of one process into a farm, with all that clients and the queue know",
		Long: `Move a site that ran in one process ("mailfarm run all" with SQLite and a directory) into the PostgreSQL database and S3 bucket
of a farm: domains, accounts with their passwords, aliases, mailboxes with UIDs, flags and MODSEQs, bodies, and the queue. Clients
go on where they were and download nothing again.

The site must be stopped and stays as it is, but for the file join.db beside it, which keeps it from running by itself. The farm must
be prepared ("mailfarm setup") and its roles must not run yet. If the command ends early, for whatever reason, run it again:
it goes on. At the end it compares rows by counts and digests, and reads bodies back; then the roles can be started.
It ends with status 2 where the farm has something else under the same name or id, or where the copy differs.`,
		Example: `  mailfarm setup --config farm.yaml
  mailfarm join --from /var/lib/mailfarm --config farm.yaml
  mailfarm join --from /var/lib/mailfarm --config farm.yaml --verify-only --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if cfg.From == "" {
				return errors.New("--from DATA: which site?")
			}
			farm, err := loadConfig(file, "")
			if err != nil {
				return err
			}
			log, err := farm.Log.Logger(os.Stderr)
			if err != nil {
				return err
			}
			cfg.Database, cfg.S3, cfg.Horizon = farm.Database, farm.Blob.S3, farm.Ledger.RecoverHorizon
			result, err := join.Run(c.Context(), cfg, join.Deps{Log: log, Say: func(format string, args ...any) {
				fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...)
			}})
			if result != nil && asJSON {
				return errors.Join(err, printJSON(c.OutOrStdout(), result))
			}
			if result != nil {
				return errors.Join(err, printJoin(c.OutOrStdout(), result))
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.From, "from", "", "data folder of the site")
	f.StringVar(&file, "config", os.Getenv("MAILFARM_CONFIG"), "configuration file of the farm (MAILFARM_CONFIG)")
	f.BoolVar(&cfg.VerifyOnly, "verify-only", false, "compare a farm whose roles were not started yet with the site, and copy nothing")
	f.IntVar(&cfg.OneBodyIn, "skip-bodies", 1, "read back only one body of so many")
	f.BoolVar(&cfg.Damaged, "damaged", false, "go on where mail of the site cannot be read; it cannot be read in the farm either")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// printJoin prints what was compared.
func printJoin(w io.Writer, r *join.Result) error {
	for _, d := range r.Damaged {
		fmt.Fprintf(w, "cannot be read: blob %s, queue id %s\n", d.Blob, d.QueueID)
	}
	if len(r.Tables) == 0 {
		return nil
	}
	var rows [][]string
	for _, t := range r.Tables {
		rows = append(rows, []string{t.Name, strconv.FormatInt(t.Rows, 10), strconv.FormatInt(t.Found, 10), t.Digest[:16], t.FoundDigest[:16], sameness(t.Same)})
	}
	if err := table(w, "TABLE\tROWS\tFARM\tDIGEST\tFARM\t", rows); err != nil {
		return err
	}
	b := r.Bodies
	fmt.Fprintf(w, "%d frames with bodies of %.1f MiB; %d read back, %d differ; %d had been given back before\n",
		b.Frames, float64(b.Octets)/(1<<20), b.Read, len(b.Differ), b.Gone)
	fmt.Fprintf(w, "%d messages will be routed when the farm starts, %d wait for an operator (mailfarm audit)\n", b.Unrouted, b.Withheld)
	fmt.Fprintf(w, "%s, in %.0f s\n", sameness(r.Same), r.Seconds)
	return nil
}

func sameness(same bool) string {
	if same {
		return "same"
	}
	return "DIFFERS"
}
