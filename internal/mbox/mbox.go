// Package mbox reads and writes files of many messages (RFC 4155), in the four dialects that there are.
//
// Every message begins with a line "From sender date"; behind it comes an empty line. The dialects differ in what becomes of
// lines of a message that begin so:
//
//	mboxo    "From " gets a ">" in front; what was ">From " already looks the same
//	mboxrd   "From ", ">From ", ">>From " and so on get another ">": the only one of these two that can be undone
//	mboxcl   as mboxo, and Content-Length tells where the message ends
//	mboxcl2  nothing is changed, and Content-Length alone tells where the message ends
//
// Flags, keywords and UIDs are in header fields of the file's own: Status, X-Status, X-Keywords, X-UID and X-IMAPbase.
package mbox

import (
	"fmt"
	"strings"
	"time"
)

// Dialect is how lines that begin with "From " are kept apart from those that begin a message.
type Dialect uint8

// The dialects. Auto is none: it is found out.
const (
	Auto Dialect = iota
	O
	RD
	CL
	CL2
)

var dialectNames = [...]string{"auto", "mboxo", "mboxrd", "mboxcl", "mboxcl2"}

func (d Dialect) String() string { return dialectNames[d] }

// ParseDialect reads a dialect's name.
func ParseDialect(name string) (Dialect, error) {
	for d, n := range dialectNames {
		if name == n {
			return Dialect(d), nil
		}
	}
	return Auto, fmt.Errorf("%q is no dialect of mbox: there are %s", name, strings.Join(dialectNames[:], ", "))
}

// lengths tells whether Content-Length counts.
func (d Dialect) lengths() bool { return d == CL || d == CL2 }

// Meta is what a file says of a message beside the message.
type Meta struct {
	// Sender is the address in the line that begins the message, as it stands there.
	Sender string
	// Received is the time in it; zero: none that could be read.
	Received time.Time
	// Saved is when the message came into the folder; zero: not known.
	Saved time.Time
	// Flags are system flags and keywords.
	Flags []string
	// UID 0: none. UIDL is what POP3 calls the message, or empty.
	UID  uint32
	UIDL string
	// UIDValidity and LastUID are the folder's, in its first message.
	UIDValidity, LastUID uint32
	// Folder is the folder's name, in its first message, where the file's name does not tell it.
	Folder string
	// Internal tells of a message that some program keeps its own notes in, and Removed of one that the program had deleted, so
	// that it waits for the file to be written anew: it has the flag \Deleted.
	Internal, Removed bool
	// Labelled tells that the message has labels of Gmail's.
	Labelled bool
}

// Message is one message of a file.
type Message struct {
	Meta
	// Offset is where it begins, octets.
	Offset int64
	// header and end are where the header begins and the message ends; crlf tells of the line ends there.
	header, end int64
	crlf        bool
	file        *File
}
