package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// textReader makes documents of emails, one at a time: it holds no more than searchtext.MessageMax of a message and what that
// is once decoded.
type textReader struct {
	mailboxes *mailboxes
	collector *fulltext.Collector
	texts     searchtext.Texts
	body      []byte
	slot      []byte
	log       *slog.Logger
}

// roomKept is how much memory is kept from one message to the next.
const roomKept = 1 << 20

// doc reads an email. One that is damaged, or that we fail on, is one that every search looks at: a search that needs it tells
// its reader. An error says only that the email could not be read now.
func (r *textReader) doc(ctx context.Context, a mailbox.AccountID, e *index.Email) (d fulltext.Doc, err error) {
	d.Email = e.ID
	defer func() {
		if p := recover(); p != nil {
			r.log.ErrorContext(ctx, "panicked", obs.Account(a), slog.Any("panic", p), obs.Stack(debug.Stack()))
			r.collector.All()
			err = nil
		}
		d = r.collector.Take(d)
		if cap(r.body) > roomKept {
			r.body, r.texts = nil, searchtext.Texts{}
		}
	}()
	r.mailboxes.reindex(ctx, a, e)
	text, err := r.read(ctx, e)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
		r.collector.All()
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("read email %d: %w", e.ID, err)
	}
	ix, err := message.Decode(e.PartIndex)
	if err != nil {
		r.collector.All()
		return d, nil
	}
	r.collect(ix, e, text)
	return d, nil
}

// read gives the message as readers see it, or its beginning.
func (r *textReader) read(ctx context.Context, e *index.Email) ([]byte, error) {
	f, err := r.mailboxes.deps.Blobs.Open(ctx, e.Blob)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body := message.NewReader(message.OverlayFrom(e.Overlay), f.Body, f.Size)
	n := min(body.Size(), searchtext.MessageMax)
	if int64(cap(r.body)) < n {
		r.body = make([]byte, n)
	}
	r.body = r.body[:n]
	if _, err := body.ReadAt(r.body, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return r.body, nil
}

// slots are the places of ENVELOPE that SEARCH looks at.
var slots = []searchtext.Slot{searchtext.Subject, searchtext.From, searchtext.To, searchtext.Cc, searchtext.Bcc, searchtext.InReplyTo, searchtext.MessageID}

// collect adds all that SEARCH may find the message by.
func (r *textReader) collect(ix *message.Index, e *index.Email, text []byte) {
	v := ix.WithOverlay(message.OverlayFrom(e.Overlay))
	r.texts.Reset(ix, v, text)
	add := func(text []byte) bool {
		r.collector.Text(text)
		return false
	}
	r.texts.InText(add)
	r.texts.InHeaders(add)
	r.texts.InLoose(func(text []byte) bool {
		r.collector.Words(text)
		return false
	})
	// Whichever way a reader comes by ENVELOPE.
	header := text[:min(v.Header().Length, int64(len(text)), message.MaxHeaderBytes)]
	envelopes := [][]byte{message.EnvelopeOf(e.PartIndex), message.AppendEnvelope(nil, header)}
	if seen, ok := v.Envelope(); ok {
		envelopes = append(envelopes, seen)
	}
	for _, envelope := range envelopes {
		for _, s := range slots {
			r.slot = searchtext.AppendSlot(r.slot[:0], envelope, s)
			r.collector.Text(r.slot)
		}
	}
}
