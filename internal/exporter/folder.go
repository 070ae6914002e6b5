package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// memory is up to how many octets of a message are in memory; a larger one lies in a file meanwhile.
const memory = 1 << 20

// folder is one that is being written.
type folder struct {
	run      *Run
	report   *Report
	name     string
	out      archive.FolderWriter
	keywords []string
	uidls    map[mailbox.UID]string
	spool    *os.File
}

// wanted is a message to be written, and where its text lies.
type wanted struct {
	item  archive.Item
	email mailbox.EmailID
	place *storev1.Email
}

// chunk writes up to 256 messages, and tells how many there are.
func (f *folder) chunk(ctx context.Context, packed *storev1.Chunk) (int, error) {
	var c mailbox.Chunk
	if err := c.Unpack(&mailbox.Packed{
		FirstUID: mailbox.UID(packed.GetFirstUid()), MaxModSeq: mailbox.ModSeq(packed.GetMaxModSeq()), UIDs: packed.GetUids(), Flags: packed.GetFlags(),
		ModSeqs: packed.GetModSeqs(), Emails: packed.GetEmails(), Sizes: packed.GetSizes(), Received: packed.GetReceived(), Saved: packed.GetSaved(),
	}); err != nil {
		return 0, err
	}
	var list []*wanted
	for i := range c.Len() {
		e := c.At(i)
		w := &wanted{email: e.Email, item: archive.Item{UID: uint32(e.UID), UIDL: f.uidls[e.UID], Flags: e.Flags.Names(f.keywords), Received: seconds(e.Received), Saved: seconds(e.Saved)}}
		there, lost, err := f.out.Has(&w.item)
		if err != nil {
			return 0, err
		}
		if there {
			f.lost(&w.item, lost)
			f.report.Present++
			continue
		}
		list = append(list, w)
	}
	if err := f.locate(ctx, list); err != nil {
		return 0, fmt.Errorf("look for messages: %w", err)
	}
	return c.Len(), f.write(ctx, list)
}

func (f *folder) lost(m *archive.Item, keywords []string) {
	if len(keywords) > 0 {
		f.report.note("folder %q, UID %d: the format has no room for more keywords: %q are left out", f.name, m.UID, keywords)
	}
}

// locate asks where texts lie.
func (f *folder) locate(ctx context.Context, list []*wanted) error {
	if len(list) == 0 {
		return nil
	}
	req := &storev1.EmailsRequest{Account: f.run.Account, WithoutPartIndex: true}
	for _, w := range list {
		req.Emails = append(req.Emails, uint64(w.email))
	}
	stream, err := f.run.Mailboxes.Emails(ctx, req)
	if err != nil {
		return err
	}
	places := map[mailbox.EmailID]*storev1.Email{}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, e := range page.GetEmails() {
			places[mailbox.EmailID(e.GetId())] = e
		}
	}
	for _, w := range list {
		w.place = places[w.email]
	}
	return nil
}

// left notes a message that cannot be read.
func (f *folder) left(w *wanted, why string) {
	f.report.leave(Left{f.name, w.item.UID, why})
}

// write reads texts, many in one call, and writes them. Behind one that cannot be read the others are asked for anew.
func (f *folder) write(ctx context.Context, list []*wanted) error {
	for len(list) > 0 {
		if list[0].place == nil {
			f.left(list[0], "removed meanwhile")
			list = list[1:]
			continue
		}
		n := 0
		req := &storev1.OpenRequest{}
		for n < len(list) && list[n].place != nil {
			p := list[n].place
			req.Ranges = append(req.Ranges, &storev1.BodyRange{BlobId: p.GetBlobId(), Overlay: p.GetOverlay(), Length: -1})
			n++
		}
		done, err := f.open(ctx, req, list[:n])
		if c := status.Code(err); err != nil && (c == codes.NotFound || c == codes.DataLoss) && done < n {
			f.left(list[done], "unreadable: "+status.Convert(err).Message())
			done, err = done+1, nil
		}
		if err != nil {
			return err
		}
		list = list[done:]
	}
	return nil
}

// open reads the texts of one call and tells how many messages were written.
func (f *folder) open(ctx context.Context, req *storev1.OpenRequest, list []*wanted) (done int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.run.Bodies.Open(ctx, req)
	if err != nil {
		return 0, err
	}
	text := &spooled{folder: f}
	begun := false
	put := func() error {
		if !begun {
			return nil
		}
		begun = false
		err := f.put(list[done], text)
		done++
		return err
	}
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if err := put(); err != nil {
				return done, err
			}
			if done < len(list) {
				return done, io.ErrUnexpectedEOF
			}
			return done, nil
		}
		if err != nil {
			// The message before the one that the error is about is whole, and that one is told by its range: what came of it does not count.
			if c := status.Code(err); (c == codes.NotFound || c == codes.DataLoss) && begun && text.whole(list[done]) {
				if err := put(); err != nil {
					return done, err
				}
			}
			return done, err
		}
		if begun && int(p.GetRange()) != done {
			if err := put(); err != nil {
				return done, err
			}
		}
		if !begun {
			begun = true
			if err := text.reset(); err != nil {
				return done, err
			}
		}
		if _, err := text.Write(p.GetData()); err != nil {
			return done, err
		}
	}
}

func (f *folder) put(w *wanted, text *spooled) error {
	r, err := text.reader()
	if err != nil {
		return err
	}
	lost, changed, err := f.out.Put(&w.item, r)
	if err != nil {
		return err
	}
	f.lost(&w.item, lost)
	if changed {
		f.report.Changed++
	}
	f.report.Written++
	f.report.Octets += text.size
	return nil
}

func (f *folder) discard() {
	if f.spool != nil {
		f.spool.Close()
	}
}

// spooled is the text of a message: in memory, or in a file without a name where it is large.
type spooled struct {
	folder *folder
	b      bytes.Buffer
	size   int64
	inFile bool
}

func (s *spooled) reset() error {
	s.b.Reset()
	s.size, s.inFile = 0, false
	return nil
}

func (s *spooled) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if !s.inFile && s.b.Len()+len(p) <= memory {
		return s.b.Write(p)
	}
	if !s.inFile {
		if err := s.toFile(); err != nil {
			return 0, err
		}
	}
	return s.folder.spool.Write(p)
}

func (s *spooled) toFile() error {
	f := s.folder
	if f.spool == nil {
		file, err := os.CreateTemp("", "mailfarm-*")
		if err != nil {
			return err
		}
		f.spool = file
		if err := os.Remove(file.Name()); err != nil {
			return err
		}
	}
	if _, err := f.spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.spool.Truncate(0); err != nil {
		return err
	}
	s.inFile = true
	_, err := f.spool.Write(s.b.Bytes())
	return err
}

// whole tells whether all of a message has come.
func (s *spooled) whole(w *wanted) bool {
	m := w.place
	return s.size >= m.GetSize()+int64(len(m.GetOverlay().GetPrefix()))-cut(m)
}

// cut is how many octets an overlay hides.
func cut(e *storev1.Email) (n int64) {
	for _, c := range e.GetOverlay().GetCuts() {
		n += c.GetLength()
	}
	return n
}

func (s *spooled) reader() (io.ReadSeeker, error) {
	if !s.inFile {
		return bytes.NewReader(s.b.Bytes()), nil
	}
	_, err := s.folder.spool.Seek(0, io.SeekStart)
	return s.folder.spool, err
}
