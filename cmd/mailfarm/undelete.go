package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newUndelete() *cobra.Command {
	d := &door{}
	c := group("undelete", "Bring back messages, folders and accounts that were deleted")
	c.Long = `Bring back what people deleted. Messages that were expunged, folders and accounts are kept for the retention time
("mailfarm retention list"; 14 days where nothing else is said), and for as long as an account is under legal hold ("mailfarm hold").

To look first: "list" tells messages and "folders" deleted folders; "restore --dry-run" counts what would come back. For what is
older than that, see "mailfarm restore", which goes by a backup.`
	c.Example = `  mailfarm undelete list alice@example.org --since 3d
  mailfarm undelete restore alice@example.org --folder Work/2026
  mailfarm undelete account carol@example.org`
	d.flags(c)
	c.AddCommand(undeleteList(d), undeleteFolders(d), undeleteRestore(d), undeleteAccounts(d), undeleteAccount(d))
	return c
}

// keptAccount finds an account by its address; one that was removed is found too, by its address or its id.
func keptAccount(ctx context.Context, conn *grpc.ClientConn, name string) (uint64, error) {
	if id, err := strconv.ParseUint(name, 10, 63); err == nil && id > 0 {
		return id, nil
	}
	resp, err := directoryv1.NewDirectoryClient(conn).Resolve(ctx, &directoryv1.ResolveRequest{Addresses: []string{name}})
	if err != nil {
		return 0, err
	}
	if len(resp.Resolutions) == 1 && resp.Resolutions[0].Kind == directoryv1.Kind_KIND_ACCOUNT {
		return resp.Resolutions[0].Account, nil
	}
	removed, err := directoryv1.NewRemovedAccountsClient(conn).ListRemoved(ctx, &directoryv1.ListRemovedRequest{})
	if err != nil {
		return 0, err
	}
	for _, a := range removed.Accounts {
		if strings.EqualFold(a.Address, name) {
			return a.Id, nil
		}
	}
	return 0, fmt.Errorf("there is no account %s: see `mailfarm account list` and `mailfarm undelete accounts`", name)
}

// moment reads a time: as RFC 3339 has it, a date with or without a time in this machine's zone, or how long ago ("36h", "3d").
func moment(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := howLong(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf(`%q is no time: write it as "2026-11-21 10:00", "2026-11-21", or how long ago it was, as "36h" or "3d"`, text)
}

// howLong reads a duration, also in days.
func howLong(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	return d, err
}

// removedFilter is what list and restore are narrowed by.
type removedFilter struct {
	folder, folderID, since, until, from, subject string
	messages                                      []string
	all                                           bool
}

func (f *removedFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.folder, "folder", "", "only what was in this folder; a deleted one by the name it had")
	c.Flags().StringVar(&f.folderID, "folder-id", "", `only what was in the deleted folder with this id, as "undelete folders" tells it: where several had one name`)
	c.Flags().StringVar(&f.since, "since", "", `only what was removed since: "2026-11-21 10:00", or how long ago, as "36h" or "3d"`)
	c.Flags().StringVar(&f.until, "until", "", `only what was removed before: a time as for --since`)
	c.Flags().StringVar(&f.from, "from", "", "only messages whose sender has this in it")
	c.Flags().StringVar(&f.subject, "subject", "", "only messages whose subject has this in it")
	c.Flags().StringSliceVar(&f.messages, "message", nil, "only the messages with these `IDS`, as \"undelete list\" tells them")
	c.Flags().BoolVar(&f.all, "all", false, "also messages that lie in some folder still, or again")
}

func (f *removedFilter) read() (*storev1.RemovedFilter, error) {
	out := &storev1.RemovedFilter{Folder: f.folder, From: f.from, Subject: f.subject}
	for _, t := range []struct {
		text string
		into *int64
	}{{f.since, &out.SinceNs}, {f.until, &out.UntilNs}} {
		if t.text == "" {
			continue
		}
		at, err := moment(t.text, time.Now())
		if err != nil {
			return nil, err
		}
		*t.into = at.UnixNano()
	}
	for _, m := range f.messages {
		id, err := mailbox.ParseObjectID('M', m)
		if err != nil {
			return nil, fmt.Errorf("--message: %w: take one from `mailfarm undelete list`", err)
		}
		out.Emails = append(out.Emails, id)
	}
	if f.folderID != "" && f.folder != "" {
		return nil, errors.New("--folder and --folder-id both say which folder: give one")
	}
	return out, nil
}

