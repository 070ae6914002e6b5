package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/archive"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errTooLarge is a message that is not read to its end.
var errTooLarge = fmt.Errorf("larger than %d octets", MaxMessage)

// batch gathers messages of one folder, and sends those that are not there.
type batch struct {
	run        *Run
	report     *Report
	folder     *FolderReport
	src        archive.Reader
	subscribed bool
	// seen counts the messages of the folder that are alike, by the begin of their digests: two of them are two. same
	// counts those that are so octet by octet.
	seen, same map[uint64]uint32

	// existing is what was in the mailbox before; nil until it is known that there is a mailbox with messages.
	existing *existing
	list     []*pending
	held     int64
	// sent tells that the mailbox is there; looked that lookAround was.
	sent, looked bool
}

// pending is a message that was looked at.
type pending struct {
	m *archive.Message
	// key is by what the store knows the message: the digest of what it says, and how many alike came before it. before is by
	// what earlier versions knew it, the same of its octets.
	key, before []byte
	// digest is that of its octets, alike that of what it says, and id its Message-ID, shortened.
	digest, alike []byte
	id            uint64
	size          int64
	// text is the message where it is small.
	text []byte
}

// add looks at a message.
func (b *batch) add(ctx context.Context, m *archive.Message) error {
	p, err := b.look(m)
	switch {
	case errors.Is(err, errTooLarge):
		b.report.leaveOf(b.folder, m.Where, "too large")
		return nil
	case err != nil:
		b.report.leaveOf(b.folder, m.Where, "unreadable: "+err.Error())
		return nil
	case p.size == 0:
		b.report.leaveOf(b.folder, m.Where, "empty")
		return nil
	}
	b.list = append(b.list, p)
	b.held += int64(len(p.text))
	if len(b.list) < batchMessages && b.held < batchBytes {
		return nil
	}
	return b.flush(ctx)
}

// look reads a message: its key is what it says, and how many alike came before it in the folder.
func (b *batch) look(m *archive.Message) (*pending, error) {
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &pending{m: m}
	var kept bytes.Buffer
	hash, said := sha256.New(), newAlike()
	n, err := io.Copy(io.MultiWriter(hash, said, &holder{&kept}), io.LimitReader(r, MaxMessage+1))
	if err != nil {
		return nil, err
	}
	if p.size = n; n > MaxMessage {
		return nil, errTooLarge
	}
	if n <= keepBytes {
		p.text = kept.Bytes()
	}
	if m.Received.IsZero() {
		m.Received = Dated(kept.Bytes())
	}
	p.digest, p.alike, p.id = hash.Sum(nil), said.sum(), shortID(said.id)
	p.key = keyOf("alike:", p.alike, b.seen)
	p.before = keyOf("sha256:", p.digest, b.same)
	return p, nil
}

// keyOf makes a key, and counts it.
func keyOf(kind string, sum []byte, seen map[uint64]uint32) []byte {
	id := binary.BigEndian.Uint64(sum)
	key := binary.AppendUvarint(append([]byte(kind), sum...), uint64(seen[id]))
	seen[id]++
	return key
}

// Dated is the time that a message's header tells, where its source knows none; zero: none.
func Dated(text []byte) time.Time {
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("date")) {
			t, err := mail.ParseDate(string(bytes.TrimSpace(value)))
			if err == nil && t.Unix() > 0 && t.Before(time.Now()) {
				return t
			}
			break
		}
	}
	return time.Time{}
}

// holder keeps the begin of what is written, a little more than keepBytes at most.
type holder struct{ b *bytes.Buffer }

func (h *holder) Write(p []byte) (int, error) {
	if h.b.Len() <= keepBytes {
		h.b.Write(p[:min(len(p), keepBytes+1-h.b.Len())])
	}
	return len(p), nil
}

// flush brings what was gathered.
func (b *batch) flush(ctx context.Context) error {
	list := b.list
	b.list, b.held = nil, 0
	missing, err := b.missing(ctx, list)
	if err != nil {
		return err
	}
	if b.run.DryRun {
		for _, p := range missing {
			b.folder.Filed++
			b.folder.Octets += p.size
		}
		b.progress()
		return nil
	}
	return b.send(ctx, missing, 0)
}

func (b *batch) progress() {
	if b.run.Progress != nil {
		b.report.Sum()
		b.run.Progress(b.report)
	}
}

// missing are those messages that were not imported before.
func (b *batch) missing(ctx context.Context, list []*pending) (missing []*pending, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	req := &storev1.ImportedRequest{Account: b.run.Account, Mailbox: b.folder.Folder}
	for _, p := range list {
		req.Keys = append(req.Keys, p.key, p.before)
	}
	var resp *storev1.ImportedResponse
	if err := b.patiently(ctx, func() (err error) {
		resp, err = b.run.Imports.Imported(ctx, req)
		return err
	}); err != nil {
		return nil, err
	}
	if len(resp.GetResults()) < 2*len(list) && resp.GetMailbox() != 0 {
		return nil, errors.New("the store told of fewer messages than it was asked for")
	}
	if err := b.lookAround(ctx, resp); err != nil {
		return nil, err
	}
	if resp.GetMailbox() == 0 {
		return list, nil
	}
	known := make([]*storev1.ImportResult, len(list))
	for i := range list {
		if known[i] = resp.GetResults()[2*i]; known[i].GetStatus() == storev1.ImportStatus_IMPORT_STATUS_UNSPECIFIED {
			known[i] = resp.GetResults()[2*i+1]
		}
		if known[i].GetStatus() == storev1.ImportStatus_IMPORT_STATUS_PRESENT && b.existing != nil {
			b.existing.imported(known[i].GetUid())
		}
	}
	for i, p := range list {
		switch known[i].GetStatus() {
		case storev1.ImportStatus_IMPORT_STATUS_PRESENT:
			b.folder.Present++
		case storev1.ImportStatus_IMPORT_STATUS_GONE:
			if b.run.Again {
				missing = append(missing, p)
				continue
			}
			b.folder.Removed++
		default:
			there := false
			if b.existing != nil {
				if there, err = b.existing.take(ctx, p); err != nil {
					return nil, err
				}
			}
			if there {
				b.folder.Present++
			} else {
				missing = append(missing, p)
			}
		}
	}
	return missing, nil
}

