package imapsource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of what one answer may hold in memory; bodies do not count, they pass through.
const (
	maxWord   = 32 << 20 // an ESEARCH of a folder that has as many holes as messages
	maxString = 1 << 20
	maxValues = 1 << 16
	maxDepth  = 32
)

// errSyntax is what no server may say; the connection is of no use behind it.
var errSyntax = errors.New("an answer that is no IMAP")

// value is a piece of an answer: a word, a string, a list, or NIL, which is a value without anything.
type value struct {
	text   string
	list   []value
	isList bool
	isNil  bool
}

// response is one answer.
type response struct {
	tag, name string
	// number is that before the name: * 5 EXISTS.
	number uint32
	// code and text are those of OK, NO, BAD, BYE and PREAUTH.
	code, text string
	values     []value
	numbers    []uint32 // of SEARCH
	message    *Message // of FETCH
	failed     error    // of whom a body was given to
}

// bodyFunc takes a body, of a message of which is known what was told before it; what it does not read is passed over.
type bodyFunc func(m *Message, size int64, r io.Reader) error

// response reads one answer.
func (c *Conn) response(bodies bodyFunc) (*response, error) {
	tag, err := c.word()
	if err != nil {
		return nil, err
	}
	r := &response{tag: tag}
	if tag == "+" {
		r.text, err = c.line()
		return r, err
	}
	if err := c.space(); err != nil {
		return nil, err
	}
	if r.name, err = c.word(); err != nil {
		return nil, err
	}
	if n, err := strconv.ParseUint(r.name, 10, 32); err == nil && tag == "*" {
		r.number = uint32(n)
		if err := c.space(); err != nil {
			return nil, err
		}
		if r.name, err = c.word(); err != nil {
			return nil, err
		}
	}
	r.name = strings.ToUpper(r.name)
	switch r.name {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		r.text, err = c.line()
		r.text = strings.TrimSpace(r.text)
		if rest, ok := strings.CutPrefix(r.text, "["); ok {
			r.code, _, _ = strings.Cut(rest, "]")
		}
		return r, err
	case "SEARCH":
		r.numbers, err = c.searched()
		return r, err
	case "FETCH":
		if err := c.space(); err != nil {
			return nil, err
		}
		if err := c.fetched(r, bodies); err != nil {
			return nil, err
		}
		_, err = c.line()
		return r, err
	}
	r.values, err = c.values()
	return r, err
}

// line reads what is left of a line.
func (c *Conn) line() (string, error) {
	var b []byte
	for {
		part, err := c.r.ReadSlice('\n')
		b = append(b, part...)
		if err == nil {
			return string(bytes.TrimRight(b, "\r\n")), nil
		}
		if err.Error() != "bufio: buffer full" {
			return "", broken(err)
		}
		if len(b) > maxString {
			return "", fmt.Errorf("%w: a line of more than %d octets", errSyntax, maxString)
		}
	}
}

// broken is the end of a connection amid an answer.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *Conn) peek() (byte, error) {
	b, err := c.r.Peek(1)
	if err != nil {
		return 0, broken(err)
	}
	return b[0], nil
}

// space passes over spaces. QUIRK: some servers write two, or one before the end of a line or list.
func (c *Conn) space() error {
	for {
		b, err := c.peek()
		if err != nil {
			return err
		}
		if b != ' ' {
			return nil
		}
		c.r.Discard(1)
	}
}

// word reads up to a space, a bracket or the end of a line; the one in [] may have them.
func (c *Conn) word() (string, error) {
	var b []byte
	depth := 0
	for {
		x, err := c.peek()
		if err != nil {
			return "", err
		}
		if x == '\r' || x == '\n' || depth == 0 && (x == ' ' || x == '(' || x == ')') {
			return string(b), nil
		}
		switch {
		case x == '[' && isSection(b):
			depth++
		case x == ']':
			depth = max(0, depth-1)
		}
		if b = append(b, x); len(b) > maxWord {
			return "", fmt.Errorf("%w: a word of more than %d octets", errSyntax, maxWord)
		}
		c.r.Discard(1)
	}
}

// isSection tells of the items whose brackets have spaces within: BODY[HEADER.FIELDS (SUBJECT)].
func isSection(b []byte) bool {
	return bytes.EqualFold(b, []byte("BODY")) || bytes.EqualFold(b, []byte("BINARY")) || bytes.EqualFold(b, []byte("BINARY.SIZE"))
}

