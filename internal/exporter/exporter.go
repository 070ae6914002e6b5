// Package exporter writes the folders of an account as internal/archive lays them out, in a form that imports again to the same
// messages, flags, dates, UIDs and UIDVALIDITY.
package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/maildir"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Run says what is exported.
type Run struct {
	Mailboxes storev1.MailboxesClient
	Bodies    storev1.BodiesClient
	Imports   storev1.ImportsClient
	Account   uint64
	// Folders are those that are wanted, with all below them; none: all.
	Folders []string
	// Progress, where it is set, is called after every piece of a folder.
	Progress func(*Report)
}

// Report tells what a run did.
type Report struct {
	Folders []*FolderReport `json:"folders"`
	// Messages were found; Written are new, Present were there from an earlier run, Left could not be read.
	Messages int    `json:"messages"`
	Written  int    `json:"written"`
	Present  int    `json:"present"`
	Octets   int64  `json:"octets"`
	Left     []Left `json:"left"`
	// Changed are messages of which the format could not keep every octet.
	Changed int `json:"changed"`
	// Notes are what could not be kept.
	Notes []string `json:"notes"`
}

// FolderReport is one folder's.
type FolderReport struct {
	Folder      string `json:"folder"`
	Messages    int    `json:"messages"`
	UIDValidity uint32 `json:"uid_validity"`
}

// Left is a message that was not written, or, of UID 0, a folder.
type Left struct {
	Folder string `json:"folder"`
	UID    uint32 `json:"uid"`
	Why    string `json:"why"`
}

// maxNotes is how many notes, and how many messages that were left, are told one by one.
const maxNotes = 10_000

func (r *Report) leave(l Left) {
	if len(r.Left) < maxNotes {
		r.Left = append(r.Left, l)
	}
}

func (r *Report) note(format string, args ...any) {
	if len(r.Notes) < maxNotes {
		r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	}
}

// Export writes the folders. What changes meanwhile may be in the result or not.
func (r *Run) Export(ctx context.Context, w archive.Writer) (*Report, error) {
	report := &Report{}
	list, err := r.Mailboxes.List(ctx, &storev1.ListRequest{Account: r.Account})
	if err != nil {
		return report, fmt.Errorf("list folders: %w", err)
	}
	var subscribed []string
	found := make([]bool, len(r.Folders))
	for _, m := range list.GetMailboxes() {
		if !r.wanted(m.GetName(), found) {
			continue
		}
		if m.GetSubscribed() {
			subscribed = append(subscribed, m.GetName())
		}
		if !m.GetExists() {
			continue
		}
		if err := r.folder(ctx, w, m, report); err != nil {
			return report, fmt.Errorf("folder %q: %w", m.GetName(), err)
		}
	}
	if i := slices.Index(found, false); i >= 0 {
		return report, fmt.Errorf("there is no folder %q", r.Folders[i])
	}
	return report, w.Close(subscribed)
}

func (r *Run) wanted(name string, found []bool) bool {
	wanted := len(r.Folders) == 0
	for i, f := range r.Folders {
		if name == f || len(name) > len(f) && name[:len(f)] == f && name[len(f)] == '/' {
			found[i], wanted = true, true
		}
	}
	return wanted
}

// folder writes one.
func (r *Run) folder(ctx context.Context, w archive.Writer, m *storev1.Mailbox, report *Report) error {
	box, chunks, err := r.snapshot(ctx, m)
	if status.Code(err) == codes.NotFound {
		report.note("folder %q was deleted meanwhile", m.GetName())
		return nil
	}
	if err != nil {
		return fmt.Errorf("read entries: %w", err)
	}
	uidls, err := r.uidls(ctx, box)
	if err != nil {
		return fmt.Errorf("read unique ids: %w", err)
	}
	fr := &FolderReport{Folder: m.GetName(), UIDValidity: box.GetUidValidity()}
	report.Folders = append(report.Folders, fr)
	err = r.write(ctx, w, box, chunks, uidls, fr, report)
	if refused(err) {
		report.leave(Left{Folder: m.GetName(), Why: fmt.Sprintf("%d of %d messages: a file cannot be made with the name that it would have: %v",
			int(box.GetMessages())-fr.Messages, box.GetMessages(), err)})
		return nil
	}
	return err
}

// write writes a folder as it was read.
func (r *Run) write(ctx context.Context, w archive.Writer, box *storev1.Mailbox, chunks []*storev1.Chunk, uidls map[mailbox.UID]string, fr *FolderReport, report *Report) error {
	out, err := w.Folder(archive.FolderInfo{Name: fr.Folder, UIDValidity: box.GetUidValidity(), UIDNext: box.GetUidNext()})
	if err != nil {
		return err
	}
	f := &folder{run: r, report: report, name: fr.Folder, out: out, keywords: box.GetKeywords(), uidls: uidls}
	defer f.discard()
	if called := out.Called(); called != "" {
		report.note("folder %q is called %q there, as it cannot have its name: `mailfarm import` knows it", fr.Folder, called)
	}
	for _, c := range chunks {
		n, err := f.chunk(ctx, c)
		if err != nil {
			return err
		}
		if err := out.Checkpoint(); err != nil {
			return err
		}
		fr.Messages += n
		report.Messages += n
		if r.Progress != nil {
			r.Progress(report)
		}
	}
	return out.Close()
}

// refused tells of a file system that does not take a name: others it may take.
func refused(err error) bool {
	return errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EILSEQ) || errors.Is(err, maildir.ErrTaken)
}

// snapshot reads the entries of a mailbox as they are packed: some twenty octets for each.
func (r *Run) snapshot(ctx context.Context, m *storev1.Mailbox) (box *storev1.Mailbox, chunks []*storev1.Chunk, err error) {
	stream, err := r.Mailboxes.Snapshot(ctx, &storev1.SnapshotRequest{Account: r.Account, Mailbox: m.GetId()})
	if err != nil {
		return nil, nil, err
	}
	done := false
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if !done {
				err = io.ErrUnexpectedEOF
			} else {
				err = nil
			}
			return box, chunks, err
		}
		if err != nil {
			return nil, nil, err
		}
		if page.GetMailbox() != nil {
			box = page.GetMailbox()
		}
		chunks, done = append(chunks, page.GetChunks()...), page.GetDone()
	}
}

// uidls are what POP3 calls messages that were imported.
func (r *Run) uidls(ctx context.Context, box *storev1.Mailbox) (map[mailbox.UID]string, error) {
	all := map[mailbox.UID]string{}
	req := &storev1.UIDLsRequest{Account: r.Account, Mailbox: box.GetId()}
	for {
		page, err := r.Imports.UIDLs(ctx, req)
		if err != nil {
			return nil, err
		}
		for i, uid := range page.GetUids() {
			all[mailbox.UID(uid)] = page.GetUidls()[i]
			req.After = uid
		}
		if !page.GetMore() {
			return all, nil
		}
	}
}

// seconds is a time of an entry.
func seconds(s int64) time.Time { return time.Unix(s, 0) }
