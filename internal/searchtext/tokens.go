package searchtext

import "bytes"

// Tokens reads the form in which ENVELOPE is sent: parentheses, NIL and strings.
type Tokens struct {
	Rest []byte
	Text []byte
	own  []byte
}

// Next is '(', ')', 's' for a string, which Text is, 'n' for NIL; 0 at the end and for what is none of these.
func (t *Tokens) Next() byte {
	for len(t.Rest) > 0 && t.Rest[0] == ' ' {
		t.Rest = t.Rest[1:]
	}
	if len(t.Rest) == 0 {
		return 0
	}
	switch c := t.Rest[0]; c {
	case '(', ')':
		t.Rest = t.Rest[1:]
		return c
	case '"':
		return t.quoted()
	case '{':
		return t.literal()
	}
	if bytes.HasPrefix(t.Rest, []byte("NIL")) {
		t.Rest, t.Text = t.Rest[3:], nil
		return 'n'
	}
	t.Rest = nil
	return 0
}

func (t *Tokens) quoted() byte {
	escaped := false
	for i := 1; i < len(t.Rest); i++ {
		switch t.Rest[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			t.Text = t.Rest[1:i]
			t.Rest = t.Rest[i+1:]
			if escaped {
				t.unescape()
			}
			return 's'
		}
	}
	t.Rest = nil
	return 0
}

func (t *Tokens) unescape() {
	t.own = t.own[:0]
	for i := 0; i < len(t.Text); i++ {
		if t.Text[i] == '\\' && i+1 < len(t.Text) {
			i++
		}
		t.own = append(t.own, t.Text[i])
	}
	t.Text = t.own
}

func (t *Tokens) literal() byte {
	n, i := 0, 1
	for ; i < len(t.Rest) && t.Rest[i] >= '0' && t.Rest[i] <= '9' && n < 1<<30; i++ {
		n = n*10 + int(t.Rest[i]-'0')
	}
	rest, ok := bytes.CutPrefix(t.Rest[i:], []byte("}\r\n"))
	if !ok || n > len(rest) {
		t.Rest = nil
		return 0
	}
	t.Text, t.Rest = rest[:n], rest[n:]
	return 's'
}

// Skip passes over a list whose parenthesis was read.
func (t *Tokens) Skip() {
	for depth := 1; depth > 0; {
		switch t.Next() {
		case '(':
			depth++
		case ')':
			depth--
		case 0:
			return
		}
	}
}
