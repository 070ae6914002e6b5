package store

import (
	"bytes"
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

// textReader makes documents of emails, one at a time: it holds a message of searchtext.WholeMax octets at most and what that
// is once decoded, and of longer ones a piece.
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
	ix, err := message.Decode(e.PartIndex)
	if err != nil {
		r.collector.All()
		return d, nil
	}
	err = r.read(ctx, ix, e)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
		r.collector.All()
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("read email %d: %w", e.ID, err)
	}
	return d, nil
}

// read adds all that SEARCH may find the message by, as readers see it.
func (r *textReader) read(ctx context.Context, ix *message.Index, e *index.Email) error {
	f, err := r.mailboxes.deps.Blobs.Open(ctx, e.Blob)
	if err != nil {
		return err
	}
	defer f.Close()
	r.collector.Thread(uint64(e.Thread))
	overlay := message.OverlayFrom(e.Overlay)
	body := message.NewReader(overlay, f.Body, f.Size)
	v := ix.WithOverlay(overlay)
	if searchtext.IsLong(ix, body.Size()) {
		return r.readLong(v, body, e)
	}
	if int64(cap(r.body)) < body.Size() {
		r.body = make([]byte, body.Size())
	}
	r.body = r.body[:body.Size()]
	if _, err := body.ReadAt(r.body, 0); err != nil && err != io.EOF {
		return err
	}
	r.collect(v, r.body)
	r.collectNames(r.body[:min(v.Header().Length, int64(len(r.body)))])
	r.collectEnvelopes(v, r.body[:min(v.Header().Length, int64(len(r.body)))], e)
	return nil
}

// readLong adds what is read piece by piece.
func (r *textReader) readLong(v message.View, body io.ReaderAt, e *index.Email) error {
	header := make([]byte, min(v.Header().Length, searchtext.WholeMax))
	if _, err := body.ReadAt(header, 0); err != nil && err != io.EOF {
		return err
	}
	r.collectEnvelopes(v, header, e)
	if r.collectNames(header); int64(len(header)) < v.Header().Length {
		r.collector.All() // nobody knows which fields are behind
	}
	long := searchtext.Long{Open: func(at message.Range) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(body, at.Offset, at.Length)), nil
	}}
	return long.Read(v, &pieceReader{collector: r.collector})
}

// pieceReader collects the texts of a long message.
type pieceReader struct {
	collector *fulltext.Collector
	kind      searchtext.Kind
}

// Overlap: substrings over the edge of a piece are not to be missed.
func (p *pieceReader) Overlap() int { return fulltext.Reach }

// Wants says no once the email is one that every search looks at. Fields are in the headers.
func (p *pieceReader) Wants(k searchtext.Kind) bool {
	return k != searchtext.OfField && !p.collector.Full()
}

// Begin begins a text.
func (p *pieceReader) Begin(k searchtext.Kind, _ []byte) { p.kind = k }

// Piece adds a piece of it.
func (p *pieceReader) Piece(text, words []byte) {
	if p.kind != searchtext.OfLoose {
		p.collector.Substrings(text)
	}
	p.collector.Words(words)
}

// slots are the places of ENVELOPE that SEARCH looks at.
var slots = []searchtext.Slot{searchtext.Subject, searchtext.From, searchtext.To, searchtext.Cc, searchtext.Bcc, searchtext.InReplyTo, searchtext.MessageID}

// collect adds the texts of a message.
func (r *textReader) collect(v message.View, text []byte) {
	r.texts.Reset(v.Index, v, text)
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
}

// collectNames adds which fields a header has.
func (r *textReader) collectNames(header []byte) {
	message.EachField(header, func(name, _ []byte) bool {
		r.collector.Field(bytes.ToLower(name))
		return true
	})
}

// collectEnvelopes adds ENVELOPE, whichever way a reader comes by it, and what it would show if it showed all.
func (r *textReader) collectEnvelopes(v message.View, header []byte, e *index.Email) {
	envelopes := [][]byte{message.EnvelopeOf(e.PartIndex), message.AppendEnvelope(nil, header[:min(len(header), message.MaxHeaderBytes)])}
	if seen, ok := v.Envelope(); ok {
		envelopes = append(envelopes, seen)
	}
	for _, envelope := range envelopes {
		for _, s := range slots {
			r.slot = searchtext.AppendSlot(r.slot[:0], envelope, s)
			r.collector.Text(r.slot)
		}
	}
	cut := v.Cut(envelopes[0])
	for s := searchtext.Subject; s <= searchtext.Bcc; s++ {
		if s.Field() != "" && s.In(cut) {
			r.slot = searchtext.AppendFieldsOf(r.slot[:0], header, s)
			r.collector.Text(r.slot)
		}
	}
}
