package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newMailbox() *cobra.Command {
	d := &door{}
	c := group("mailbox", "What lies in mailboxes, and who is reading them")
	c.Long = `What lies in an account's mailboxes, and who is reading them: folders with their counters, messages with their flags and
where their bodies lie, clients that are connected. Nothing is changed by looking, not even \Seen and \Recent.`
	d.flags(c)
	c.AddCommand(mailboxList(d), mailboxStat(d), mailboxShow(d), mailboxWho(d), mailboxKick(d))
	return c
}

// folderJSON is a folder as --json prints it. Limits of 0 are none.
type folderJSON struct {
	Folder        string    `json:"folder"`
	ID            uint64    `json:"id,string"`
	SpecialUse    string    `json:"special_use"`
	Subscribed    bool      `json:"subscribed"`
	Exists        bool      `json:"exists"`
	Messages      uint32    `json:"messages"`
	Unseen        uint32    `json:"unseen"`
	Deleted       uint32    `json:"deleted"`
	Size          int64     `json:"size"`
	UIDValidity   uint32    `json:"uid_validity"`
	UIDNext       uint32    `json:"uid_next"`
	HighestModSeq uint64    `json:"highest_mod_seq"`
	Keywords      []string  `json:"keywords"`
	SizeLimit     int64     `json:"size_limit"`
	MessagesLimit int64     `json:"messages_limit"`
	ACL           []aclJSON `json:"acl"`
}

// aclJSON is a line of a folder's list.
type aclJSON struct {
	Identifier string `json:"identifier"`
	Rights     string `json:"rights"`
}

// accountStatJSON is an account as `mailbox stat` prints it.
type accountStatJSON struct {
	Address       string    `json:"address"`
	ID            uint64    `json:"id,string"`
	Folders       int       `json:"folders"`
	Messages      int64     `json:"messages"`
	Unseen        int64     `json:"unseen"`
	Deleted       int64     `json:"deleted"`
	Size          int64     `json:"size"`
	ModSeq        uint64    `json:"mod_seq"`
	SizeLimit     int64     `json:"size_limit"`
	MessagesLimit int64     `json:"messages_limit"`
	ACL           []aclJSON `json:"acl"`
}

// folders reads an account's folders and sums them up.
func folders(ctx context.Context, conn *grpc.ClientConn, address string) (sum accountStatJSON, all []folderJSON, err error) {
	id, err := ownerID(ctx, conn, address)
	if err != nil {
		return sum, nil, err
	}
	list, err := storev1.NewMailboxesClient(conn).List(ctx, &storev1.ListRequest{Account: id})
	if err != nil {
		return sum, nil, err
	}
	quota, err := storev1.NewQuotasClient(conn).GetQuota(ctx, &storev1.GetQuotaRequest{Account: id})
	if err != nil {
		return sum, nil, err
	}
	lists, err := storev1.NewSharingClient(conn).GetACL(ctx, &storev1.GetACLRequest{Account: id, All: true})
	if err != nil {
		return sum, nil, err
	}
	limits := map[string]*storev1.QuotaLimits{}
	for _, r := range quota.GetRoots() {
		limits[r.GetName()] = r.GetLimits()
	}
	acls := map[string][]aclJSON{}
	for _, e := range lists.GetEntries() {
		acls[e.GetMailbox()] = append(acls[e.GetMailbox()], aclJSON{e.GetIdentifier(), e.GetRights()})
	}
	sum = accountStatJSON{
		Address: address, ID: id, ModSeq: list.GetModSeq(), SizeLimit: limits[""].GetSize(), MessagesLimit: limits[""].GetMessages(),
		ACL: append([]aclJSON{}, acls[""]...),
	}
	for _, m := range list.GetMailboxes() {
		name := m.GetName()
		all = append(all, folderJSON{
			Folder: name, ID: m.GetId(), SpecialUse: m.GetSpecialUse(), Subscribed: m.GetSubscribed(), Exists: m.GetExists(),
			Messages: m.GetMessages(), Unseen: m.GetUnseen(), Deleted: m.GetDeleted(), Size: m.GetSize(),
			UIDValidity: m.GetUidValidity(), UIDNext: m.GetUidNext(), HighestModSeq: m.GetHighestModSeq(),
			Keywords: append([]string{}, m.GetKeywords()...), SizeLimit: limits[name].GetSize(), MessagesLimit: limits[name].GetMessages(),
			ACL: append([]aclJSON{}, acls[name]...),
		})
		if m.GetExists() {
			sum.Folders++
		}
		sum.Messages += int64(m.GetMessages())
		sum.Unseen += int64(m.GetUnseen())
		sum.Deleted += int64(m.GetDeleted())
		sum.Size += m.GetSize()
	}
	slices.SortFunc(all, func(a, b folderJSON) int {
		return cmp.Or(cmp.Compare(btoi(b.Folder == "INBOX"), btoi(a.Folder == "INBOX")), strings.Compare(a.Folder, b.Folder))
	})
	return sum, all, nil
}

