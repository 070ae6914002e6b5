package imap

import (
	"bytes"
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
	// open are the messages of the chunk that are not decided, in order; hits those that match.
	open []candidate
	hits []hit
}

type candidate struct {
	search.Message
	email uint64
	mail  *mail
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
	const want = view.WantUID | view.WantFlags | view.WantModSeq | view.WantSize | view.WantReceived | view.WantEmail
	if err := s.sel.snap.Walk(s.sel.snap.All(), want, r.chunk); err != nil {
		return nil, err
	}
	return &r.found, nil
}

// chunk decides the messages of one chunk.
func (r *searcher) chunk(seq uint32, cols *view.Columns, lo, hi int) error {
	r.open, r.hits = r.open[:0], r.hits[:0]
	var m search.Message
	for i := lo; i < hi; i, seq = i+1, seq+1 {
		m = search.Message{
			Seq: seq, UID: cols.UIDs[i], Flags: cols.Flags[i], Recent: r.s.isRecent(cols.UIDs[i]), ModSeq: cols.ModSeqs[i],
			Size: cols.Sizes[i], Received: cols.Received[i], EmailID: r.emailID(cols.Emails[i]),
		}
		switch r.key.Match(&m) {
		case search.Yes:
			r.hits = append(r.hits, hit{seq, m.ModSeq})
		case search.Maybe:
			r.open = append(r.open, candidate{Message: m, email: uint64(cols.Emails[i])})
		}
	}
	if len(r.open) > 0 {
		if err := r.deeper(); err != nil {
			return err
		}
	}
	r.collect()
	return nil
}

// emailID is written only for who asks.
func (r *searcher) emailID(id mailbox.EmailID) string {
	if !r.byEmailID {
		return ""
	}
	return mailbox.ObjectID('M', uint64(id))
}

// collect adds the hits of a chunk, which came in the order of levels, in the order of messages.
func (r *searcher) collect() {
	slices.SortFunc(r.hits, func(a, b hit) int { return cmp.Compare(a.seq, b.seq) })
	for _, h := range r.hits {
		r.found.seqs = r.found.seqs.Add(h.seq)
		r.found.modSeq = max(r.found.modSeq, h.modSeq)
	}
}

// deeper decides the open messages by what lies deeper.
func (r *searcher) deeper() error {
	ids := r.mails.ids[:0]
	for i := range r.open {
		ids = append(ids, r.open[i].email)
	}
	r.mails.ids = ids
	if err := r.mails.load(ids, true); err != nil {
		return err
	}
	rest := r.open[:0]
	for _, c := range r.open {
		if c.mail = r.mails.byID[c.email]; c.mail == nil {
			continue // expunged meanwhile
		}
		if err := r.know(&c); err != nil {
			return err
		}
		switch r.key.Match(&c.Message) {
		case search.Yes:
			r.hits = append(r.hits, hit{c.Seq, c.ModSeq})
		case search.Maybe:
			rest = append(rest, c)
		}
	}
	r.open = rest
	for len(r.open) > 0 {
		n := min(len(r.open), searchBatch)
		if err := r.read(r.open[:n]); err != nil {
			return err
		}
		r.open = r.open[n:]
	}
	r.open = rest[:0]
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
	var text []byte
	for i := range open {
		c := &open[i]
		text = text[:0]
		if err := r.mails.copySegments(&data[i], func(p []byte) { text = append(text, p...) }); err != nil {
			return err
		}
		if err := r.decide(c, text); err != nil {
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
		t := &texts{index: ix, view: v, text: text}
		c.InText, c.InHeaders = t.inText, t.inHeaders
	}
	if r.key.Match(&c.Message) == search.Yes {
		r.hits = append(r.hits, hit{c.Seq, c.ModSeq})
	}
	return nil
}

// texts looks into one message; what is decoded is kept for further keys.
type texts struct {
	index *message.Index
	view  message.View
	text  []byte // the message as readers see it, or its beginning

	folded  [][]byte // of the text parts
	decoded bool
	headers [][]byte
	parsed  bool
}

// slice is a section of the message, as far as it was read.
func (t *texts) slice(r message.Range) []byte {
	from := min(r.Offset, int64(len(t.text)))
	return t.text[from:min(r.End(), int64(len(t.text)))]
}

// inText tells whether a text part holds a folded string (RFC 9051 §6.4.4 BODY).
func (t *texts) inText(what []byte) bool {
	if !t.decoded {
		t.decoded = true
		t.index.Walk(func(path []int, p *message.Part) bool {
			if p.Kind == message.Leaf && (p.Type == "text" || p.Type == "message") {
				t.folded = append(t.folded, t.fold(p))
			}
			return true
		})
	}
	for _, f := range t.folded {
		if bytes.Contains(f, what) {
			return true
		}
	}
	return false
}

// fold decodes and folds a part's text.
func (t *texts) fold(p *message.Part) []byte {
	raw := t.slice(t.view.Overlay.SeenRange(p.Body))
	return search.FoldReader(message.NewTextReader(p, bytes.NewReader(raw), textMax), len(raw))
}

// inHeaders tells whether a header, the message's or a part's, holds a folded string.
func (t *texts) inHeaders(what []byte) bool {
	if !t.parsed {
		t.parsed = true
		t.addHeader(t.slice(t.view.Header()))
		t.index.Walk(func(path []int, p *message.Part) bool {
			if len(path) > 0 && p.Header.Length > 0 && p.Header.Offset > 0 {
				t.addHeader(t.slice(t.view.Overlay.SeenRange(p.Header)))
			}
			return true
		})
	}
	for _, h := range t.headers {
		if bytes.Contains(h, what) {
			return true
		}
	}
	return false
}

// addHeader keeps a header's fields, decoded and folded.
func (t *texts) addHeader(header []byte) {
	var f []byte
	message.EachField(header, func(name, value []byte) bool {
		f = search.Fold(f, name)
		f = append(f, ':')
		f = search.Fold(f, []byte(message.DecodeValue(value)))
		f = append(f, '\n')
		return true
	})
	t.headers = append(t.headers, f)
}
