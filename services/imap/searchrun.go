package imap

import (
	"cmp"
	"context"
	"slices"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/search"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
)

const (
	// searchMax is how much of one message is looked through, octets.
	searchMax = 16 << 20
	// textMax is how much of one part's text is, once decoded.
	textMax = 8 << 20
	// searchBatch is how many bodies are asked for in one call.
	searchBatch = 64
)

// searcher is one SEARCH under way: each chunk is decided by its columns as far as they go, then what is still open by the
// part index, then by the text.
type searcher struct {
	s     *session
	key   *search.Key
	level search.Level // the deepest that key may ask for
	// byEmailID and byIndex tell that key looks at these.
	byEmailID, byIndex bool
	mails              *mails
	found              found
	hits               []hit // of the batch
	open               []candidate
	text               []byte
	arena              []byte
}

// candidate is a message that is not decided yet.
type candidate struct {
	search.Message
	mail *mail
}

type hit struct {
	seq    uint32
	modSeq mailbox.ModSeq
}

// run looks through the selected mailbox.
func (s *session) run(ctx context.Context, key *search.Key) (*found, error) {
	r := &searcher{
		s: s, key: key, level: key.Level(), byEmailID: key.UsesEmailID(), byIndex: key.UsesIndex(), mails: s.newMails(),
	}
	defer r.mails.close()
	stop := context.AfterFunc(ctx, r.mails.cancel)
	defer stop()
	w := &walk{
		snap: s.sel.snap, seqs: s.sel.snap.All(), index: true, pick: r.pick, each: r.batch,
		columns: view.WantUID | view.WantFlags | view.WantModSeq | view.WantSize | view.WantReceived | view.WantEmail,
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
		Size: cols.Sizes[i], Received: cols.Received[i],
	}
	if r.byEmailID {
		m.EmailID = mailbox.ObjectID('M', uint64(cols.Emails[i]))
	}
}

// pick decides a message by its columns; false where that is all there is to it. It runs beside batch.
func (r *searcher) pick(b *batch, seq uint32, i int) bool {
	var m search.Message
	r.message(&m, b, seq, i)
	switch r.key.Match(&m) {
	case search.Yes:
		b.hits = append(b.hits, hit{seq, m.ModSeq})
	case search.Maybe:
		return true
	}
	return false
}

// batch decides the messages of one chunk that are still open, and collects what was found in the order of messages.
func (r *searcher) batch(b *batch) error {
	r.hits = b.hits
	if len(b.rows) > 0 {
		if err := r.deeper(b); err != nil {
			return err
		}
		slices.SortFunc(r.hits, func(a, b hit) int { return cmp.Compare(a.seq, b.seq) })
	}
	for _, h := range r.hits {
		r.found.seqs = r.found.seqs.Add(h.seq)
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
			return err
		}
		switch r.key.Match(&c.Message) {
		case search.Yes:
			r.hits = append(r.hits, hit{c.Seq, c.ModSeq})
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

// know fills in what the email and its part index tell.
func (r *searcher) know(c *candidate) error {
	c.Level = search.Index
	if t := c.mail.email.GetThread(); t != 0 {
		c.ThreadID = mailbox.ObjectID('T', t)
	}
	m := c.mail
	if len(m.overlay.Cuts) == 0 && !touchesEnvelope(m.overlay.Prefix) {
		c.Envelope = message.EnvelopeOf(m.email.GetPartIndex())
	}
	if c.Envelope == nil {
		var err error
		if c.Envelope, err = r.mails.envelope(m); err != nil {
			return err
		}
	}
	if !r.byIndex {
		return nil
	}
	ix, err := r.mails.indexOf(m)
	if err != nil {
		return err
	}
	v := ix.WithOverlay(m.overlay)
	c.Sent, c.HasSent = v.SentDate()
	if ix.Flags&message.Truncated == 0 {
		c.HasField = func(name string) bool { return len(v.Lookup(nil, name)) > 0 }
	}
	return nil
}

// read decides messages by their header or text, which come in one call.
func (r *searcher) read(open []candidate) error {
	var ranges []*storev1.BodyRange
	data := make([]datum, len(open))
	for i := range open {
		c := &open[i]
		d := datum{mail: c.mail}
		want := message.Range{Length: min(c.mail.size(), searchMax)}
		if r.level == search.Header {
			ix, err := r.mails.indexOf(c.mail)
			if err != nil {
				return err
			}
			want = ix.WithOverlay(c.mail.overlay).Header()
			want.Length = min(want.Length, searchMax)
		}
		d.add(want)
		ranges = d.ask(ranges)
		data[i] = d
	}
	if len(ranges) > 0 {
		stream, err := r.mails.open(ranges)
		if err != nil {
			return err
		}
		defer stream.close()
		r.mails.stream = stream
	}
	for i := range open {
		r.text = r.text[:0]
		if err := r.mails.copySegments(&data[i], func(p []byte) { r.text = append(r.text, p...) }); err != nil {
			return err
		}
		if err := r.decide(&open[i], r.text); err != nil {
			return err
		}
	}
	return nil
}

// decide matches one message whose header or text was read.
func (r *searcher) decide(c *candidate, text []byte) error {
	ix, err := r.mails.indexOf(c.mail)
	if err != nil {
		return err
	}
	v := ix.WithOverlay(c.mail.overlay)
	c.Level = r.level
	c.Header = text[:min(v.Header().Length, int64(len(text)))]
	if c.Level == search.Text {
		t := &texts{index: ix, view: v, text: text, arena: r.arena[:0]}
		c.InText, c.InHeaders = t.inText, t.inHeaders
		defer func() { r.arena = t.arena }()
	}
	if r.key.Match(&c.Message) == search.Yes {
		r.hits = append(r.hits, hit{c.Seq, c.ModSeq})
	}
	return nil
}
