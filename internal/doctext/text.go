// Package doctext reads the text of attached documents, for FUZZY search alone: PDF (ISO 32000), Office Open XML (ECMA-376) and
// OpenDocument (OASIS). Layout, order and what is drawn instead of written are not its business.
//
// Documents come from strangers. What is unpacked, what is gone through and what is given are bounded in octets, nesting in
// depth, and each step is linear in those: so is the time, and no document takes more memory than a few times its limit.
// What cannot be read has no text.
package doctext

import (
	"bytes"
	"strings"
)

const (
	// DocumentMax is the largest document that is read, octets.
	DocumentMax = 8 << 20
	// unpackMax is how much is unpacked of one document, all its streams together.
	unpackMax = 16 << 20
	// textMax is how much text one document gives.
	textMax = 1 << 20
	// depthMax bounds what lies within each other.
	depthMax = 32
)

// Text is the text of a document, UTF-8, with spaces between words that do not belong together. typ is "application/pdf" or the
// like, in lower case; name is the file's: one that is sent as plain octets is known by it.
func Text(typ, name string, data []byte) (text []byte) {
	if len(data) > DocumentMax {
		return nil
	}
	read := reader(typ, name)
	if read == nil {
		return nil
	}
	// A fault of ours in a document of theirs costs its text.
	defer func() {
		if recover() != nil {
			text = nil
		}
	}()
	return read(data)
}

// Reads tells whether Text would look at such a document.
func Reads(typ, name string) bool { return reader(typ, name) != nil }

// kinds are the readers by the end of a file's name.
var kinds = map[string]func([]byte) []byte{
	"pdf": pdfText, "docx": officeText, "docm": officeText, "xlsx": officeText, "xlsm": officeText, "pptx": officeText, "pptm": officeText,
	"odt": officeText, "ods": officeText, "odp": officeText,
}

func reader(typ, name string) func([]byte) []byte {
	switch {
	case typ == "application/pdf" || typ == "application/x-pdf":
		return pdfText
	case strings.HasPrefix(typ, "application/vnd.openxmlformats-officedocument."), strings.HasPrefix(typ, "application/vnd.oasis.opendocument."):
		return officeText
	case !strings.HasPrefix(typ, "application/"):
		return nil
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return kinds[strings.ToLower(name[i+1:])]
	}
	return nil
}

// output gathers text up to its limit.
type output struct{ b bytes.Buffer }

func (o *output) full() bool { return o.b.Len() >= textMax }

func (o *output) write(text []byte) { o.b.Write(text[:min(len(text), max(textMax-o.b.Len(), 0))]) }

// space ends a word.
func (o *output) space() {
	if n := o.b.Len(); n > 0 && n < textMax && o.b.Bytes()[n-1] != ' ' {
		o.b.WriteByte(' ')
	}
}
