// Package search holds the keys of SEARCH (RFC 9051 §6.4.4, RFC 7162 §3.1.5, RFC 5032): it parses them and says of a message
// whether it matches, as far as what is known of the message tells.
//
// Most of a mailbox is decided by the columns of its chunks, most of the rest by ENVELOPE; only what is still open is
// looked at more closely. So Match has three answers, and its caller asks again with more.
package search

import (
	"math"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/searchtext"
	"github.com/mailfarm/mailfarm/services/imap/internal/keys"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// Answer tells whether a message matches.
type Answer int8

// Answers.
const (
	No    Answer = -1
	Maybe Answer = 0 // not enough is known
	Yes   Answer = 1
)

// Level is how much has to be known of a message to decide a key.
type Level uint8

// Levels; each includes those before.
const (
	Columns Level = iota
	Keys          // what the cache of keys holds of the header
	Index         // email and part index
	Header        // the message's header
	Text          // the message
)

// Message is what is known of a message.
type Message struct {
	Level Level

	Seq      uint32
	UID      mailbox.UID
	Flags    mailbox.Flags
	Recent   bool
	ModSeq   mailbox.ModSeq
	Size     int64
	Received int64 // seconds since 1970
	Saved    int64
	EmailID  string

	// Keys are there from Keys on, unless they were not asked for.
	Keys keys.Record

	// From Index on.
	Envelope []byte        // in IMAP's form
	Cut      message.Items // of which the header may have more than Envelope shows
	ThreadID string
	// Field tells how many fields of a name the header has, and how many octets the longest has; name is in lower case. It is
	// nil where the index has not all fields.
	Field func(name string) (count int, longest int64)

	// Look looks for what HEADER asks for, and SUBJECT and the keys of addresses where Envelope is cut, from Header on, and for
	// what BODY and TEXT ask for, of Text.
	Look func(*searchtext.Needle) searchtext.Hit
	// Sent is the header's Date field, from Header on; false where there is none that can be read.
	Sent func() (time.Time, bool)

	// Loose is set by Match where FUZZY found words in another form than they were asked for.
	Loose bool

	scratch []byte
}

type op uint8

const (
	opAll op = iota
	opSeqs
	opAbove // what opSeqs would be, the last of it
	opBelow
	opFlag   // has any of mask
	opNoFlag // has none of mask
	opRecent
	opNotRecent
	opNew
	opBefore
	opOn
	opSince
	opSavedBefore
	opSavedOn
	opSavedSince
	opSentBefore
	opSentOn
	opSentSince
	opLarger
	opSmaller
	opOlder
	opYounger
	opModSeq
	opAddress // in an address field of ENVELOPE
	opSubject
	opHeader
	opBody
	opText
	opEmailID
	opThreadID
	opNot
	opOr
	opAnd
)

// Key is a search key: a tree.
type Key struct {
	op      op
	kids    []*Key
	mask    mailbox.Flags
	keyword string // of KEYWORD and UNKEYWORD, until Bind
	number  int64
	day     int64 // days since 1970 of a date
	text    []byte
	words   [][]byte // of FUZZY: the stems of text
	field   string
	slot    searchtext.Slot    // of ENVELOPE
	needle  *searchtext.Needle // of all that have a text

	set        wire.Set // as written, until Bind
	saved, uid bool
	seqs       wire.Set
}

// Env is what keys need to know of a mailbox before they are matched.
type Env struct {
	Keywords []string
	// Seqs turns a set as it was written into sequence numbers.
	Seqs func(set wire.Set, saved, uid bool) (wire.Set, error)
	Now  time.Time
}

// Bind fits a key to a mailbox.
func (k *Key) Bind(env *Env) error {
	for _, kid := range k.kids {
		if err := kid.Bind(env); err != nil {
			return err
		}
	}
	switch k.op {
	case opSeqs:
		var err error
		k.seqs, err = env.Seqs(k.set, k.saved, k.uid)
		return err
	case opAbove, opBelow:
		beside, err := env.Seqs(k.set, k.saved, k.uid)
		k.seqs = nil
		switch {
		case err != nil || len(beside) == 0:
		case k.op == opAbove:
			k.seqs = wire.Set{{First: beside[len(beside)-1].Last + 1, Last: math.MaxUint32}}
		case beside[0].First > 1:
			k.seqs = wire.Set{{First: 1, Last: beside[0].First - 1}}
		}
		return err
	case opFlag, opNoFlag:
		if k.keyword != "" {
			k.mask, _ = mailbox.FindFlag(k.keyword, env.Keywords)
		}
	case opOlder, opYounger:
		k.day = env.Now.Unix() - k.number
	}
	return nil
}

// Level is the deepest that any part of the key may ask for.
func (k *Key) Level() Level {
	var l Level
	switch k.op {
	case opThreadID:
		l = Index
	case opSentBefore, opSentOn, opSentSince, opAddress, opSubject, opHeader:
		// Keys decide most dates, addresses and subjects, and ENVELOPE all others but those of very long headers.
		l = Header
	case opBody, opText:
		l = Text
	}
	for _, kid := range k.kids {
		l = max(l, kid.Level())
	}
	return l
}

// Scope is what of all messages the sets among the keys leave that all must match. The key is bound.
func (k *Key) Scope(all wire.Set) wire.Set {
	switch k.op {
	case opSeqs, opAbove, opBelow:
		return all.Intersect(k.seqs)
	case opAnd:
		for _, kid := range k.kids {
			all = kid.Scope(all)
		}
	}
	return all
}

// UsesModSeq tells whether MODSEQ is among the keys: the response tells the highest then (RFC 7162 §3.1.5).
func (k *Key) UsesModSeq() bool { return k.any(opModSeq) }

// Match tells whether m matches. It is never Maybe at the key's Level.
func (k *Key) Match(m *Message) Answer {
	switch k.op {
	case opAll:
		return Yes
	case opSeqs, opAbove, opBelow:
		return yes(k.seqs.Contains(m.Seq))
	case opFlag:
		return yes(m.Flags&k.mask != 0)
	case opNoFlag:
		return yes(m.Flags&k.mask == 0)
	case opRecent:
		return yes(m.Recent)
	case opNotRecent:
		return yes(!m.Recent)
	case opNew:
		return yes(m.Recent && m.Flags&mailbox.Seen == 0)
	case opBefore:
		return yes(dayOf(m.Received) < k.day)
	case opOn:
		return yes(dayOf(m.Received) == k.day)
	case opSince:
		return yes(dayOf(m.Received) >= k.day)
	case opSavedBefore:
		return yes(dayOf(m.Saved) < k.day)
	case opSavedOn:
		return yes(dayOf(m.Saved) == k.day)
	case opSavedSince:
		return yes(dayOf(m.Saved) >= k.day)
	case opLarger:
		return yes(m.Size > k.number)
	case opSmaller:
		return yes(m.Size < k.number)
	case opOlder:
		return yes(m.Received <= k.day)
	case opYounger:
		return yes(m.Received >= k.day)
	case opModSeq:
		return yes(m.ModSeq >= mailbox.ModSeq(k.number))
	case opEmailID:
		return yes(m.EmailID == string(k.text))
	case opNot:
		return -k.kids[0].Match(m)
	case opOr:
		answer := No
		for _, kid := range k.kids {
			if answer = max(answer, kid.Match(m)); answer == Yes {
				return Yes
			}
		}
		return answer
	case opAnd:
		answer := Yes
		for _, kid := range k.kids {
			if answer = min(answer, kid.Match(m)); answer == No {
				return No
			}
		}
		return answer
	}
	return k.matchMail(m)
}

// matchMail matches keys that the columns do not decide.
func (k *Key) matchMail(m *Message) Answer {
	if m.Level < Keys {
		return Maybe
	}
	switch k.op {
	case opSentBefore, opSentOn, opSentSince:
		return k.matchSent(m)
	case opAddress, opSubject:
		return k.matchSlot(m)
	case opHeader:
		return k.matchHeader(m)
	}
	if m.Level < Index {
		return Maybe
	}
	switch k.op {
	case opThreadID:
		return yes(m.ThreadID != "" && m.ThreadID == string(k.text))
	}
	if m.Level < Text {
		return Maybe
	}
	return k.look(m)
}

// look looks into the message.
func (k *Key) look(m *Message) Answer {
	hit := m.Look(k.needle)
	m.Loose = m.Loose || hit == searchtext.Loosely
	return yes(hit != searchtext.Missed)
}

// matchSlot looks into a place of ENVELOPE.
func (k *Key) matchSlot(m *Message) Answer {
	if m.Keys.Known() {
		text, whole := m.Keys.Text(k.slot)
		switch found := k.in(m, text); {
		case found || whole:
			return yes(found)
		}
	}
	if m.Level < Index {
		return Maybe
	}
	m.scratch = searchtext.AppendSlot(m.scratch[:0], m.Envelope, k.slot)
	if found := k.in(m, m.scratch); found || !k.slot.In(m.Cut) {
		return yes(found)
	}
	if m.Level < Header {
		return Maybe
	}
	return k.look(m)
}

// matchSent compares the day that was written in the Date field, whatever its zone (RFC 9051 §6.4.4 SENTON).
func (k *Key) matchSent(m *Message) Answer {
	sent, zone, ok := m.Keys.Sent()
	if !ok && m.Keys.Unsent() {
		if m.Level < Header {
			return Maybe
		}
		var t time.Time
		if t, ok = m.Sent(); ok {
			sent = t.Unix()
			_, zone = t.Zone()
		}
	}
	day := dayOf(sent + int64(zone))
	switch k.op {
	case opSentBefore:
		return yes(ok && day < k.day)
	case opSentOn:
		return yes(ok && day == k.day)
	}
	return yes(ok && day >= k.day)
}

// matchHeader is HEADER: an empty string asks whether there is such a field. Where there is one field, and ENVELOPE has it as
// it was written, it is looked for there.
func (k *Key) matchHeader(m *Message) Answer {
	if k.slot != searchtext.None && len(k.text) > 0 && m.Keys.Known() && m.Keys.Single(k.slot) {
		if text, whole := m.Keys.Text(k.slot); whole {
			return yes(k.in(m, text))
		}
	}
	if m.Level < Index {
		return Maybe
	}
	if m.Field != nil {
		switch count, longest := m.Field(k.field); {
		case count == 0:
			return No
		case len(k.text) == 0:
			return Yes
		case count == 1 && longest < message.MaxString && k.slot != searchtext.None:
			m.scratch = searchtext.AppendSlot(m.scratch[:0], m.Envelope, k.slot)
			return yes(k.in(m, m.scratch))
		}
	}
	if m.Level < Header {
		return Maybe
	}
	return k.look(m)
}

// Needles are what the key looks for in a message: all that Message.Look may be asked for.
func (k *Key) Needles() []*searchtext.Needle {
	var all []*searchtext.Needle
	if k.needle != nil {
		all = append(all, k.needle)
	}
	for _, kid := range k.kids {
		all = append(all, kid.Needles()...)
	}
	return all
}

func yes(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// dayOf is the day of a time in UTC; the division rounds down before 1970 too.
func dayOf(seconds int64) int64 {
	if seconds < 0 {
		return (seconds+1)/86400 - 1
	}
	return seconds / 86400
}

// any tells whether some part of the key has one of ops.
func (k *Key) any(ops ...op) bool {
	for _, o := range ops {
		if k.op == o {
			return true
		}
	}
	for _, kid := range k.kids {
		if kid.any(ops...) {
			return true
		}
	}
	return false
}

// UsesEmailID tells whether Message.EmailID is looked at.
func (k *Key) UsesEmailID() bool { return k.any(opEmailID) }

// ReadsText tells whether messages have to be read, but for a few.
func (k *Key) ReadsText() bool { return k.any(opHeader, opBody, opText) }

// UsesIndex tells whether more of the part index than ENVELOPE is looked at.
func (k *Key) UsesIndex() bool { return k.any(opHeader) }

// UsesKeys tells whether Message.Keys is looked at.
func (k *Key) UsesKeys() bool {
	if k.op == opHeader && k.slot != searchtext.None {
		return true
	}
	for _, kid := range k.kids {
		if kid.UsesKeys() {
			return true
		}
	}
	return slices.Contains([]op{opAddress, opSubject, opSentBefore, opSentOn, opSentSince}, k.op)
}