// values reads to the end of a line.
func (c *Conn) values() (list []value, err error) {
	for {
		if err := c.space(); err != nil {
			return nil, err
		}
		switch b, err := c.peek(); {
		case err != nil:
			return nil, err
		case b == '\r' || b == '\n':
			_, err := c.line()
			return list, err
		case b == ')': // QUIRK: one too many
			c.r.Discard(1)
			continue
		}
		v, err := c.value(0)
		if err != nil {
			return nil, err
		}
		if list = append(list, v); len(list) > maxValues {
			return nil, fmt.Errorf("%w: more than %d values", errSyntax, maxValues)
		}
	}
}

func (c *Conn) value(depth int) (v value, err error) {
	b, err := c.peek()
	if err != nil {
		return v, err
	}
	switch b {
	case '(':
		c.r.Discard(1)
		v.isList = true
		for {
			if err := c.space(); err != nil {
				return v, err
			}
			switch b, err := c.peek(); {
			case err != nil:
				return v, err
			case b == ')':
				c.r.Discard(1)
				return v, nil
			case b == '\r' || b == '\n' || depth == maxDepth || len(v.list) == maxValues:
				return v, fmt.Errorf("%w: a list that does not end", errSyntax)
			}
			item, err := c.value(depth + 1)
			if err != nil {
				return v, err
			}
			v.list = append(v.list, item)
		}
	case '"':
		v.text, err = c.quoted()
		return v, err
	}
	if announced, err := c.literalNext(); err != nil {
		return v, err
	} else if announced {
		n, err := c.literal()
		if err != nil {
			return v, err
		}
		if n > maxString {
			return v, fmt.Errorf("%w: a string of %d octets", errSyntax, n)
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(c.r, text); err != nil {
			return v, broken(err)
		}
		v.text = string(text)
		return v, nil
	}
	v.text, err = c.word()
	v.isNil = strings.EqualFold(v.text, "NIL")
	return v, err
}

func (c *Conn) quoted() (string, error) {
	c.r.Discard(1)
	var b []byte
	for {
		x, err := c.r.ReadByte()
		if err != nil {
			return "", broken(err)
		}
		switch x {
		case '"':
			return string(b), nil
		case '\n':
			return "", fmt.Errorf("%w: a string that does not end", errSyntax)
		case '\\':
			if x, err = c.r.ReadByte(); err != nil {
				return "", broken(err)
			}
		}
		if b = append(b, x); len(b) > maxString {
			return "", fmt.Errorf("%w: a string of more than %d octets", errSyntax, maxString)
		}
	}
}

// literalNext tells whether a literal is announced. One of literal8 begins with "~{"; an atom may begin with "~" alone (RFC 9051 §9).
func (c *Conn) literalNext() (bool, error) {
	b, err := c.peek()
	if err != nil || b != '~' {
		return b == '{', err
	}
	begin, err := c.r.Peek(2)
	if err != nil {
		return false, broken(err)
	}
	return begin[1] == '{', nil
}

// literal reads the announcement of one, up to its first octet (RFC 9051 §4.3).
func (c *Conn) literal() (int64, error) {
	head, err := c.line()
	if err != nil {
		return 0, err
	}
	digits, ok := strings.CutPrefix(strings.TrimPrefix(head, "~"), "{")
	digits, end := strings.CutSuffix(digits, "}")
	n, err := strconv.ParseInt(strings.TrimSuffix(digits, "+"), 10, 64)
	if !ok || !end || err != nil || n < 0 {
		return 0, fmt.Errorf("%w: literal %.40q", errSyntax, head)
	}
	return n, nil
}

// searched reads the numbers of SEARCH (RFC 3501 §7.2.5), which may be a million.
func (c *Conn) searched() (list []uint32, err error) {
	for {
		if err := c.space(); err != nil {
			return nil, err
		}
		switch b, err := c.peek(); {
		case err != nil:
			return nil, err
		case b == '\r' || b == '\n':
			_, err := c.line()
			return list, err
		case b == '(': // (MODSEQ n)
			if _, err := c.value(0); err != nil {
				return nil, err
			}
			continue
		}
		w, err := c.word()
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(w, 10, 32)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%w: SEARCH tells %.40q", errSyntax, w)
		}
		list = append(list, uint32(n))
	}
}
