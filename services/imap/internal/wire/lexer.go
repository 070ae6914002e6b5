package wire

import (
	"bytes"
	"fmt"
)

// NestingMax is how deep parentheses may nest in a command.
const NestingMax = 20

// SyntaxError is a command that does not follow the grammar: BAD.
type SyntaxError struct {
	// Text is for the peer.
	Text string
}

func (e *SyntaxError) Error() string { return e.Text }

// Syntaxf makes a SyntaxError.
func Syntaxf(format string, args ...any) error {
	return &SyntaxError{Text: fmt.Sprintf(format, args...)}
}

// Classes of octets.
const (
	atomChar uint8 = 1 << iota
	astringChar
	listChar
	digitChar
	tagChar
)

var classes = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		switch c {
		case '(', ')', '{', '"', '\\':
		case '%', '*':
			t[c] = listChar
		case ']':
			t[c] = astringChar | listChar | tagChar
		default:
			t[c] = atomChar | astringChar | listChar | tagChar
		}
	}
	t['+'] &^= tagChar
	for c := '0'; c <= '9'; c++ {
		t[c] |= digitChar
	}
	// Octets above 127 are no part of an atom (RFC 9051 §9), but mailbox patterns come with them after UTF8=ACCEPT.
	for c := 0x80; c <= 0xff; c++ {
		t[c] = listChar
	}
	return t
}()

// Lexer takes a command apart. What it returns are slices of the command.
//
// The first fault sticks: every method returns its zero value from then on, and Err tells it.
type Lexer struct {
	b     []byte
	i     int
	depth int
	err   error
}

// Reset begins with another command, which the Lexer may change (it removes the backslashes of quoted strings in place).
func (l *Lexer) Reset(command []byte) { *l = Lexer{b: command} }

// Err is the first fault.
func (l *Lexer) Err() error { return l.err }

// Fail makes text the fault, unless there is one.
func (l *Lexer) Fail(text string) {
	if l.err == nil {
		l.err = &SyntaxError{Text: text}
	}
	l.i = len(l.b)
}

// Peek is the next octet, 0 at the end.
func (l *Lexer) Peek() byte {
	if l.i < len(l.b) {
		return l.b[l.i]
	}
	return 0
}

// PeekAt is the n-th octet from here.
func (l *Lexer) PeekAt(n int) byte {
	if l.i+n < len(l.b) {
		return l.b[l.i+n]
	}
	return 0
}

// Accept takes c if it is next.
func (l *Lexer) Accept(c byte) bool {
	if l.i < len(l.b) && l.b[l.i] == c {
		l.i++
		return true
	}
	return false
}

// Expect takes c.
func (l *Lexer) Expect(c byte) {
	if l.Accept(c) {
		return
	}
	if c == '\n' {
		l.Fail("expected a literal")
		return
	}
	l.Fail("expected " + string(rune(c)))
}

// Space takes the one space between arguments.
func (l *Lexer) Space() {
	if !l.Accept(' ') {
		l.Fail("missing argument")
	}
}

// End is a fault unless the command ends here.
func (l *Lexer) End() {
	if l.i < len(l.b) {
		l.Fail("unexpected argument")
	}
}

// Rest takes everything up to the end.
func (l *Lexer) Rest() []byte {
	rest := l.b[min(l.i, len(l.b)):]
	l.i = len(l.b)
	return rest
}

// Remaining is what Rest would take.
func (l *Lexer) Remaining() []byte { return l.b[min(l.i, len(l.b)):] }

// AtEnd tells whether the command ends here.
func (l *Lexer) AtEnd() bool { return l.i >= len(l.b) }

// Open takes an opening parenthesis and counts the depth.
func (l *Lexer) Open() {
	l.Expect('(')
	if l.depth++; l.depth > NestingMax {
		l.Fail("nested too deeply")
	}
}

// Close takes a closing parenthesis if it is next.
func (l *Lexer) Close() bool {
	if l.Accept(')') {
		l.depth--
		return true
	}
	return l.err != nil
}

// List reads "(" items separated by spaces ")"; an empty list is allowed.
func (l *Lexer) List(item func()) {
	l.Open()
	if l.Close() {
		return
	}
	for l.err == nil {
		item()
		if l.Close() {
			return
		}
		l.Space()
	}
}

func (l *Lexer) span(class uint8) []byte {
	begin := l.i
	for l.i < len(l.b) && classes[l.b[l.i]]&class != 0 {
		l.i++
	}
	return l.b[begin:l.i]
}

// Tag reads a command's tag.
func (l *Lexer) Tag() []byte {
	tag := l.span(tagChar)
	if len(tag) == 0 {
		l.Fail("missing tag")
	}
	return tag
}

// Atom reads an atom.
func (l *Lexer) Atom() []byte {
	a := l.span(atomChar)
	if len(a) == 0 {
		l.Fail("expected an atom")
	}
	return a
}

// Word reads an atom and turns it into upper case.
func (l *Lexer) Word() []byte { return upper(l.Atom()) }

