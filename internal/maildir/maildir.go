// Package maildir reads and writes folders of one file per message, as Dovecot and Courier lay them out: cur, new and tmp,
// Maildir++ folders beside them, and Dovecot's files that say UIDs, keywords and subscriptions.
package maildir

import (
	"strings"
	"time"
)

// The files of Dovecot and Courier beside the messages.
const (
	uidList       = "dovecot-uidlist"
	keywordList   = "dovecot-keywords"
	subscriptions = "subscriptions"
	courierSubs   = "courierimapsubscribed"
	folderMark    = "maildirfolder"
)

// MaxListed is how many messages a folder can have: their names are in memory.
const MaxListed = 20_000_000

// Message is one message of a folder.
type Message struct {
	// Path is where it lies, below the folder.
	Path string
	// Size is the file's, octets.
	Size int64
	// Received is when the file was last written, which is when the message came.
	Received time.Time
	// Flags are system flags and keywords.
	Flags []string
	// UID 0: none is known. UIDL is what POP3 called the message, or empty.
	UID  uint32
	UIDL string
}

// flagLetters are those of file names, in their order there; P, passed, is $Forwarded.
var flagLetters = [...]struct {
	letter byte
	flag   string
}{{'D', `\Draft`}, {'F', `\Flagged`}, {'P', "$Forwarded"}, {'R', `\Answered`}, {'S', `\Seen`}, {'T', `\Deleted`}}

// splitName is a file name's unique part, and its flags' letters.
func splitName(name string) (unique, letters string) {
	// QUIRK: ":" cannot be in a file name everywhere.
	for _, sep := range []string{":2,", ";2,", "!2,"} {
		if i := strings.LastIndex(name, sep); i > 0 {
			return name[:i], name[i+len(sep):]
		}
	}
	return name, ""
}

// flagsOf are the flags that letters stand for.
func flagsOf(letters string, keywords []string) (flags []string) {
	have := map[string]bool{}
	add := func(f string) {
		if f != "" && !have[f] {
			have[f] = true
			flags = append(flags, f)
		}
	}
	for i := range len(letters) {
		c := letters[i]
		if n := int(c) - 'a'; n >= 0 && n < len(keywords) {
			add(keywords[n])
		}
		for _, l := range flagLetters {
			if l.letter == c {
				add(l.flag)
			}
		}
	}
	return flags
}
