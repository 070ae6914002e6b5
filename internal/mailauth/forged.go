package mailauth

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Forged says which fields of an arriving message pretend to come from us and have to go (RFC 8601 §5).
//
// It errs on the side of cutting: a field is read as the most lenient reader would read it.
type Forged struct {
	ids   []string // domain names in lower case
	names []string // in lower case
}

// authResults is the name of the field in lower case.
const authResults = "authentication-results"

// NewForged cuts Authentication-Results fields whose authserv-id is one of ids or below one, and all fields of the given
// names, which we alone may set.
func NewForged(ids []string, names []string) (*Forged, error) {
	f := &Forged{}
	for _, id := range ids {
		n, err := resolve.Name(id)
		if err != nil {
			return nil, fmt.Errorf("authserv-id: %w", err)
		}
		f.ids = append(f.ids, n)
	}
	for _, n := range names {
		f.names = append(f.names, strings.ToLower(n))
	}
	return f, nil
}

// field tells whether a whole field, or the beginning of one that is longer, is to go.
func (f *Forged) field(raw []byte, longer bool) bool {
	for len(raw) > 0 {
		// QUIRK: Python's email package and others end a line at a bare CR.
		end := bareCR(raw)
		name := raw
		if end >= 0 {
			name = raw[:end]
		}
		if colon := bytes.IndexByte(name, ':'); colon >= 0 && f.named(name[:colon], raw[colon+1:], longer) {
			return true
		}
		if end < 0 {
			return false
		}
		raw = raw[end+1:]
	}
	return false
}

func bareCR(b []byte) int {
	for i := 0; ; i++ {
		j := bytes.IndexByte(b[i:], '\r')
		if j < 0 {
			return -1
		}
		if i += j; i+1 >= len(b) || b[i+1] != '\n' {
			return i
		}
	}
}

// named tells whether a field is to go by what precedes its colon and what follows.
func (f *Forged) named(before, value []byte, longer bool) bool {
	// The name as a reader sees it that drops what does not print.
	var buf [32]byte
	name := buf[:0]
	for _, c := range before {
		if c > ' ' && c < 0x7f {
			if len(name) == len(buf) {
				return false // longer than all we look for
			}
			name = append(name, lower(c))
		}
	}
	if string(name) == authResults {
		if len(value) > maxHead {
			value, longer = value[:maxHead], true
		}
		return f.claims(value, longer)
	}
	for _, n := range f.names {
		if string(name) == n {
			return true
		}
	}
	return false
}

// maxWords is how many words may stand where an id and a version belong.
const maxWords = 32

// claims tells whether the value of an Authentication-Results field names one of our ids, or might for some reader.
func (f *Forged) claims(value []byte, longer bool) bool {
	id, sound := serviceID(value)
	if !sound || longer && bytes.IndexByte(value, ';') < 0 {
		return true
	}
	if bytes.Contains(id, []byte("=?")) {
		return true // an encoded word has no place here, and some readers decode it
	}
	words := bytes.FieldsFunc(id, func(r rune) bool { return r == ' ' || r == '/' || r == ',' })
	if len(words) > maxWords {
		return true
	}
	for _, word := range words {
		if f.ours(string(word)) {
			return true
		}
	}
	return false
}

func (f *Forged) ours(word string) bool {
	n, err := resolve.Name(strings.Trim(word, "."))
	if err != nil {
		n = strings.ToLower(word)
	}
	for _, id := range f.ids {
		if n == id || len(n) > len(id) && n[len(n)-len(id)-1] == '.' && strings.HasSuffix(n, id) {
			return true
		}
	}
	return false
}

// serviceID is what stands before the first semicolon, without comments, quotes and what does not print; white space is one
// space. It is not sound where a comment or quoted string does not end.
func serviceID(value []byte) (id []byte, sound bool) {
	id = make([]byte, 0, 64)
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(value):
			i++
			if quoted {
				id = append(id, value[i])
			}
		case quoted:
			if c == '"' {
				quoted = false
			} else if c > ' ' {
				id = append(id, c)
			}
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '"':
			quoted = true
		case c == ';':
			return id, true
		case wsp(c) || c == '\r' || c == '\n':
			id = append(id, ' ')
		case c > ' ' && c != 0x7f:
			id = append(id, c)
		}
	}
	return id, depth == 0 && !quoted
}