// oneFolder finds the deleted folder that --folder-id names. Its name goes along, for a store that knows no ids.
func (f *removedFilter) oneFolder(ctx context.Context, conn *grpc.ClientConn, account uint64, filter *storev1.RemovedFilter) error {
	if f.folderID == "" {
		return nil
	}
	id, err := mailbox.ParseObjectID('F', f.folderID)
	if n, notNumber := strconv.ParseUint(f.folderID, 10, 64); notNumber == nil {
		id, err = n, nil // as in JSON
	}
	if err != nil {
		return fmt.Errorf("--folder-id: %w: take one from `mailfarm undelete folders`", err)
	}
	resp, err := storev1.NewRetentionClient(conn).ListRemovedMailboxes(ctx, &storev1.ListRemovedMailboxesRequest{Account: account})
	if err != nil {
		return err
	}
	for _, m := range resp.Mailboxes {
		if m.Mailbox == id {
			filter.Folder, filter.Mailbox = m.Name, id
			return nil
		}
	}
	return fmt.Errorf("--folder-id: no deleted folder has the id %s: `mailfarm undelete folders` tells them", f.folderID)
}

// errNotKept is a restore of messages of which some are not kept.
var errNotKept = errors.New("messages are not kept")

var kinds = map[uint32]string{1: "expunged", 2: "moved", 3: "with folder"}

type removedJSON struct {
	ID       string    `json:"id"`
	Folder   string    `json:"folder"`
	UID      uint32    `json:"uid"`
	How      string    `json:"how"`
	Removed  time.Time `json:"removed"`
	Received time.Time `json:"received"`
	Size     int64     `json:"size"`
	Flags    []string  `json:"flags"`
	From     string    `json:"from"`
	Subject  string    `json:"subject"`
	Placed   bool      `json:"in_a_folder"`
}

