package imap

import (
	"context"
	"fmt"
	"io"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// mail is the immutable data of a message, with its part index once somebody asked.
type mail struct {
	email   *storev1.Email
	overlay message.Overlay
	index   *message.Index // see mails.indexOf
	lost    error          // that the body is not there, once that is known
}

// body is the stored body where it came along with the email; else nil.
func (m *mail) body() []byte {
	if b := m.email.GetBody(); int64(len(b)) == m.email.GetSize() {
		return b
	}
	return nil
}

// size is the message's as readers see it.
func (m *mail) size() int64 { return m.overlay.Size(m.email.GetSize()) }

// mails loads emails and bodies, a batch at a time.
type mails struct {
	s      *session
	ctx    context.Context
	cancel context.CancelFunc
	// owner and box are whose mailbox the messages are in, and which; actor is who reads them.
	owner, box, actor uint64
	// ranges are what the batch asks for, and stream is of some of them, up to the last; see prepare.
	ranges []*storev1.BodyRange
	stream *bodyStream
	room   []byte // for an item's octets
	// err is what went wrong while a response was written: the command fails, and the connection if its stream is broken.
	err error
}

// newMails loads from the selected mailbox.
func (s *session) newMails() *mails { return s.newMailsOf(s.sel.owner(), uint64(s.sel.snap.ID)) }

func (s *session) newMailsOf(owner, box uint64) *mails {
	m := &mails{s: s, owner: owner, box: box, actor: uint64(s.account)}
	m.ctx, m.cancel = context.WithCancel(s.ctx)
	return m
}

func (m *mails) close() { m.cancel() }

// closeStream gives the batch's stream back, if there is one.
func (m *mails) closeStream() {
	if m.stream != nil {
		m.stream.close()
		m.stream = nil
	}
}

// load asks for emails, and for their bodies where those have no more than bodies octets together; found has one for each id,
// nil where it is not there.
func (m *mails) load(ids []uint64, withIndex bool, bodies int64) (found []*mail, err error) {
	ctx, cancel := context.WithTimeout(m.ctx, m.s.svc.cfg.CallTimeout)
	defer cancel()
	stream, err := m.s.svc.deps.Mailboxes.Emails(ctx, &storev1.EmailsRequest{
		Account: m.owner, Actor: m.actor, Mailbox: m.box, Emails: ids, WithoutPartIndex: !withIndex, BodiesUpTo: bodies,
	})
	if err != nil {
		return nil, err
	}
	found = make([]*mail, len(ids))
	room := make([]mail, len(ids))
	next := 0 // They come in the order asked for.
	for {
		page, err := stream.Recv()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		for _, e := range page.GetEmails() {
			for next < len(ids) && ids[next] != e.GetId() {
				next++
			}
			if next == len(ids) {
				return nil, fmt.Errorf("email %d came out of order", e.GetId())
			}
			room[next] = mail{email: e, overlay: message.OverlayFrom(e.GetOverlay())}
			found[next] = &room[next]
			next++
		}
	}
}

// indexOf gives a message's part index. One of another version is made anew from the body, which is the only time that
// reading mail parses it.
func (m *mails) indexOf(mail *mail) (*message.Index, error) {
	if mail.index != nil || mail.lost != nil {
		return mail.index, mail.lost
	}
	ix, err := message.Decode(mail.email.GetPartIndex())
	if err != nil {
		m.s.log.Info("part index made anew", obs.Reason(err.Error()))
		var indexer message.Indexer
		err := m.readRaw(mail, message.Range{Length: mail.email.GetSize()}, func(p []byte) { indexer.Write(p) })
		if err != nil {
			return nil, fmt.Errorf("index email %d: %w", mail.email.GetId(), err)
		}
		if ix, err = indexer.Finish(); err != nil {
			return nil, fmt.Errorf("index email %d: %w", mail.email.GetId(), err)
		}
	}
	mail.index = ix
	return ix, nil
}

// readRaw reads a range of a stored body, without its overlay, by a call of its own if it is not at hand.
func (m *mails) readRaw(mail *mail, r message.Range, take func([]byte)) error {
	if r.Length == 0 {
		return nil
	}
	if body := mail.body(); body != nil {
		take(body[r.Offset:r.End()])
		return nil
	}
	b, err := m.open([]*storev1.BodyRange{{BlobId: mail.email.GetBlobId(), Offset: r.Offset, Length: r.Length}})
	if err != nil {
		return err
	}
	defer b.close()
	return b.take(r.Length, take)
}

// readSeen reads a range of a message as readers see it, by calls of its own if it is not at hand.
func (m *mails) readSeen(mail *mail, r message.Range) ([]byte, error) {
	out := make([]byte, 0, r.Length)
	for _, p := range mail.overlay.Pieces(nil, r, mail.email.GetSize()) {
		if p.Prefix {
			out = append(out, mail.overlay.Prefix[p.Offset:p.End()]...)
			continue
		}
		if err := m.readRaw(mail, p.Range, func(b []byte) { out = append(out, b...) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fail keeps the first error.
func (m *mails) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// appendEnvelope writes ENVELOPE as the part index has it, unless the overlay shows or hides a field of it.
func (m *mails) appendEnvelope(b []byte, mail *mail) ([]byte, error) {
	if len(mail.overlay.Cuts) == 0 && !touchesEnvelope(mail.overlay.Prefix) {
		if e := message.EnvelopeOf(mail.email.GetPartIndex()); e != nil {
			return append(b, e...), nil
		}
	}
	e, err := m.envelope(mail)
	return append(b, e...), err
}

func (m *mails) envelope(mail *mail) ([]byte, error) {
	ix, err := m.indexOf(mail)
	if err != nil {
		return nil, err
	}
	v := ix.WithOverlay(mail.overlay)
	if e, ok := v.Envelope(); ok {
		return e, nil
	}
	r := v.Header()
	r.Length = min(r.Length, message.MaxHeaderBytes)
	header, err := m.readSeen(mail, r)
	if err != nil {
		return nil, err
	}
	return message.AppendEnvelope(nil, header), nil
}

// envelopeFields are the fields that ENVELOPE shows.
var envelopeFields = map[string]bool{
	"date": true, "subject": true, "from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true,
	"in-reply-to": true, "message-id": true,
}

// touchesEnvelope tells whether a prefix has fields that ENVELOPE shows.
func touchesEnvelope(prefix []byte) bool {
	touches := false
	message.EachField(prefix, func(name, _ []byte) bool {
		if len(name) <= 11 {
			var lower [11]byte
			for i, c := range name {
				if c >= 'A' && c <= 'Z' {
					c += 'a' - 'A'
				}
				lower[i] = c
			}
			touches = envelopeFields[string(lower[:len(name)])]
		}
		return !touches
	})
	return touches
}

func (m *mails) appendBody(b []byte, mail *mail) ([]byte, error) {
	ix, err := m.indexOf(mail)
	if err != nil {
		return b, err
	}
	return ix.AppendBody(b), nil
}

func (m *mails) appendBodyStructure(b []byte, mail *mail) ([]byte, error) {
	if s := message.BodyStructureOf(mail.email.GetPartIndex()); s != nil {
		return append(b, s...), nil
	}
	ix, err := m.indexOf(mail)
	if err != nil {
		return b, err
	}
	return append(b, ix.BodyStructure()...), nil
}
