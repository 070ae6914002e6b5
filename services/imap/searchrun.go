package imap

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/searchtext"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/search"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// searchBatch is how many bodies are asked for in one call.
const searchBatch = 64

// searcher is one SEARCH under way: each chunk is decided by its columns as far as they go, then what is still open by the
// part index, then by the text.
type searcher struct {
	s     *session
	key   *search.Key
	level search.Level // the deepest that key may ask for
	// byEmailID, byKeys and byIndex tell that key looks at these.
	byEmailID, byKeys, byIndex bool
	mails                      *mails
	ruled                      ruledOut
	found                      found
	progress                   *progress
	done                       uint32         // messages behind us
	hits                       []hit          // of the batch
	picking                    search.Message // of pick
	open                       []candidate
	text                       []byte
	texts                      searchtext.Texts
	fields                     searchtext.Fields
}

// candidate is a message that is not decided yet.
type candidate struct {
	search.Message
	mail *mail
	long bool // looked through piece by piece
}

type hit struct {
	seq    uint32
	modSeq mailbox.ModSeq
	loose  bool // found by FUZZY in other forms
}

// runOn looks through some messages of the selected mailbox.
func (s *session) runOn(ctx context.Context, key *search.Key, seqs wire.Set) (*found, error) {
	r := &searcher{
		s: s, key: key, level: key.Level(), byEmailID: key.UsesEmailID(), byKeys: key.UsesKeys(), byIndex: key.UsesIndex(),
		mails: s.newMails(),
	}
	defer r.mails.close()
	r.ruled = s.ruleOut(r.mails.ctx, key, r.level)
	stop := context.AfterFunc(ctx, r.mails.cancel)
	defer stop()
	r.progress = s.newProgress(s.sel.snap.Len())
	w := &walk{
		snap: s.sel.snap, seqs: seqs, index: true, pick: r.pick, each: r.batch,
		columns: view.WantUID | view.WantFlags | view.WantModSeq | view.WantSize | view.WantReceived | view.WantSaved | view.WantEmail,
	}
	if r.byKeys {
		w.keys = func(b *batch, seq uint32, i int) bool {
			r.message(&r.picking, b, seq, i)
			return r.key.Match(&r.picking) == search.Maybe
		}
		w.spare = r.ruled.out
	}
	var err error
	if r.level == search.Columns {
		// Nothing to be asked for beside the work.
		err = r.mails.produce(w, sameColumns, w.each)
	} else {
		err = r.mails.run(w)
	}
	return &r.found, err
}

// message is what the columns tell.
func (r *searcher) message(m *search.Message, b *batch, seq uint32, i int) {
	cols := &b.cols
	*m = search.Message{
		Seq: seq, UID: cols.UIDs[i], Flags: cols.Flags[i], Recent: r.s.isRecent(cols.UIDs[i]), ModSeq: cols.ModSeqs[i],
		Size: cols.Sizes[i], Received: cols.Received[i], Saved: cols.Saved[i],
	}
	if b.keys != nil && b.keys[i].Known() {
		m.Level, m.Keys = search.Keys, b.keys[i]
	}
	if r.byEmailID {
		m.EmailID = mailbox.ObjectID('M', uint64(cols.Emails[i]))
	}
}

// pick decides a message by its columns; false where that is all there is to it. It runs beside batch.
func (r *searcher) pick(b *batch, seq uint32, i int) bool {
	m := &r.picking
	r.message(m, b, seq, i)
	switch r.key.Match(m) {
	case search.Yes:
		b.hits = append(b.hits, hit{seq, m.ModSeq, m.Loose})
	case search.Maybe:
		// Without keys that were asked for, the email is gone.
		return (b.keys == nil || m.Keys.Known()) && !r.ruled.out(m.UID)
	}
	return false
}

// batch decides the messages of one chunk that are still open, and collects what was found in the order of messages.
func (r *searcher) batch(b *batch) error {
	r.progress.at(r.done)
	r.done += uint32(len(b.cols.UIDs))
	r.hits = b.hits
	if len(b.rows) > 0 {
		if err := r.deeper(b); err != nil {
			return err
		}
		slices.SortFunc(r.hits, func(a, b hit) int { return cmp.Compare(a.seq, b.seq) })
	}
	for _, h := range r.hits {
		r.found.seqs = r.found.seqs.Add(h.seq)
		if h.loose {
			r.found.loose = r.found.loose.Add(h.seq)
		}
		r.found.modSeq = max(r.found.modSeq, h.modSeq)
	}
	return nil
}

// deeper decides the open messages by what lies deeper.
func (r *searcher) deeper(b *batch) error {
	r.open = r.open[:0]
	for i := range b.rows {
		row := &b.rows[i]
		if row.mail == nil {
			continue // expunged meanwhile
		}
		c := candidate{mail: row.mail}
		r.message(&c.Message, b, row.seq, row.i)
		if err := r.know(&c); err != nil {
			if !r.leaveOut(&c, err) {
				return err
			}
			continue
		}
		switch r.key.Match(&c.Message) {
		case search.Yes:
			r.hits = append(r.hits, hit{c.Seq, c.ModSeq, c.Loose})
		case search.Maybe:
			r.open = append(r.open, c)
		}
	}
	for open := range slices.Chunk(r.open, searchBatch) {
		if err := r.read(open); err != nil {
			return err
		}
	}
	return nil
}

