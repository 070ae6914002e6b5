package search

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/searchtext"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// KeysMax bounds the keys of one SEARCH.
const KeysMax = 2000

// depthMax bounds NOT, FUZZY and OR within each other, which need no parentheses; a chain of OR is one.
const depthMax = wire.NestingMax * 2

type parser struct {
	l     *wire.Lexer
	keys  int
	depth int
	fuzzy int // FUZZY that we are within
}

// Parse reads search keys up to the end of the command: all of them must match.
func Parse(l *wire.Lexer) *Key {
	p := &parser{l: l}
	and := &Key{op: opAnd}
	for l.Err() == nil {
		and.kids = append(and.kids, p.key())
		if !l.Accept(' ') {
			break
		}
	}
	l.End()
	return and
}

// flagKeys have no argument.
var flagKeys = map[string]Key{
	"ALL": {op: opAll}, "ANSWERED": {op: opFlag, mask: mailbox.Answered}, "DELETED": {op: opFlag, mask: mailbox.Deleted},
	"DRAFT": {op: opFlag, mask: mailbox.Draft}, "FLAGGED": {op: opFlag, mask: mailbox.Flagged},
	"SEEN": {op: opFlag, mask: mailbox.Seen}, "UNANSWERED": {op: opNoFlag, mask: mailbox.Answered},
	"UNDELETED": {op: opNoFlag, mask: mailbox.Deleted}, "UNDRAFT": {op: opNoFlag, mask: mailbox.Draft},
	"UNFLAGGED": {op: opNoFlag, mask: mailbox.Flagged}, "UNSEEN": {op: opNoFlag, mask: mailbox.Seen},
	"SAVEDATESUPPORTED": {op: opAll}, // by every mailbox (RFC 8514 §4.3)
	"NEW":               {op: opNew}, "OLD": {op: opNotRecent}, "RECENT": {op: opRecent},
}

var dateKeys = map[string]op{
	"BEFORE": opBefore, "ON": opOn, "SINCE": opSince,
	"SAVEDBEFORE": opSavedBefore, "SAVEDON": opSavedOn, "SAVEDSINCE": opSavedSince,
	"SENTBEFORE": opSentBefore, "SENTON": opSentOn, "SENTSINCE": opSentSince,
}

var addressKeys = map[string]searchtext.Slot{"FROM": searchtext.From, "TO": searchtext.To, "CC": searchtext.Cc, "BCC": searchtext.Bcc}

// slots are the fields whose text ENVELOPE has as it was written: HEADER of them mostly reads no body. Addresses are not
// among them, which ENVELOPE has taken apart.
var slots = map[string]searchtext.Slot{"subject": searchtext.Subject, "in-reply-to": searchtext.InReplyTo, "message-id": searchtext.MessageID}

// key reads one key.
func (p *parser) key() *Key {
	l := p.l
	if p.keys++; p.keys > KeysMax {
		l.Fail("too many search keys")
	}
	if p.depth++; p.depth > depthMax {
		l.Fail("nested too deeply")
	}
	defer func() { p.depth-- }()
	if l.Err() != nil {
		return &Key{op: opAll}
	}
	switch c := l.Peek(); {
	case c == '(':
		and := &Key{op: opAnd}
		l.List(func() { and.kids = append(and.kids, p.key()) })
		if len(and.kids) == 0 {
			l.Fail("empty parentheses")
		}
		return and
	case c >= '0' && c <= '9', c == '*', c == '$':
		return p.set(false)
	}
	k := p.plain(string(l.Word()))
	if p.fuzzy > 0 && len(k.text) > 0 && k.op != opEmailID && k.op != opThreadID {
		k.words = searchtext.Stems(k.text)
	}
	switch k.op {
	case opHeader, opBody, opText:
		k.needle = &searchtext.Needle{Field: k.field, Parts: k.op != opHeader, Headers: k.op == opText, Text: k.text, Stems: k.words}
	case opAddress, opSubject:
		k.needle = &searchtext.Needle{Field: k.slot.Field(), Slot: k.slot, Text: k.text, Stems: k.words}
	}
	return k
}

// plain reads a key that begins with a name.
func (p *parser) plain(name string) *Key {
	l := p.l
	if k, ok := flagKeys[name]; ok {
		return &k
	}
	if o, ok := dateKeys[name]; ok {
		l.Space()
		return &Key{op: o, day: dayOf(l.Date().Unix())}
	}
	if s, ok := addressKeys[name]; ok {
		return &Key{op: opAddress, slot: s, text: p.text()}
	}
	return p.named(name)
}

