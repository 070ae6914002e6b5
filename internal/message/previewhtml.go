package message

import (
	"bytes"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// unseen are elements whose text nobody reads.
var unseen = map[atom.Atom]bool{
	atom.Head: true, atom.Title: true, atom.Style: true, atom.Script: true, atom.Noscript: true, atom.Template: true, atom.Svg: true,
	atom.Textarea: true, atom.Select: true, atom.Object: true, atom.Iframe: true,
}

// inline are elements between whose neighbours there is no space.
var inline = map[atom.Atom]bool{
	atom.A: true, atom.B: true, atom.I: true, atom.U: true, atom.Em: true, atom.Strong: true, atom.Span: true, atom.Font: true,
	atom.Small: true, atom.Big: true, atom.Sub: true, atom.Sup: true, atom.Code: true, atom.Mark: true, atom.S: true,
}

// html writes the text of HTML: without quotations, unless there is nothing else.
func (w *previewWriter) html(text []byte) {
	w.elements(text, atom.Blockquote)
	if w.n == 0 {
		w.elements(text, 0)
	}
}

// elements writes the text of all elements but unseen ones and those of one more kind.
func (w *previewWriter) elements(text []byte, but atom.Atom) {
	z := html.NewTokenizer(bytes.NewReader(text))
	z.SetMaxBuf(4 * previewSource)
	var hidden atom.Atom
	depth := 0
	for !w.full() {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			return
		case html.TextToken:
			if depth == 0 {
				w.write(string(z.Text()))
			}
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if !inline[a] {
				w.space = true
			}
			switch {
			case depth > 0 && a == hidden && kind == html.StartTagToken:
				depth++
			case depth > 0 && a == hidden && kind == html.EndTagToken, depth > 0 && hidden == atom.Head && a == atom.Body:
				depth--
			case depth == 0 && kind == html.StartTagToken && (unseen[a] || but != 0 && a == but):
				hidden, depth = a, 1
			}
		}
	}
}