// AcceptWord takes an atom if it is word, which is in upper case, and a space is behind it.
func (l *Lexer) AcceptWord(word string) bool {
	if len(l.b)-l.i <= len(word) || l.b[l.i+len(word)] != ' ' || !equalFold(string(l.b[l.i:l.i+len(word)]), word) {
		return false
	}
	l.i += len(word)
	return true
}

// Letters reads A-Z, digits, "." and "-" in upper case: the names of items, which may have a bracket behind them.
func (l *Lexer) Letters() []byte {
	begin := l.i
	for l.i < len(l.b) {
		c := l.b[l.i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			l.i++
			continue
		}
		break
	}
	if begin == l.i {
		l.Fail("expected a word")
	}
	return upper(l.b[begin:l.i])
}

func upper(b []byte) []byte {
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return b
}

// AString reads an atom or a string.
func (l *Lexer) AString() []byte {
	switch l.Peek() {
	case '"', '{':
		return l.String()
	}
	a := l.span(astringChar)
	if len(a) == 0 {
		l.Fail("expected a string")
	}
	return a
}

// Pattern reads list-mailbox: a string, or an atom with wildcards.
func (l *Lexer) Pattern() []byte {
	switch l.Peek() {
	case '"', '{':
		return l.String()
	}
	a := l.span(listChar)
	if len(a) == 0 {
		l.Fail("expected a mailbox pattern")
	}
	return a
}

// NString reads a string or NIL, which is false.
func (l *Lexer) NString() ([]byte, bool) {
	switch l.Peek() {
	case '"', '{':
		return l.String(), true
	}
	if string(l.Word()) != "NIL" {
		l.Fail("expected a string or NIL")
	}
	return nil, false
}

// String reads a quoted string or a literal. Octets above 127 are let through: who wants UTF-8 looks.
func (l *Lexer) String() []byte {
	switch l.Peek() {
	case '"':
		return l.quoted()
	case '{':
		return l.literal()
	}
	l.Fail("expected a string")
	return nil
}

func (l *Lexer) quoted() []byte {
	l.i++
	begin, to := l.i, l.i
	for l.i < len(l.b) {
		c := l.b[l.i]
		l.i++
		switch c {
		case '"':
			return l.b[begin:to]
		case '\\':
			if c = l.Peek(); c != '"' && c != '\\' {
				l.Fail("bad escape in quoted string")
				return nil
			}
			l.i++
		case '\r', '\n', 0:
			l.Fail("control octet in quoted string")
			return nil
		}
		l.b[to] = c
		to++
	}
	l.Fail("quoted string without end")
	return nil
}

// Value reads a string, a literal8 (RFC 3516 §4.4) or NIL, which is false.
func (l *Lexer) Value() ([]byte, bool) {
	if l.Peek() == '~' && l.PeekAt(1) == '{' {
		l.i++
		return l.octets(), true
	}
	return l.NString()
}

func (l *Lexer) literal() []byte {
	lit := l.octets()
	if bytes.IndexByte(lit, 0) >= 0 {
		l.Fail("NUL in literal")
		return nil
	}
	return lit
}

// octets reads a literal of whatever octets.
func (l *Lexer) octets() []byte {
	l.i++
	n := l.Number64()
	l.Accept('+')
	l.Expect('}')
	l.Accept('\r')
	l.Expect('\n')
	if l.err != nil {
		return nil
	}
	if n > uint64(len(l.b)-l.i) {
		l.Fail("literal cut short")
		return nil
	}
	lit := l.b[l.i : l.i+int(n)]
	l.i += int(n)
	return lit
}

// Announced reads a literal's announcement at the very end of a command that Reader stopped at.
func (l *Lexer) Announced() Literal {
	lit := Literal{Binary: l.Accept('~')}
	l.Expect('{')
	lit.Size = int64(min(l.Number64(), 1<<62))
	lit.NonSync = l.Accept('+')
	l.Expect('}')
	l.Accept('\r')
	l.Expect('\n')
	l.End()
	return lit
}

// Number reads a 32-bit number.
func (l *Lexer) Number() uint32 {
	n := l.Number64()
	if n > 1<<32-1 {
		l.Fail("number too large")
		return 0
	}
	return uint32(n)
}

// Number64 reads a 63-bit number (RFC 9051 §9 number64; RFC 7162 mod-sequence-valzer).
func (l *Lexer) Number64() uint64 {
	d := l.span(digitChar)
	if len(d) == 0 {
		l.Fail("expected a number")
		return 0
	}
	var n uint64
	for _, c := range d {
		if n > (1<<63-1-uint64(c-'0'))/10 {
			l.Fail("number too large")
			return 0
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// Flag reads a flag or keyword, with its backslash.
func (l *Lexer) Flag() []byte {
	begin := l.i
	if l.Accept('\\') {
		if l.Accept('*') {
			l.Fail(`\* cannot be set`)
			return nil
		}
	}
	if len(l.span(atomChar)) == 0 {
		l.Fail("expected a flag")
		return nil
	}
	return l.b[begin:l.i]
}