func undeleteList(d *door) *cobra.Command {
	var f removedFilter
	var limit uint32
	var after string
	c := &cobra.Command{
		Use:   "list ACCOUNT",
		Short: "List messages that were removed and can be brought back, the latest first",
		Long: `List messages that were expunged, or went with their folder, and can be brought back, the latest first.

Messages that lie in some folder still, as after a move, are left out unless --all is given. Where there are more than
--limit, the last line tells how to go on (in JSON: "next", for --after).`,
		Example: `  mailfarm undelete list alice@example.org --since 3d
  mailfarm undelete list alice@example.org --folder INBOX --from bob@ --subject invoice --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			filter, err := f.read()
			if err != nil {
				return err
			}
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				id, err := keptAccount(ctx, conn, args[0])
				if err != nil {
					return err
				}
				if err := f.oneFolder(ctx, conn, id, filter); err != nil {
					return err
				}
				stream, err := storev1.NewRetentionClient(conn).ListRemoved(ctx, &storev1.ListRemovedRequest{
					Account: id, Filter: filter, Placed: f.all, Limit: limit, After: after})
				if err != nil {
					return err
				}
				return d.printRemoved(c.OutOrStdout(), stream.Recv)
			})
		},
	}
	f.flags(c)
	c.Flags().Uint32Var(&limit, "limit", 1000, "about how many to list")
	c.Flags().StringVar(&after, "after", "", `go on where an earlier list ended ("next")`)
	return c
}

func (d *door) printRemoved(w io.Writer, recv func() (*storev1.ListRemovedResponse, error)) error {
	list := []removedJSON{}
	next := ""
	for {
		resp, err := recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, m := range resp.Messages {
			list = append(list, removedJSON{ID: mailbox.ObjectID('M', m.Email), Folder: m.Folder, UID: m.Uid, How: kinds[m.Kind],
				Removed: time.Unix(0, m.RemovedNs).UTC(), Received: time.Unix(0, m.ReceivedNs).UTC(), Size: m.Size,
				Flags: append([]string{}, m.Flags...), From: m.From, Subject: m.Subject, Placed: m.Placed})
		}
		next = resp.Next
	}
	if d.json {
		return printJSON(w, struct {
			Messages []removedJSON `json:"messages"`
			Next     string        `json:"next,omitempty"`
		}{list, next})
	}
	var rows [][]string
	for _, m := range list {
		rows = append(rows, []string{m.ID, when(m.Removed.UnixNano()), m.How, m.Folder, fmt.Sprint(m.Size), oneLine(m.From, 40), oneLine(m.Subject, 60)})
	}
	if err := table(w, "MESSAGE\tREMOVED\tHOW\tFOLDER\tSIZE\tFROM\tSUBJECT", rows); err != nil {
		return err
	}
	if next != "" {
		fmt.Fprintf(w, "there are more: go on with --after %s\n", next)
	}
	return nil
}

// oneLine makes text fit for a table.
func oneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func undeleteFolders(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "folders ACCOUNT",
		Short:   "List folders that were deleted and can be brought back",
		Example: "  mailfarm undelete folders alice@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				id, err := keptAccount(ctx, conn, args[0])
				if err != nil {
					return err
				}
				resp, err := storev1.NewRetentionClient(conn).ListRemovedMailboxes(ctx, &storev1.ListRemovedMailboxesRequest{Account: id})
				if err != nil {
					return err
				}
				if d.json {
					j, err := asJSON(resp)
					if err != nil {
						return err
					}
					return printJSON(c.OutOrStdout(), j)
				}
				var rows [][]string
				for _, m := range resp.Mailboxes {
					rows = append(rows, []string{m.Name, when(m.RemovedNs), fmt.Sprint(m.Messages), fmt.Sprint(m.Size), mailbox.ObjectID('F', m.Mailbox)})
				}
				if err := table(c.OutOrStdout(), "FOLDER\tDELETED\tMESSAGES\tSIZE\tID", rows); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "kept of the account: %d messages, %d octets\n", resp.KeptEntries, resp.KeptOctets)
				return err
			})
		},
	}
}

func undeleteRestore(d *door) *cobra.Command {
	var f removedFilter
	var into, at string
	var inPlace, dry bool
	c := &cobra.Command{
		Use:   "restore ACCOUNT",
		Short: "Bring back messages, a folder, all of an account, or a folder as it was at a time",
		Long: `Bring back what was removed of an account: all of it, or what the flags narrow it to. Messages go back to the folder
where they were, which is made again where it was deleted, with the flags they had (without \Deleted) and new UIDs.

With --at a folder comes back as it was then: in a new folder "Restored 2026-11-21 10:00/INBOX", or with --in-place in the
folder itself, to which what is missing is added.

Messages that lie in some folder, as after a move, are left out unless --all or --message asks for them. A repeat restores nothing
twice, nor do two at once: one that was cut off is simply given again.`,
		Example: `  mailfarm undelete restore alice@example.org --message MDOnNkgWAAAA
  mailfarm undelete restore alice@example.org --folder Work/2026
  mailfarm undelete restore alice@example.org --folder-id FAAAAAAAAAAc
  mailfarm undelete restore alice@example.org --since 2h --dry-run
  mailfarm undelete restore alice@example.org --folder INBOX --at "2026-11-21 10:00"
  mailfarm undelete restore alice@example.org --folder INBOX --at 3h --in-place`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			filter, err := f.read()
			if err != nil {
				return err
			}
			req := &storev1.RestoreRequest{Filter: filter, Into: into, InPlace: inPlace, Placed: f.all, DryRun: dry}
			switch {
			case at == "" && inPlace:
				return errors.New("--in-place is for --at: without it messages go back to where they were anyway")
			case at != "" && f.folder == "" && f.folderID == "":
				return errors.New("--at needs --folder: which folder is to be as it was then?")
			case at != "":
				t, err := moment(at, time.Now())
				if err != nil {
					return err
				}
				req.AtNs = t.UnixNano()
			}
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if req.Account, err = keptAccount(c.Context(), conn, args[0]); err != nil {
				return err
			}
			if err := f.oneFolder(c.Context(), conn, req.Account, filter); err != nil {
				return err
			}
			stream, err := storev1.NewRetentionClient(conn).Restore(c.Context(), req)
			if err != nil {
				return err
			}
			found, err := d.printRestore(c.OutOrStdout(), stream.Recv, dry)
			if err != nil {
				return err
			}
			slices.Sort(filter.Emails)
			switch asked := uint64(len(slices.Compact(filter.Emails))); {
			case found < asked:
				fmt.Fprintf(c.ErrOrStderr(), "mailfarm: of %d messages asked for %d are not kept: `mailfarm undelete list %s --all` tells those that are\n",
					asked, asked-found, args[0])
				return errNotKept
			case at != "" && found == 0:
				fmt.Fprintf(c.ErrOrStderr(), "mailfarm: nothing is known to have been in the folder at %s: none was made\n", at)
			}
			return nil
		},
	}
	f.flags(c)
	c.Flags().StringVar(&into, "into", "", "put all into this folder")
	c.Flags().StringVar(&at, "at", "", `bring --folder back as it was at this time: "2026-11-21 10:00", or how long ago, as "3h"`)
	c.Flags().BoolVar(&inPlace, "in-place", false, "with --at: add what is missing to the folder itself")
	c.Flags().BoolVar(&dry, "dry-run", false, "only tell what would come back")
	return c
}

// printRestore tells what came back, and how many messages there were to come.
func (d *door) printRestore(w io.Writer, recv func() (*storev1.RestoreResponse, error), dry bool) (found uint64, err error) {
	show := term.IsTerminal(int(os.Stderr.Fd())) && !d.json
	var last *storev1.RestoreResponse
	for {
		resp, err := recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if last != nil {
				return 0, fmt.Errorf("%w (%d messages are restored already: give the same command again to go on)", err, last.Restored)
			}
			return 0, err
		}
		last = resp
		if show {
			fmt.Fprintf(os.Stderr, "\r%d restored", resp.Restored)
		}
	}
	if show {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	if last == nil || !last.Done {
		return 0, errors.New("the farm did not tell the end: give the same command again to go on")
	}
	found = last.Restored + last.Present
	if d.json {
		return found, printJSON(w, struct {
			Restored uint64   `json:"restored"`
			Present  uint64   `json:"present"`
			Gone     uint64   `json:"gone"`
			Octets   uint64   `json:"octets"`
			Folders  []string `json:"folders"`
			DryRun   bool     `json:"dry_run"`
		}{last.Restored, last.Present, last.Gone, last.Octets, append([]string{}, last.Folders...), dry})
	}
	what := "restored"
	if dry {
		what = "would be restored"
	}
	if len(last.Folders) > 0 {
		what += " to " + strings.Join(last.Folders, ", ")
	}
	_, err = fmt.Fprintf(w, "%d messages %s; %d were there already, %d are not kept any more\n", last.Restored, what, last.Present, last.Gone)
	return found, err
}

func undeleteAccounts(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "accounts",
		Short:   "List accounts that were removed and can be brought back",
		Example: "  mailfarm undelete accounts",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := directoryv1.NewRemovedAccountsClient(conn).ListRemoved(ctx, &directoryv1.ListRemovedRequest{})
				if err != nil {
					return err
				}
				if d.json {
					j, err := asJSON(resp)
					if err != nil {
						return err
					}
					return printJSON(c.OutOrStdout(), j)
				}
				var rows [][]string
				for _, a := range resp.Accounts {
					rows = append(rows, []string{a.Address, when(a.RemovedNs), fmt.Sprint(a.Id)})
				}
				return table(c.OutOrStdout(), "ADDRESS\tREMOVED\tID", rows)
			})
		},
	}
}

func undeleteAccount(d *door) *cobra.Command {
	var as string
	c := &cobra.Command{
		Use:   "account ADDRESS|ID",
		Short: "Bring a removed account back, with its password and its mail",
		Long: `Bring an account back that "mailfarm account remove" took away: with its id, password, folders, messages and UIDs, so that clients
go on where they were. Of several that had one address it is the latest, unless an id is given ("mailfarm undelete accounts"). If
another account has the address by now, --as gives the old one another.`,
		Example: `  mailfarm undelete account carol@example.org
  mailfarm undelete account carol@example.org --as carol.old@example.org`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				client := directoryv1.NewRemovedAccountsClient(conn)
				list, err := client.ListRemoved(ctx, &directoryv1.ListRemovedRequest{})
				if err != nil {
					return err
				}
				for _, a := range list.Accounts { // the latest of an address first
					if !strings.EqualFold(a.Address, args[0]) && fmt.Sprint(a.Id) != args[0] {
						continue
					}
					resp, err := client.RestoreAccount(ctx, &directoryv1.RestoreAccountRequest{Id: a.Id, Address: as})
					if err != nil {
						return err
					}
					return said(c, d, "restored", resp.Address)
				}
				return fmt.Errorf("no removed account is called %s: see `mailfarm undelete accounts`", args[0])
			})
		},
	}
	c.Flags().StringVar(&as, "as", "", "give it another address")
	return c
}
