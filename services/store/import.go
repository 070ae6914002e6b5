package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// MaxImportKey is the longest key of a message that is imported, octets.
	MaxImportKey = 255
	// MaxImportKeys is how many keys one Imported asks for.
	MaxImportKeys = 10_000
	// importCommits is how many frames of one import are made durable at once; they share flushes.
	importCommits = 64
	// uidlPage is how many UIDLs a page has.
	uidlPage = 10_000
)

// imports serves storev1.Imports.
type imports struct {
	storev1.UnimplementedImportsServer
	*mailboxes
}

// Import files a batch of messages: bodies first, then all entries in one write. A frame whose message was there already is
// nobody's, and freeing finds it.
func (s *imports) Import(stream grpc.ClientStreamingServer[storev1.ImportRequest, storev1.ImportResponse]) error {
	commits, ctx := errgroup.WithContext(stream.Context())
	commits.SetLimit(importCommits)
	w := &importing{appending: appending{mailboxes: s.mailboxes, commits: commits, ctx: ctx}}
	err := w.receive(stream)
	if done := commits.Wait(); done != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = done
	}
	if err != nil {
		w.discard()
		return toStatus(err)
	}
	fault.Point("import.after-frames")
	for i, m := range w.messages {
		w.q.Messages[i].Message = *m
	}
	s.domains.place(stream.Context(), w.q.Account)
	r, err := s.deps.Imports.Import(stream.Context(), w.q)
	if err != nil {
		return toStatus(err)
	}
	fault.Point("import.after-entries")
	filed := 0
	resp := &storev1.ImportResponse{Mailbox: uint64(r.Mailbox), UidValidity: uint32(r.UIDValidity), Kept: r.Kept, Made: r.Made, OverQuota: r.Over}
	for i := range r.Messages {
		if r.Messages[i].Status == index.ImportFiled {
			filed++
		}
		resp.Results = append(resp.Results, fromImported(&r.Messages[i]))
	}
	s.metrics.appended.Add(float64(filed))
	if r.Changed {
		s.changed(w.q.Account, r.ModSeq, r.Mailbox)
	}
	if r.Made {
		s.changed(w.q.Account, r.ModSeq)
		s.deps.Log.InfoContext(stream.Context(), "mailbox imported", obs.Account(w.q.Account), slog.Uint64("uid_validity", uint64(r.UIDValidity)))
	}
	return stream.SendAndClose(resp)
}

func fromImported(m *index.Imported) *storev1.ImportResult {
	return &storev1.ImportResult{Status: storev1.ImportStatus(m.Status), Uid: uint32(m.UID), KeywordsLeftOut: m.KeywordsLeftOut}
}

// importing is one Import on its way.
type importing struct {
	appending
	begun bool
	q     index.Import
}

func (w *importing) receive(stream grpc.ClientStreamingServer[storev1.ImportRequest, storev1.ImportResponse]) error {
	err := receive(w.ctx, stream, func(req *storev1.ImportRequest) error {
		switch part := req.GetPart().(type) {
		case *storev1.ImportRequest_Begin:
			return w.begin(part.Begin)
		case *storev1.ImportRequest_Start:
			return w.start(part.Start)
		case *storev1.ImportRequest_Data:
			return w.data(part.Data)
		case *storev1.ImportRequest_End:
			return w.end()
		default:
			return invalid("import without a part")
		}
	})
	if err != nil {
		return err
	}
	if !w.begun || w.draft != nil {
		return invalid("import ends within a message or has not begun")
	}
	return nil
}

func (w *importing) begin(b *storev1.ImportBegin) (err error) {
	if w.begun {
		return invalid("import begins twice")
	}
	w.begun = true
	q := index.Import{
		Create: b.GetCreate(), Subscribed: b.GetSubscribed(), UIDValidity: mailbox.UIDValidity(b.GetUidValidity()),
		UIDNext: mailbox.UID(b.GetUidNext()), OverQuota: b.GetOverQuota(), Again: b.GetAgain(),
	}
	if q.Account, err = account(b.GetAccount()); err != nil {
		return err
	}
	if q.Name, err = boxName(b.GetMailbox()); err != nil {
		return err
	}
	if q.SpecialUse, err = specialUse(b.GetSpecialUse()); err != nil {
		return err
	}
	w.q = q
	return nil
}

func (w *importing) start(start *storev1.ImportStart) error {
	switch {
	case !w.begun:
		return invalid("import has a message before it begins")
	case w.draft != nil:
		return invalid("import starts a message within another")
	case len(w.messages) >= w.cfg.MaxAppend:
		return invalid("more than %d messages in one import", w.cfg.MaxAppend)
	}
	key, err := importKey(start.GetKey())
	if err != nil {
		return err
	}
	flags, err := flagNames(start.GetFlags())
	if err != nil {
		return err
	}
	m := index.ImportMessage{Key: key, UID: mailbox.UID(start.GetUid())}
	if ns := start.GetSavedNs(); ns != 0 {
		m.Saved = time.Unix(0, ns)
	}
	if l := start.GetUidl(); index.ValidUIDL(l) {
		m.UIDL = l
	}
	if err := w.open(start.GetSize(), start.GetReceivedNs(), flags); err != nil {
		return err
	}
	w.q.Messages = append(w.q.Messages, m)
	return nil
}

func importKey(key []byte) (index.ImportKey, error) {
	if len(key) == 0 || len(key) > MaxImportKey {
		return index.ImportKey{}, invalid("key of %d octets; it has 1 to %d", len(key), MaxImportKey)
	}
	return index.NewImportKey(key), nil
}

// Imported tells which keys were imported before.
func (s *imports) Imported(ctx context.Context, req *storev1.ImportedRequest) (*storev1.ImportedResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	name, err := boxName(req.GetMailbox())
	if err != nil {
		return nil, err
	}
	if len(req.GetKeys()) > MaxImportKeys {
		return nil, invalid("%d keys, more than %d", len(req.GetKeys()), MaxImportKeys)
	}
	keys := make([]index.ImportKey, len(req.GetKeys()))
	for i, k := range req.GetKeys() {
		if keys[i], err = importKey(k); err != nil {
			return nil, err
		}
	}
	m, list, err := s.deps.Imports.Imported(ctx, a, name, keys)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.ImportedResponse{Mailbox: uint64(m.ID), UidValidity: uint32(m.UIDValidity), Messages: m.Messages}
	for i := range list {
		resp.Results = append(resp.Results, fromImported(&list[i]))
	}
	return resp, nil
}

// UIDLs tells a page of unique-ids.
func (s *imports) UIDLs(ctx context.Context, req *storev1.UIDLsRequest) (*storev1.UIDLsResponse, error) {
	a, box, err := accountAndBox(req.GetAccount(), req.GetMailbox())
	if err != nil {
		return nil, err
	}
	list, err := s.deps.Imports.UIDLs(ctx, a, box, mailbox.UID(req.GetAfter()), uidlPage)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.UIDLsResponse{More: len(list) == uidlPage}
	for _, l := range list {
		resp.Uids, resp.Uidls = append(resp.Uids, uint32(l.UID)), append(resp.Uidls, l.UIDL)
	}
	return resp, nil
}