// named reads the other keys.
func (p *parser) named(name string) *Key {
	l := p.l
	switch name {
	case "SUBJECT":
		return &Key{op: opSubject, slot: searchtext.Subject, text: p.text()}
	case "BODY":
		return &Key{op: opBody, text: p.text()}
	case "TEXT":
		return &Key{op: opText, text: p.text()}
	case "HEADER":
		l.Space()
		field := strings.ToLower(string(l.AString()))
		return &Key{op: opHeader, field: field, slot: slots[field], text: p.text()}
	case "KEYWORD", "UNKEYWORD":
		l.Space()
		k := &Key{op: opFlag, keyword: string(l.Atom())}
		if name == "UNKEYWORD" {
			k.op = opNoFlag
		}
		return k
	case "LARGER", "SMALLER":
		l.Space()
		k := &Key{op: opLarger, number: int64(l.Number64())}
		if name == "SMALLER" {
			k.op = opSmaller
		}
		return k
	case "OLDER", "YOUNGER":
		l.Space()
		k := &Key{op: opOlder, number: int64(l.Number())}
		if name == "YOUNGER" {
			k.op = opYounger
		}
		if k.number == 0 {
			l.Fail("interval of nothing")
		}
		return k
	case "MODSEQ":
		return p.modSeq()
	case "EMAILID", "THREADID":
		l.Space()
		k := &Key{op: opEmailID, text: append([]byte(nil), l.Atom()...)}
		if name == "THREADID" {
			k.op = opThreadID
		}
		return k
	case "FUZZY":
		l.Space()
		p.fuzzy++
		defer func() { p.fuzzy-- }()
		return p.key()
	case "NOT":
		l.Space()
		return &Key{op: opNot, kids: []*Key{p.key()}}
	case "OR":
		return p.or()
	case "UID":
		l.Space()
		return p.set(true)
	case "UIDAFTER", "UIDBEFORE":
		return p.beside(name == "UIDAFTER")
	}
	l.Fail("unknown search key")
	return &Key{op: opAll}
}

// or reads what follows OR. Clients that look for any of many texts chain it to either side; such a chain is one key, however
// long, with as many below it.
func (p *parser) or() *Key {
	l := p.l
	or := &Key{op: opOr}
	for due := 2; due > 0 && l.Err() == nil; {
		l.Space()
		if l.AcceptWord("OR") {
			due++
			continue
		}
		or.kids = append(or.kids, p.key())
		due--
	}
	return or
}

func (p *parser) set(uid bool) *Key {
	k := &Key{op: opSeqs, uid: uid}
	k.set, k.saved = p.l.Set()
	return k
}

// beside reads UIDAFTER and UIDBEFORE (RFC 9738 §3.2): all UIDs above or below one, which "$" may stand for.
func (p *parser) beside(after bool) *Key {
	l := p.l
	l.Space()
	if l.Peek() == '$' {
		k := p.set(true)
		k.op = opBelow
		if after {
			k.op = opAbove
		}
		return k
	}
	n := l.Number()
	k := &Key{op: opSeqs, uid: true}
	switch {
	case n == 0:
		l.Fail("0 is no UID")
	case after && n < math.MaxUint32:
		k.set = wire.Set{{First: n + 1, Last: math.MaxUint32}}
	case !after && n > 1:
		k.set = wire.Set{{First: 1, Last: n - 1}}
	}
	return k
}

// modSeq reads MODSEQ with its optional entry, which stands for all flags here (RFC 7162 §3.1.5).
func (p *parser) modSeq() *Key {
	l := p.l
	l.Space()
	if l.Peek() == '"' {
		l.String()
		l.Space()
		switch string(l.Word()) {
		case "ALL", "PRIV", "SHARED":
		default:
			l.Fail("unknown entry type")
		}
		l.Space()
	}
	return &Key{op: opModSeq, number: int64(l.Number64())}
}

// text reads a string to look for.
func (p *parser) text() []byte {
	p.l.Space()
	raw := p.l.AString()
	if !utf8.Valid(raw) {
		p.l.Fail("not UTF-8")
		return nil
	}
	return searchtext.Fold(nil, raw)
}
