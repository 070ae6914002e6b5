package searchtext

import (
	"bytes"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// inline are elements that do not end a word.
var inline = map[atom.Atom]bool{
	atom.A: true, atom.B: true, atom.I: true, atom.U: true, atom.Em: true, atom.Strong: true, atom.Span: true, atom.Font: true,
	atom.Small: true, atom.Big: true, atom.Sub: true, atom.Sup: true, atom.Code: true, atom.Mark: true, atom.S: true,
}

// tokenMax bounds what the HTML tokenizer holds of one tag or text.
const tokenMax = 1 << 20

// visible is the text of HTML as people see it: without tags, scripts and styles, its character references replaced.
func visible(text []byte) []byte {
	z := html.NewTokenizer(bytes.NewReader(text))
	z.SetMaxBuf(tokenMax)
	out := make([]byte, 0, len(text)/2)
	var hidden atom.Atom
	for {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			return out
		case html.TextToken:
			if hidden == 0 {
				out = append(out, z.Text()...)
			}
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if !inline[a] {
				out = append(out, ' ')
			}
			switch {
			case kind == html.StartTagToken && (a == atom.Script || a == atom.Style):
				hidden = a
			case kind == html.EndTagToken && a == hidden:
				hidden = 0
			}
		}
	}
}
