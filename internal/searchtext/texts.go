package searchtext

import (
	"bytes"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/doctext"
	"github.com/mailfarm/mailfarm/internal/message"
)

// Texts looks into one message, which it holds and of which it keeps for further keys what is decoded: one of at most WholeMax
// octets; see IsLong.
type Texts struct {
	index *message.Index
	view  message.View
	text  []byte // the message as readers see it

	arena   []byte // memory for what is folded
	parts   texts
	headers texts
	loose   texts
}

// texts are some of a message's, folded, once somebody asked.
type texts struct {
	made bool
	all  [][]byte
}

// Reset makes t look into another message: its index, what is shown and hidden of it, and the message as readers see it.
// What t gave of the last one is no longer valid.
func (t *Texts) Reset(index *message.Index, view message.View, text []byte) {
	*t = Texts{index: index, view: view, text: text, arena: t.arena[:0]}
}

// Hit tells whether the message has what BODY or TEXT look for.
func (t *Texts) Hit(n *Needle) Hit {
	hit := Missed
	in := func(text []byte) bool {
		hit = max(hit, n.In(text))
		return hit == Exactly
	}
	if t.InText(in) || n.Headers && t.InHeaders(in) {
		return Exactly
	}
	if hit == Missed && len(n.Stems) > 0 && t.InLoose(func(text []byte) bool { return HasStems(text, n.Stems) }) {
		return Loosely
	}
	return hit
}

// InText tells whether a text part, folded, holds what is looked for (RFC 9051 §6.4.4 BODY).
func (t *Texts) InText(holds func([]byte) bool) bool {
	return t.parts.any(holds, func() {
		t.eachText(func(p *message.Part) { t.parts.add(t.fold(p)) })
	})
}

// InHeaders tells whether a header, the message's or a part's, decoded and folded, holds what is looked for (TEXT). A file name
// in the form of RFC 2231 is looked into also as people see it.
func (t *Texts) InHeaders(holds func([]byte) bool) bool {
	return t.headers.any(holds, func() {
		t.headers.add(t.header(t.slice(t.view.Header())))
		t.index.Walk(func(path []int, p *message.Part) bool {
			if len(path) > 0 && p.Header.Length > 0 && p.Header.Offset > 0 {
				t.headers.add(t.header(t.slice(t.view.Overlay.SeenRange(p.Header))))
			}
			if name := extendedName(p); name != "" {
				begin := len(t.arena)
				t.arena = Fold(t.arena, []byte(name))
				t.headers.add(t.since(begin))
			}
			return true
		})
	})
}

// extendedName is the file name of a part that its header has in the form of RFC 2231, decoded; else empty.
func extendedName(p *message.Part) string {
	extended := func(q message.Param) bool { return q.Name == "filename*" || q.Name == "name*" }
	if slices.ContainsFunc(p.DispositionParams, extended) || slices.ContainsFunc(p.Params, extended) {
		return p.Filename()
	}
	return ""
}

// InLoose tells whether a text holds what is looked for that only FUZZY looks at: that of HTML as people see it, without its
// tags, and that of attached documents. BODY and TEXT are about the message's own text, as it is written.
func (t *Texts) InLoose(holds func([]byte) bool) bool {
	return t.loose.any(holds, func() {
		t.index.Walk(func(_ []int, p *message.Part) bool {
			switch {
			case p.Kind != message.Leaf:
			case p.Is("text", "html"):
				t.addLoose(visible(t.decode(p)))
			case doctext.Reads(p.Type+"/"+p.Subtype, fileName(p)):
				t.addLoose(t.document(p))
			}
			return true
		})
	})
}

func (t *Texts) addLoose(text []byte) {
	begin := len(t.arena)
	t.arena = Fold(t.arena, text)
	t.loose.add(t.since(begin))
}

// document is the text of an attached document.
func (t *Texts) document(p *message.Part) []byte {
	return textOf(p, bytes.NewReader(t.slice(t.view.Overlay.SeenRange(p.Body))))
}

// textOf reads an attached document.
func textOf(p *message.Part, body io.Reader) []byte {
	r, err := message.NewDecoder(p.Encoding, body)
	if err != nil {
		return nil
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(r, doctext.DocumentMax+1)); err != nil {
		return nil
	}
	return doctext.Text(p.Type+"/"+p.Subtype, fileName(p), b.Bytes())
}

// fileName is what a part would be stored as.
func fileName(p *message.Part) string {
	for _, d := range p.DispositionParams {
		if strings.EqualFold(d.Name, "filename") {
			return message.DecodeWords(d.Value)
		}
	}
	return message.DecodeWords(p.Param("name"))
}

func (s *texts) add(text []byte) { s.all = append(s.all, text) }

// any tells whether one of them holds what is looked for; make makes them the first time.
func (s *texts) any(holds func([]byte) bool, make func()) bool {
	if !s.made {
		s.made = true
		make()
	}
	return slices.ContainsFunc(s.all, holds)
}

// eachText calls f with the parts that are text.
func (t *Texts) eachText(f func(*message.Part)) {
	t.index.Walk(func(_ []int, p *message.Part) bool {
		if p.Kind == message.Leaf && isText(p) {
			f(p)
		}
		return true
	})
}

// slice is a section of the message.
func (t *Texts) slice(r message.Range) []byte {
	from := min(r.Offset, int64(len(t.text)))
	return t.text[from:min(r.End(), int64(len(t.text)))]
}

// since is what was added to the arena.
func (t *Texts) since(begin int) []byte { return t.arena[begin:len(t.arena):len(t.arena)] }

// fold decodes and folds a part's text. Most needs no decoding.
func (t *Texts) fold(p *message.Part) []byte {
	raw := t.slice(t.view.Overlay.SeenRange(p.Body))
	begin := len(t.arena)
	if asItIs(p) {
		t.arena = Fold(t.arena, raw)
	} else {
		t.arena = FoldReader(t.arena, message.NewTextReader(p, bytes.NewReader(raw), math.MaxInt64))
	}
	return t.since(begin)
}

// decode is a part's text; what cannot be decoded ends it.
func (t *Texts) decode(p *message.Part) []byte {
	raw := t.slice(t.view.Overlay.SeenRange(p.Body))
	if asItIs(p) {
		return raw
	}
	var b bytes.Buffer
	b.ReadFrom(message.NewTextReader(p, bytes.NewReader(raw), math.MaxInt64))
	return b.Bytes()
}

// asItIs tells whether a part's text stands for itself.
func asItIs(p *message.Part) bool {
	switch p.Encoding {
	case "", "7bit", "8bit", "binary":
	default:
		return false
	}
	charset := p.Param("charset")
	return charset == "" || strings.EqualFold(charset, "us-ascii") || strings.EqualFold(charset, "utf-8")
}

// header is a header's fields, decoded and folded, a line each.
func (t *Texts) header(header []byte) []byte {
	begin := len(t.arena)
	message.EachField(header, func(name, value []byte) bool {
		t.arena = FoldBlanks(append(Fold(t.arena, name), ':'), value)
		t.arena = FoldValue(t.arena, value)
		t.arena = append(t.arena, '\n')
		return true
	})
	return t.since(begin)
}
