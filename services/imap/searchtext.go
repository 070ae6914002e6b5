package imap

import (
	"bytes"
	"strings"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/services/imap/internal/search"
)

// texts looks into one message; what is decoded is kept for further keys.
type texts struct {
	index *message.Index
	view  message.View
	text  []byte // the message as readers see it, or its beginning

	arena   []byte   // memory for what is folded
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
	return anyContains(t.folded, what)
}

// fold decodes and folds a part's text. Most needs no decoding.
func (t *texts) fold(p *message.Part) []byte {
	raw := t.slice(t.view.Overlay.SeenRange(p.Body))
	begin := len(t.arena)
	if asItIs(p) {
		t.arena = search.Fold(t.arena, raw[:min(len(raw), textMax)])
	} else {
		t.arena = search.FoldReader(t.arena, message.NewTextReader(p, bytes.NewReader(raw), textMax))
	}
	return t.arena[begin:len(t.arena):len(t.arena)]
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
	return anyContains(t.headers, what)
}

// addHeader keeps a header's fields, decoded and folded.
func (t *texts) addHeader(header []byte) {
	begin := len(t.arena)
	message.EachField(header, func(name, value []byte) bool {
		t.arena = append(search.Fold(t.arena, name), ':')
		t.arena = search.FoldValue(t.arena, value)
		t.arena = append(t.arena, '\n')
		return true
	})
	t.headers = append(t.headers, t.arena[begin:len(t.arena):len(t.arena)])
}

func anyContains(texts [][]byte, what []byte) bool {
	for _, t := range texts {
		if bytes.Contains(t, what) {
			return true
		}
	}
	return false
}