// leaveOut notes a message that cannot be read; false for any other error.
func (r *searcher) leaveOut(c *candidate, err error) bool {
	var unreadable corrupt
	if !errors.As(err, &unreadable) {
		return false
	}
	r.found.unreadable = r.found.unreadable.Add(uint32(c.UID))
	return true
}

// know fills in what the email and its part index tell.
func (r *searcher) know(c *candidate) error {
	c.Level = search.Index
	if t := c.mail.email.GetThread(); t != 0 {
		c.ThreadID = mailbox.ObjectID('T', t)
	}
	m := c.mail
	if len(m.overlay.Cuts) == 0 && !touchesEnvelope(m.overlay.Prefix) {
		if c.Envelope = message.EnvelopeOf(m.email.GetPartIndex()); c.Envelope != nil {
			c.Cut, _ = message.ShownOf(m.email.GetPartIndex())
		}
	}
	if c.Envelope == nil {
		var err error
		if c.Envelope, err = r.mails.envelope(m); err != nil {
			return err
		}
		ix, err := r.mails.indexOf(m)
		if err != nil {
			return err
		}
		c.Cut = ix.WithOverlay(m.overlay).Cut(c.Envelope)
	}
	if !r.byIndex {
		return nil
	}
	ix, err := r.mails.indexOf(m)
	if err != nil {
		return err
	}
	if ix.Flags&message.Truncated == 0 {
		v := ix.WithOverlay(m.overlay)
		c.Field = func(name string) (count int, longest int64) {
			fields := v.Lookup(nil, name)
			for _, f := range fields {
				longest = max(longest, f.Value.Length)
			}
			return len(fields), longest
		}
	}
	return nil
}

// read decides messages by their header or text, which come in one call. A body that cannot be read ends the call: the
// message is left out, and the others behind it are asked for again.
func (r *searcher) read(open []candidate) error {
	for len(open) > 0 {
		n, err := r.readSome(open)
		if err != nil {
			if !r.leaveOut(&open[n], err) {
				return err
			}
			n++
		}
		open = open[n:]
	}
	return nil
}

// readSome is read up to the first error, which is of the n-th message.
func (r *searcher) readSome(open []candidate) (n int, err error) {
	var ranges []*storev1.BodyRange
	data := make([]datum, len(open))
	for i := range open {
		c := &open[i]
		ix, err := r.mails.indexOf(c.mail)
		if err != nil {
			if i == 0 {
				return 0, err
			}
			data, open = data[:i], open[:i]
			break // its turn comes
		}
		want := message.Range{Length: c.mail.size()}
		if r.level == search.Header {
			want = ix.WithOverlay(c.mail.overlay).Header()
		}
		d := datum{mail: c.mail}
		if c.long = r.isLong(ix, want.Length); !c.long {
			d.add(want)
			ranges = d.ask(ranges)
		}
		data[i] = d
	}
	if len(ranges) > 0 {
		stream, err := r.mails.open(ranges)
		if err != nil {
			return 0, err
		}
		defer stream.close()
		r.mails.stream = stream
	}
	for i := range open {
		if open[i].long {
			err = r.decideLong(&open[i])
		} else {
			r.text = r.text[:0]
			if err = r.mails.copySegments(&data[i], func(p []byte) { r.text = append(r.text, p...) }); err == nil {
				err = r.decideWhole(&open[i])
			}
		}
		if err != nil {
			return i, err
		}
	}
	return len(open), nil
}

// isLong tells whether so much of a message is looked through piece by piece.
func (r *searcher) isLong(ix *message.Index, octets int64) bool {
	return octets > searchtext.WholeMax || r.level == search.Text && ix.Coarse()
}

// decideWhole matches a message whose header or text is at hand.
func (r *searcher) decideWhole(c *candidate) error {
	ix, err := r.mails.indexOf(c.mail)
	if err != nil {
		return err
	}
	v := ix.WithOverlay(c.mail.overlay)
	r.fields.Reset(r.text[:min(v.Header().Length, int64(len(r.text)))])
	if r.level == search.Text {
		r.texts.Reset(ix, v, r.text)
	}
	c.Sent = r.fields.SentDate
	r.decide(c, func(n *searchtext.Needle) searchtext.Hit {
		if n.Field != "" {
			return r.fields.Hit(n)
		}
		return r.texts.Hit(n)
	})
	return nil
}

// decideLong matches a message that is read piece by piece, once for all keys.
func (r *searcher) decideLong(c *candidate) error {
	ix, err := r.mails.indexOf(c.mail)
	if err != nil {
		return err
	}
	looks := searchtext.LookFor(r.key.Needles())
	long := searchtext.Long{Open: func(at message.Range) (io.ReadCloser, error) {
		return r.mails.reader(&datum{mail: c.mail, at: at}), nil
	}}
	v := ix.WithOverlay(c.mail.overlay)
	if err := long.Read(v, looks); err != nil {
		return err
	}
	if searchtext.Date.In(c.Cut) {
		sent, ok, err := long.SentDate(v)
		if err != nil {
			return err
		}
		c.Sent = func() (time.Time, bool) { return sent, ok }
	}
	r.decide(c, looks.Hit)
	return nil
}

// decide matches a message that can be looked into.
func (r *searcher) decide(c *candidate, look func(*searchtext.Needle) searchtext.Hit) {
	c.Level, c.Look, c.Loose = r.level, look, false
	if r.key.Match(&c.Message) == search.Yes {
		r.hits = append(r.hits, hit{c.Seq, c.ModSeq, c.Loose})
	}
}