func mailboxList(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "list ACCOUNT",
		Short:   "List an account's folders with what is in them",
		Example: "  mailfarm mailbox list ann@example.org\n  mailfarm mailbox list ann@example.org --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				_, all, err := folders(ctx, conn, args[0])
				if err != nil {
					return err
				}
				if d.json {
					return printJSON(c.OutOrStdout(), append([]folderJSON{}, all...))
				}
				var rows [][]string
				for _, f := range all {
					use := strings.TrimPrefix(f.SpecialUse, `\`)
					if !f.Exists {
						use = "(name only)"
					}
					shared := fmt.Sprint(len(f.ACL))
					if len(f.ACL) == 0 {
						shared = "-"
					}
					rows = append(rows, []string{visible(f.Folder), use, fmt.Sprint(f.Messages), fmt.Sprint(f.Unseen), octets(f.Size),
						limit(f.SizeLimit, octets), fmt.Sprint(f.UIDValidity), fmt.Sprint(f.UIDNext), fmt.Sprint(f.HighestModSeq), shared})
				}
				return table(c.OutOrStdout(), "FOLDER\tUSE\tMESSAGES\tUNSEEN\tSIZE\tLIMIT\tUIDVALIDITY\tUIDNEXT\tHIGHESTMODSEQ\tSHARED", rows)
			})
		},
	}
}

func mailboxStat(d *door) *cobra.Command {
	return &cobra.Command{
		Use:   "stat ACCOUNT [FOLDER]",
		Short: "Tell an account's sums, or all there is to tell of one folder",
		Example: "  mailfarm mailbox stat ann@example.org\n" +
			"  mailfarm mailbox stat ann@example.org Archive/2026 --json",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				sum, all, err := folders(ctx, conn, args[0])
				if err != nil {
					return err
				}
				if len(args) == 1 {
					return d.printAccountStat(c, sum)
				}
				f, err := folderNamed(all, args[0], args[1])
				if err != nil {
					return err
				}
				return d.printFolderStat(c, f)
			})
		},
	}
}

// folderNamed finds a folder; INBOX in any case.
func folderNamed(all []folderJSON, address, name string) (folderJSON, error) {
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	for _, f := range all {
		if f.Folder == name {
			return f, nil
		}
	}
	return folderJSON{}, status.Errorf(codes.NotFound, "%s has no folder %q: `mailfarm mailbox list %s` tells them", address, name, address)
}

func (d *door) printAccountStat(c *cobra.Command, s accountStatJSON) error {
	if d.json {
		return printJSON(c.OutOrStdout(), s)
	}
	return facts(c, [][2]string{
		{"account", s.Address}, {"id", fmt.Sprint(s.ID)}, {"folders", fmt.Sprint(s.Folders)},
		{"messages", fmt.Sprintf("%d (%d unseen, %d marked as deleted), limit %s", s.Messages, s.Unseen, s.Deleted, limit(s.MessagesLimit, decimal))},
		{"size", fmt.Sprintf("%s, limit %s", octets(s.Size), limit(s.SizeLimit, octets))},
		{"MODSEQ", fmt.Sprint(s.ModSeq)}, {"shared with", who(s.ACL)},
	})
}

func (d *door) printFolderStat(c *cobra.Command, f folderJSON) error {
	if d.json {
		return printJSON(c.OutOrStdout(), f)
	}
	return facts(c, [][2]string{
		{"folder", visible(f.Folder)}, {"id", fmt.Sprint(f.ID)}, {"special use", f.SpecialUse}, {"subscribed", fmt.Sprint(f.Subscribed)}, {"exists", fmt.Sprint(f.Exists)},
		{"messages", fmt.Sprintf("%d (%d unseen, %d marked as deleted), limit %s", f.Messages, f.Unseen, f.Deleted, limit(f.MessagesLimit, decimal))},
		{"size", fmt.Sprintf("%s, limit %s", octets(f.Size), limit(f.SizeLimit, octets))},
		{"UIDVALIDITY", fmt.Sprint(f.UIDValidity)}, {"UIDNEXT", fmt.Sprint(f.UIDNext)}, {"HIGHESTMODSEQ", fmt.Sprint(f.HighestModSeq)},
		{"keywords", visible(strings.Join(f.Keywords, " "))}, {"shared with", who(f.ACL)},
	})
}

// who writes a list in one line.
func who(list []aclJSON) string {
	var all []string
	for _, e := range list {
		all = append(all, e.Identifier+" "+e.Rights)
	}
	return visible(strings.Join(all, ", "))
}

// btoi is 1 for true.
func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func decimal(n int64) string { return fmt.Sprint(n) }

// facts prints names and values, those without a value as a dash.
func facts(c *cobra.Command, all [][2]string) error {
	for _, f := range all {
		if f[1] == "" {
			f[1] = "-"
		}
		if _, err := fmt.Fprintf(c.OutOrStdout(), "%-14s %s\n", f[0]+":", f[1]); err != nil {
			return err
		}
	}
	return nil
}

// visible makes a text of somebody else's safe for a terminal: what is no printable character is shown as a question mark.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
