// Package acl holds the nouns of access control lists: rights and identifiers as RFC 4314 has them.
package acl

import (
	"fmt"
	"strings"
)

// Rights is a set of rights (RFC 4314 §2.1).
type Rights uint16

// The rights, by the letters that RFC 4314 gives them.
const (
	Lookup  Rights = 1 << iota // l: the mailbox is seen by LIST, may be subscribed to
	Read                       // r: SELECT, STATUS, FETCH, SEARCH, COPY from it
	Seen                       // s: keep \Seen
	Write                      // w: flags and keywords other than \Seen and \Deleted
	Insert                     // i: APPEND, COPY into it
	Post                       // p: submit to the mailbox's address
	Create                     // k: mailboxes below it, and RENAME to there
	Delete                     // x: DELETE and RENAME it
	Deleted                    // t: set and clear \Deleted
	Expunge                    // e: EXPUNGE, also by CLOSE
	Admin                      // a: read and change the list itself

	// None is no right, and All are all of them.
	None Rights = 0
	All  Rights = 1<<iota - 1
)

// letters are the rights' names in the order of their bits.
const letters = "lrswipkxtea"

// Rights that RFC 2086 had, which stand for several (RFC 4314 §2.1.1): x is with c.
const (
	oldCreate = Create | Delete
	oldDelete = Deleted | Expunge
)

// Has tells whether all of want are there.
func (r Rights) Has(want Rights) bool { return r&want == want }

// Any tells whether any of want is there.
func (r Rights) Any(want Rights) bool { return r&want != 0 }

// String writes the rights' letters, as they are stored.
func (r Rights) String() string {
	var b [len(letters)]byte
	n := 0
	for i := range len(letters) {
		if r&(1<<i) != 0 {
			b[n] = letters[i]
			n++
		}
	}
	return string(b[:n])
}

// Shown is String with the rights of RFC 2086 beside those that they became, for clients that know no others
// (RFC 4314 §2.1.1).
func (r Rights) Shown() string {
	s := r.String()
	if r.Any(oldCreate) {
		s += "c"
	}
	if r.Any(oldDelete) {
		s += "d"
	}
	return s
}

// Parse reads letters, those of RFC 2086 too.
func Parse(s string) (r Rights, err error) {
	for i := range len(s) {
		switch at := strings.IndexByte(letters, s[i]); {
		case at >= 0:
			r |= 1 << at
		case s[i] == 'c':
			r |= oldCreate
		case s[i] == 'd':
			r |= oldDelete
		default:
			return 0, fmt.Errorf("%q is no right: rights are %s", s[i], letters)
		}
	}
	return r, nil
}

// ReadWrite are the rights of which one makes SELECT tell READ-WRITE (RFC 4314 §5.2).
const ReadWrite = Insert | Expunge | Seen | Write | Deleted

// Notes are the rights of which one is needed, beside Lookup, for the entries of a mailbox (RFC 5464 §3.3).
const Notes = Read | Seen | Write | Insert | Post