// lookAround lists what is in the mailbox before anything is brought by this run.
func (b *batch) lookAround(ctx context.Context, resp *storev1.ImportedResponse) (err error) {
	if b.looked || b.run.Mailboxes == nil || b.run.Bodies == nil {
		return nil
	}
	b.looked = true
	if resp.GetMailbox() == 0 || resp.GetMessages() == 0 {
		return nil
	}
	if b.existing, err = newExisting(ctx, b.run, resp.GetMailbox()); err != nil {
		return fmt.Errorf("list what is there: %w", err)
	}
	return nil
}

// patiently tries again while the farm is away. What is tried may have been done: the keys take care of it.
func (b *batch) patiently(ctx context.Context, do func() error) error {
	for _, wait := range b.run.Retry {
		err := do()
		if !Away(err) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return do()
}

// finish brings the rest, and makes a folder without messages.
func (b *batch) finish(ctx context.Context) error {
	list := b.list
	b.list, b.held = nil, 0
	missing, err := b.missing(ctx, list)
	if err != nil || b.run.DryRun {
		for _, p := range missing {
			b.folder.Filed++
			b.folder.Octets += p.size
		}
		b.progress()
		return err
	}
	_, next := b.src.Numbers()
	return b.send(ctx, missing, next)
}

// send brings messages. Where one is larger than the store takes, they go one by one, and that one is left.
func (b *batch) send(ctx context.Context, list []*pending, next uint32) error {
	if len(list) == 0 && b.sent && next == 0 {
		b.progress()
		return nil
	}
	var resp *storev1.ImportResponse
	err := b.patiently(ctx, func() (err error) {
		resp, err = b.stream(ctx, list, next)
		return err
	})
	switch {
	case status.Code(err) == codes.OutOfRange && len(list) == 1:
		b.report.leaveOf(b.folder, list[0].m.Where, "larger than the farm takes (store.max_message_bytes)")
		return b.send(ctx, nil, next)
	case status.Code(err) == codes.OutOfRange:
		for i, p := range list {
			last := uint32(0)
			if i == len(list)-1 {
				last = next
			}
			if err := b.send(ctx, []*pending{p}, last); err != nil {
				return err
			}
		}
		return nil
	case err != nil:
		return err
	}
	b.sent = true
	b.count(list, resp)
	b.progress()
	return nil
}

// count takes what became of messages.
func (b *batch) count(list []*pending, resp *storev1.ImportResponse) {
	f := b.folder
	f.UIDsKept, f.UIDValidity = resp.GetKept(), resp.GetUidValidity()
	for i, r := range resp.GetResults() {
		p := list[i]
		switch r.GetStatus() {
		case storev1.ImportStatus_IMPORT_STATUS_FILED:
			f.Filed++
			f.Octets += p.size
		case storev1.ImportStatus_IMPORT_STATUS_GONE:
			f.Removed++
		default:
			f.Present++
		}
		if f.UIDsKept && p.m.UID != 0 && r.GetUid() != p.m.UID {
			f.UIDsChanged++
		}
		if r.GetKeywordsLeftOut() {
			b.report.note(p.m.Where + ": the folder has no room for more keywords: some are left out")
		}
	}
}

// stream is one call.
func (b *batch) stream(ctx context.Context, list []*pending, next uint32) (*storev1.ImportResponse, error) {
	validity, _ := b.src.Numbers()
	f, err := File(ctx, b.run.Imports, &storev1.ImportBegin{
		Account: b.run.Account, Mailbox: b.folder.Folder, Create: true, Subscribed: b.subscribed, UidValidity: validity, UidNext: next,
		OverQuota: b.run.OverQuota, Again: b.run.Again})
	if err != nil {
		return nil, err
	}
	defer f.Abort()
	for _, p := range list {
		if err := b.message(f, p); err != nil {
			return nil, err
		}
	}
	return f.Done()
}

// message sends one.
func (b *batch) message(f *Filing, p *pending) error {
	names, left := Flags(p.m.Flags)
	if len(left) > 0 {
		b.report.note(fmt.Sprintf("%s: no flags that IMAP can have: %q", p.m.Where, left))
	}
	var r io.Reader = bytes.NewReader(p.text)
	if p.text == nil {
		file, err := p.m.Open()
		if err != nil {
			return fmt.Errorf("read %s again: %w", p.m.Where, err)
		}
		defer file.Close()
		r = file
	}
	start := &storev1.ImportStart{Key: p.key, Size: p.size, Flags: names, ReceivedNs: Nanos(p.m.Received), SavedNs: Nanos(p.m.Saved), Uid: p.m.UID, Uidl: p.m.UIDL}
	if err := f.Message(start, r); err != nil {
		return fmt.Errorf("read %s again: %w", p.m.Where, err)
	}
	return nil
}
