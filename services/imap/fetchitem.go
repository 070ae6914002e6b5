package imap

import (
	"strconv"
	"strings"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// itemKind is what a FETCH item asks for.
type itemKind uint8

const (
	itemUID itemKind = iota
	itemFlags
	itemInternalDate
	itemSize
	itemModSeq
	itemEmailID
	itemThreadID
	itemPreview
	itemSaveDate
	itemEnvelope
	itemBody // BODY without extensions
	itemBodyStructure
	itemSection // BODY[…], RFC822 and its kin
	itemBinary
	itemBinarySize
)

// Limits of FETCH.
const (
	itemsMax      = 200
	pathMax       = 100 // numbers of a part
	fieldNamesMax = 200 // of HEADER.FIELDS
)

// item is one FETCH item (RFC 9051 §6.4.5).
type item struct {
	kind itemKind
	// label is how the response names it.
	label string
	path  []int
	spec  message.Spec
	// fields and not select of a header; selects tells that they do.
	fields  []string
	not     bool
	selects bool
	// partial cuts octets out: length -1 is none.
	from, length int64
	// sets tells that \Seen is set.
	sets bool
}

var simpleItems = map[string]item{
	"UID":           {kind: itemUID},
	"FLAGS":         {kind: itemFlags},
	"INTERNALDATE":  {kind: itemInternalDate},
	"RFC822.SIZE":   {kind: itemSize},
	"MODSEQ":        {kind: itemModSeq},
	"EMAILID":       {kind: itemEmailID},
	"THREADID":      {kind: itemThreadID},
	"PREVIEW":       {kind: itemPreview},
	"SAVEDATE":      {kind: itemSaveDate},
	"ENVELOPE":      {kind: itemEnvelope},
	"BODY":          {kind: itemBody},
	"BODYSTRUCTURE": {kind: itemBodyStructure},
	"RFC822":        {kind: itemSection, spec: message.Whole, sets: true},
	"RFC822.HEADER": {kind: itemSection, spec: message.Header},
	"RFC822.TEXT":   {kind: itemSection, spec: message.Text, sets: true},
}

var macros = map[string][]string{
	"ALL":  {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"},
	"FAST": {"FLAGS", "INTERNALDATE", "RFC822.SIZE"},
	"FULL": {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"},
}

// parseItems reads one item, a macro, or items in parentheses.
func parseItems(l *wire.Lexer) []item {
	var items []item
	if l.Peek() == '(' {
		l.List(func() { items = addItem(items, parseItem(l, string(l.Letters())), l) })
		if len(items) == 0 {
			l.Fail("nothing to fetch")
		}
		return items
	}
	name := string(l.Letters())
	if macro, ok := macros[name]; ok {
		for _, name := range macro {
			items = append(items, named(name))
		}
		return items
	}
	return addItem(nil, parseItem(l, name), l)
}

func named(name string) item {
	it := simpleItems[name]
	it.label, it.length = name, -1
	return it
}

// addItem appends an item unless it is there already: a response names each once.
func addItem(items []item, it item, l *wire.Lexer) []item {
	if len(items) >= itemsMax {
		l.Fail("too many items")
	}
	for _, have := range items {
		if have.label == it.label {
			return items
		}
	}
	return append(items, it)
}

func parseItem(l *wire.Lexer, name string) item {
	if l.Peek() == '[' {
		switch name {
		case "BODY", "BODY.PEEK":
			return parseSection(l, item{kind: itemSection, sets: name == "BODY"})
		case "BINARY", "BINARY.PEEK":
			return parseBinary(l, item{kind: itemBinary, sets: name == "BINARY"}, "BINARY")
		case "BINARY.SIZE":
			return parseBinary(l, item{kind: itemBinarySize}, name)
		}
	}
	if _, ok := simpleItems[name]; !ok {
		l.Fail("unknown item")
		return item{}
	}
	if name == "PREVIEW" {
		acceptLazy(l)
	}
	return named(name)
}

// parseSection reads "[" section "]" and a partial.
func parseSection(l *wire.Lexer, it item) item {
	label := []byte("BODY[")
	l.Expect('[')
	label = parsePath(l, &it, label)
	if l.Peek() != ']' {
		label = parseSpec(l, &it, label)
	}
	l.Expect(']')
	it.label = string(parsePartial(l, &it, append(label, ']')))
	return it
}

// parsePath reads part numbers.
func parsePath(l *wire.Lexer, it *item, label []byte) []byte {
	for c := l.Peek(); c >= '1' && c <= '9'; c = l.Peek() {
		n := l.Number()
		if n > 1<<30 || len(it.path) >= pathMax {
			l.Fail("bad part number")
			return label
		}
		it.path = append(it.path, int(n))
		if len(it.path) > 1 {
			label = append(label, '.')
		}
		label = strconv.AppendUint(label, uint64(n), 10)
		if l.Peek() != '.' {
			return label
		}
		l.Expect('.')
		if c := l.Peek(); c < '1' || c > '9' {
			if c == ']' || c == 0 {
				l.Fail("bad section")
			}
			return append(label, '.')
		}
	}
	return label
}

// parseSpec reads HEADER, TEXT, MIME, HEADER.FIELDS or HEADER.FIELDS.NOT.
func parseSpec(l *wire.Lexer, it *item, label []byte) []byte {
	name := string(l.Letters())
	label = append(label, name...)
	switch name {
	case "HEADER":
		it.spec = message.Header
	case "TEXT":
		it.spec = message.Text
	case "MIME":
		it.spec = message.MIME
		if len(it.path) == 0 {
			l.Fail("MIME of no part")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		it.spec, it.selects, it.not = message.Header, true, name == "HEADER.FIELDS.NOT"
		l.Space()
		label = append(label, ' ', '(')
		l.List(func() {
			field := l.AString()
			if len(it.fields) >= fieldNamesMax {
				l.Fail("too many fields")
				return
			}
			if len(it.fields) > 0 {
				label = append(label, ' ')
			}
			label = wire.AppendAString(label, field, false)
			it.fields = append(it.fields, strings.ToLower(string(field)))
		})
		label = append(label, ')')
		if len(it.fields) == 0 {
			l.Fail("no fields")
		}
	default:
		l.Fail("bad section")
	}
	return label
}

// parsePartial reads "<" from "." length ">"; the label of a response has only from.
func parsePartial(l *wire.Lexer, it *item, label []byte) []byte {
	it.length = -1
	if !l.Accept('<') {
		return label
	}
	it.from = int64(l.Number64())
	l.Expect('.')
	it.length = int64(l.Number64())
	l.Expect('>')
	if it.length == 0 {
		l.Fail("partial of nothing")
	}
	label = append(label, '<')
	label = strconv.AppendInt(label, it.from, 10)
	return append(label, '>')
}

// parseBinary reads a section of numbers alone (RFC 9051 §6.4.5, RFC 3516).
func parseBinary(l *wire.Lexer, it item, name string) item {
	label := append([]byte(name), '[')
	l.Expect('[')
	label = parsePath(l, &it, label)
	l.Expect(']')
	label = append(label, ']')
	it.length = -1
	if it.kind == itemBinary {
		label = parsePartial(l, &it, label)
	}
	it.label = string(label)
	return it
}

// needs is what items ask of the store.
type needs struct {
	columns view.Want
	// emails: the immutable data; index: with the part index; data: of bodies.
	emails, index, data, sets bool
}

func needsOf(items []item) needs {
	n := needs{columns: view.WantUID}
	for _, it := range items {
		n.sets = n.sets || it.sets
		switch it.kind {
		case itemFlags:
			n.columns |= view.WantFlags
		case itemInternalDate:
			n.columns |= view.WantReceived
		case itemSaveDate:
			n.columns |= view.WantSaved
		case itemSize:
			n.columns |= view.WantSize
		case itemModSeq:
			n.columns |= view.WantModSeq
		case itemEmailID:
			n.columns |= view.WantEmail
		case itemThreadID:
			n.columns |= view.WantEmail
			n.emails = true
		case itemPreview, itemEnvelope, itemBody, itemBodyStructure:
			n.columns |= view.WantEmail
			n.emails, n.index = true, true
		case itemSection, itemBinary, itemBinarySize:
			n.columns |= view.WantEmail | view.WantSize
			// The whole message lies where the email says; anything else is found by the part index.
			whole := it.kind == itemSection && len(it.path) == 0 && it.spec == message.Whole
			n.emails, n.index, n.data = true, n.index || !whole, true
		}
	}
	return n
}
