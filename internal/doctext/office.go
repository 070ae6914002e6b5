package doctext

import (
	"encoding/xml"
	"io"
	"strings"
)

// holds tells which files of an office document have text.
func holds(name string) bool {
	switch {
	case name == "content.xml", name == "word/document.xml", name == "xl/sharedStrings.xml", name == "word/footnotes.xml", name == "word/endnotes.xml":
		return true
	case !strings.HasSuffix(name, ".xml"):
		return false
	}
	for _, prefix := range []string{"word/header", "word/footer", "word/comments", "ppt/slides/slide", "ppt/notesSlides/notesSlide", "xl/worksheets/sheet"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// breaks are elements that end a word: paragraphs, cells, line breaks. Runs do not, a word is often made of several.
var breaks = map[string]bool{
	"p": true, "h": true, "br": true, "cr": true, "tab": true, "s": true, "si": true, "c": true, "row": true, "tc": true, "line-break": true,
	"table-cell": true, "list-item": true,
}

// officeText is the text of an office document: what is written in its elements.
func officeText(data []byte) []byte {
	var out output
	left := int64(unpackMax)
	for _, m := range members(data) {
		if !holds(m.name) || left <= 0 || out.full() {
			continue
		}
		counted := &counter{r: m.open(left)}
		elements(counted, &out, strings.HasPrefix(m.name, "xl/worksheets/"))
		left -= counted.n
		out.space()
	}
	return out.b.Bytes()
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// elements writes the character data of an XML file. Of a worksheet that is what lies in inline strings: cells otherwise have
// numbers, or places in the shared strings.
func elements(r io.Reader, out *output, sheet bool) {
	d := xml.NewDecoder(r)
	d.Strict = false
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, io.ErrUnexpectedEOF }
	inline := 0
	for !out.full() {
		token, err := d.RawToken()
		if err != nil {
			return
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Local == "is" {
				inline++
			}
		case xml.CharData:
			if !sheet || inline > 0 {
				out.write(t)
			}
		case xml.EndElement:
			if t.Name.Local == "is" {
				inline--
			}
			if breaks[t.Name.Local] {
				out.space()
			}
		}
	}
}
