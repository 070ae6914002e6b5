package message

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// taken is what was seen of a text part that may give the preview, while it arrives.
type taken struct {
	on    bool
	part  int32
	raw   []byte
	plain bool // the preview is of text/plain, which is preferred
	tries int
}

func (t taken) kept() taken { return taken{raw: keep(t.raw)} }

// mayTake begins to take the octets of a leaf whose header has ended, if it may give the preview: text of the message itself,
// neither attached nor in a message within.
func (x *Indexer) mayTake(i int32) {
	p := &x.ix.parts[i]
	if x.taken.plain || x.taken.tries == previewTries || p.Type != "text" || p.Disposition == "attachment" {
		return
	}
	if p.Subtype != "plain" && (p.Subtype != "html" || len(x.ix.preview) > 0) {
		return
	}
	for _, o := range x.open {
		if x.ix.parts[o.part].Kind == Message {
			return
		}
	}
	x.taken.on, x.taken.part, x.taken.raw = true, i, x.taken.raw[:0]
	x.taken.tries++
}

// take keeps octets of the part's body. A delimiter may be among them, which endTaken cuts off.
func (x *Indexer) take(p []byte) {
	if t := &x.taken; t.on {
		t.raw = append(t.raw, p[:min(len(p), previewSource-len(t.raw))]...)
	}
}

// endTaken makes the preview of a part that has ended, if it was taken.
func (x *Indexer) endTaken(i int32) {
	t := &x.taken
	if !t.on || t.part != i {
		return
	}
	t.on = false
	p := &x.ix.parts[i]
	raw := t.raw[:min(int64(len(t.raw)), p.Body.Length)]
	before := len(x.ix.preview)
	text := appendPreview(nil, p, raw)
	if len(text) > 0 || before == 0 {
		x.ix.preview = append(x.ix.preview[:0], text...)
	}
	t.plain = p.Subtype == "plain" && len(text) > 0
}

// keepReferences keeps the end of References, from where an id begins.
func (x *Indexer) keepReferences() {
	value := x.fields.first(x.header, numbers["references"])
	if len(value) > 2*MaxReferences {
		value = value[len(value)-2*MaxReferences:]
	}
	b := unfold(x.ix.refs[:0], value)
	if n := len(b) - MaxReferences; n > 0 {
		i := bytes.IndexByte(b[n:], '<')
		if i < 0 {
			i = MaxReferences
		}
		b = append(b[:0], b[n+i:]...)
	}
	x.ix.refs = b
}

// appendPreview appends the preview of a text part, of whose body raw is the beginning.
func appendPreview(dst []byte, p *Part, raw []byte) []byte {
	text, _ := io.ReadAll(NewTextReader(p, bytes.NewReader(raw), 2*previewSource))
	w := previewWriter{dst: dst}
	if p.Subtype == "html" {
		w.html(text)
	} else {
		w.plain(string(text))
	}
	return w.dst
}

// previewWriter writes text on one line, up to PreviewMax characters.
type previewWriter struct {
	dst   []byte
	n     int  // characters
	space bool // white space came since
}

func (w *previewWriter) full() bool { return w.n >= PreviewMax }

// write appends text with each run of white space as one space, and without what cannot be seen.
func (w *previewWriter) write(text string) {
	for _, r := range text {
		switch {
		case unicode.IsSpace(r), r == '\u200b':
			w.space = true
			continue
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u034f':
			continue
		}
		if w.space && w.n > 0 {
			if w.n++; w.n >= PreviewMax {
				return
			}
			w.dst = append(w.dst, ' ')
		}
		w.space = false
		if w.full() {
			return
		}
		w.dst = utf8.AppendRune(w.dst, r)
		w.n++
	}
}

// plain writes plain text: what was written anew, before what it answers and the signature. Where nothing was, the rest.
func (w *previewWriter) plain(text string) {
	kept := newText(text)
	if len(kept) == 0 {
		for line := range strings.Lines(text) {
			kept = append(kept, strings.TrimLeft(line, "> \t"))
		}
	}
	for _, line := range kept {
		if w.full() {
			return
		}
		w.write(line)
		w.space = true
	}
}

// newText is the lines of a text without quotations, the lines that announce these, and signature.
func newText(text string) []string {
	var kept []string
	blank := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case line == "-- ", line == "--", strings.HasPrefix(trimmed, "-----Original Message"), strings.HasPrefix(trimmed, "-----BEGIN PGP SIGNATURE"):
			return kept
		case strings.HasPrefix(trimmed, "-----BEGIN PGP SIGNED"), len(kept) == 0 && strings.HasPrefix(trimmed, "Hash: "):
		case trimmed == "":
			blank = true
		case trimmed[0] == '>':
			kept = withoutAnnouncement(kept)
		case isRule(trimmed):
		default:
			if blank && len(kept) > 0 {
				kept[len(kept)-1] += "\n"
			}
			blank = false
			kept = append(kept, line)
		}
	}
	return kept
}

// withoutAnnouncement drops "On … wrote:", on one line or two, before a quotation.
func withoutAnnouncement(kept []string) []string {
	n := len(kept)
	if n == 0 || !strings.HasSuffix(strings.TrimSpace(kept[n-1]), ":") {
		return kept
	}
	kept = kept[:n-1]
	if n > 1 && !strings.HasSuffix(kept[n-2], "\n") && strings.HasPrefix(strings.TrimSpace(kept[n-2]), "On ") {
		kept = kept[:n-2]
	}
	return kept
}

// isRule tells of a line of nothing but strokes.
func isRule(line string) bool {
	return len(line) >= 3 && strings.Trim(line, "-_=*~#+ ") == ""
}
