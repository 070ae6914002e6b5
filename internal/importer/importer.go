// Package importer brings the folders of an archive into the mailboxes of an account, over the store's Imports service: in
// batches, each message once however often a run is repeated, and tells what was left and why.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/maildir"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Bounds of one batch: what is in memory at a time.
const (
	batchMessages = 256
	batchBytes    = 8 << 20
	// keepBytes is up to how many octets a message stays in memory between being looked at and being sent; a larger one is read
	// again.
	keepBytes = 256 << 10
)

// MaxMessage is the largest message that is read, octets: beyond it nobody wants to know how much there is.
const MaxMessage = 1 << 30

// Run says what is imported where.
type Run struct {
	Imports storev1.ImportsClient
	// Mailboxes and Bodies, where they are set, tell what came into a mailbox otherwise: it is not brought beside itself.
	Mailboxes storev1.MailboxesClient
	Bodies    storev1.BodiesClient
	Account   uint64
	// Into, where it is set, is the folder that INBOX goes to, and that all others go below; of an archive of one folder that
	// one goes there.
	Into string
	// DryRun only looks, OverQuota files also without room, and Again brings back what was imported before and removed since.
	DryRun, OverQuota, Again bool
	// Progress, where it is set, is called after every batch.
	Progress func(*Report)
	// Retry is how long it is waited before a batch is tried again while the farm is away. Default 1s, 5s, 15s.
	Retry []time.Duration
}

// Import brings all folders. The report tells what was done also where an error ended it; a repeat goes on there.
func (r *Run) Import(ctx context.Context, a *archive.Archive) (*Report, error) {
	if r.Retry == nil {
		r.Retry = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}
	}
	report := &Report{Format: string(a.Format), DryRun: r.DryRun, reasons: map[string]int{}}
	for _, d := range a.Doubts {
		report.note(d.Where + ": " + d.Why.Error())
	}
	for _, d := range a.Left {
		report.leave(d.Where, d.Why.Error())
	}
	// Those with the highest UIDVALIDITY come first: numbers that the store gives to new mailboxes lie above all of them then.
	folders := slices.Clone(a.Folders)
	slices.SortStableFunc(folders, func(x, y *archive.Folder) int { return cmp.Compare(y.UIDValidity, x.UIDValidity) })
	for _, f := range folders {
		if err := r.folder(ctx, report, f, r.target(a, f)); err != nil {
			return report, fmt.Errorf("folder %q: %w", f.Name, err)
		}
	}
	slices.SortStableFunc(report.Folders, func(x, y *FolderReport) int {
		return cmp.Or(first(y.Folder)-first(x.Folder), cmp.Compare(x.Folder, y.Folder))
	})
	return report, nil
}

// first is 1 for INBOX, which is listed before all others.
func first(name string) int {
	if name == "INBOX" {
		return 1
	}
	return 0
}

// target is the mailbox that a folder goes to.
func (r *Run) target(a *archive.Archive, f *archive.Folder) string {
	name := f.Name
	switch {
	case r.Into == "":
	case len(a.Folders) == 1 || name == "INBOX":
		name = r.Into
	default:
		name = r.Into + "/" + name
	}
	return MailboxName(name)
}

// folder brings one.
func (r *Run) folder(ctx context.Context, report *Report, f *archive.Folder, target string) error {
	out := &FolderReport{Folder: target, From: f.Path}
	report.Folders = append(report.Folders, out)
	if target != f.Name && r.Into == "" {
		report.note(fmt.Sprintf("%s: folder %q is called %q here", f.Path, f.Name, target))
	}
	src, err := f.Open()
	if err != nil {
		report.leaveOf(out, f.Path, "unreadable: "+err.Error())
		return nil
	}
	defer src.Close()
	out.Kind = src.Kind()
	for _, d := range src.Doubts() {
		report.note(f.Path + ": " + d.Error())
	}
	for _, l := range src.Left() {
		report.leaveOf(out, l.Where, l.Why.Error())
	}
	b := &batch{run: r, report: report, folder: out, src: src, subscribed: f.Subscribed, seen: map[uint64]uint32{}, same: map[uint64]uint32{}}
	for {
		m, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			report.leaveOf(out, f.Path, "unreadable from here on: "+err.Error())
			break
		}
		out.Messages++
		if err := b.add(ctx, m); err != nil {
			return err
		}
	}
	for _, n := range src.Notes() {
		report.note(f.Path + ": " + n)
	}
	err = b.finish(ctx)
	b.noteExisting()
	return err
}

// MailboxName makes a name one that the store takes: no control characters, empty or overlong levels, at most 20 levels.
func MailboxName(name string) string {
	levels := strings.Split(strings.ToValidUTF8(name, "_"), "/")
	kept := levels[:0]
	for _, l := range levels {
		l = strings.Map(func(c rune) rune {
			if c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029' {
				return '_'
			}
			return c
		}, l)
		l = shorten(l)
		if l != "" {
			kept = append(kept, l)
		}
	}
	if len(kept) == 0 {
		return "Imported"
	}
	if len(kept) > 20 {
		kept = append(kept[:19], strings.Join(kept[19:], "_"))
		kept[19] = shorten(kept[19])
	}
	return strings.Join(kept, "/")
}

// maxLevel is the longest level of a name that the store takes, octets.
const maxLevel = 255

// shorten makes a level as long as the store takes; two that are not the same stay two.
func shorten(level string) string {
	if len(level) <= maxLevel {
		return level
	}
	return maildir.Shorten(level, level, maxLevel-20, 0)
}

// Flags are those that the store takes, and what is left out.
func Flags(names []string) (kept, left []string) {
	for _, f := range names {
		switch {
		case len(kept) == 60 || !isFlag(f):
			left = append(left, f)
		case strings.EqualFold(f, `\Recent`):
		default:
			kept = append(kept, f)
		}
	}
	return kept, left
}

// isFlag tells of system flags and of atoms of at most 100 octets (RFC 9051 §9).
func isFlag(name string) bool {
	switch strings.ToLower(name) {
	case `\seen`, `\answered`, `\flagged`, `\draft`, `\deleted`, `\recent`:
		return true
	}
	if name == "" || len(name) > 100 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// Away tells of a farm that may be back soon.
func Away(err error) bool {
	c := status.Code(err)
	return c == codes.Unavailable || c == codes.Aborted
}
