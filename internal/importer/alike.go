package importer

import (
	"bytes"
	"crypto/sha256"
	"hash"

	"github.com/mailfarm/mailfarm/internal/mbox"
)

// alikeHead is how much of a line is looked at before it is known what it is, octets.
const alikeHead = 4 << 10

// alike digests what a message says, so that copies of it that went through different files have the same digest. Line ends
// count as one kind, empty lines at the end do not count, nor does ">" before "From ". A message with a Message-ID (RFC 5322
// §3.6.4: it names one version of one message) and a Date is the same on whichever way it came, and whatever fields files added;
// without both of them, those fields count: programs that write neither a Date nor a Message-ID of its own into each message may
// tell one from another by nothing else. Everything else counts: two messages that share a Message-ID and differ in it are two.
type alike struct {
	said, way hash.Hash
	// out is where the line goes, nil for nowhere; unknown while head gathers its begin.
	out  hash.Hash
	head []byte
	open bool // the line's begin is past head
	// crs are carriage returns, and empty the empty lines, that count only if something follows.
	crs, empty int
	body       bool
	first      bool
	// inID tells that the line is of the field Message-ID, whose value is id.
	inID bool
	id   []byte
	// inDate tells that the line is of the field Date, dated that its value is not empty, and came that a field went to way.
	inDate, dated, came bool
}

func newAlike() *alike {
	return &alike{said: sha256.New(), way: sha256.New(), first: true}
}

// wayFields tell how a message came, and differ between copies of it, as those do that files have for themselves.
var wayFields = map[string]bool{
	"received": true, "x-received": true, "return-path": true, "delivered-to": true, "x-original-to": true, "envelope-to": true,
	"x-envelope-to": true, "x-delivered-to": true, "authentication-results": true, "received-spf": true, "arc-seal": true,
	"arc-message-signature": true, "arc-authentication-results": true, "x-gm-thrid": true, "x-gmail-labels": true,
}

// Write takes the next octets; it does not fail.
func (a *alike) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			a.piece(p)
			break
		}
		a.piece(p[:i])
		a.end()
		p = p[i+1:]
	}
	return n, nil
}

// piece takes octets of one line, without its line feed.
func (a *alike) piece(p []byte) {
	if a.open {
		a.rest(p)
		return
	}
	n := min(len(p), alikeHead-len(a.head))
	if a.head = append(a.head, p[:n]...); len(a.head) == alikeHead {
		a.begin(false)
		a.rest(p[n:])
	}
}

// rest takes octets behind head. Carriage returns wait: those before the line feed are none of the line's.
func (a *alike) rest(p []byte) {
	if len(p) == 0 || a.out == nil {
		return
	}
	text := bytes.TrimRight(p, "\r")
	if len(text) > 0 {
		for ; a.crs > 0; a.crs-- {
			a.out.Write([]byte{'\r'})
		}
		a.out.Write(text)
	}
	a.crs += len(p) - len(text)
}

// end is a line feed, or the end of the message behind a line without one.
func (a *alike) end() {
	if !a.open {
		a.begin(true)
	}
	if a.out != nil {
		a.out.Write([]byte{'\n'})
	}
	a.head, a.open, a.out, a.crs, a.first = a.head[:0], false, a.outOfNext(), 0, false
}

// outOfNext is where a line goes that goes on with the field of this one.
func (a *alike) outOfNext() hash.Hash {
	if a.body {
		return nil
	}
	return a.out
}

// begin decides where a line goes by its head, which is all of it where whole is set, and sends that there.
func (a *alike) begin(whole bool) {
	a.open = true
	line := a.head
	if whole {
		line = bytes.TrimRight(line, "\r")
	}
	switch {
	case len(line) == 0 && !a.body:
		a.body, a.out, a.inID, a.inDate = true, nil, false, false
		a.said.Write([]byte{'\n'})
		return
	case len(line) == 0:
		a.empty++
		a.out = nil
		return
	case a.body:
		for ; a.empty > 0; a.empty-- {
			a.said.Write([]byte{'\n'})
		}
		a.out = a.said
		if from := bytes.TrimLeft(line, ">"); bytes.HasPrefix(from, []byte("From ")) {
			line = from
		}
	case a.first && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")):
		a.out = nil // the line that separates messages of a file
	case line[0] == ' ' || line[0] == '\t':
		a.valueIn(line)
	default:
		a.field(line)
	}
	if a.out != nil {
		a.rest(line)
	}
}

// field begins one of the header's.
func (a *alike) field(line []byte) {
	raw, value, _ := bytes.Cut(line, []byte(":"))
	name := string(bytes.ToLower(bytes.TrimSpace(raw)))
	a.out = a.said
	if wayFields[name] || mbox.Foreign(name) {
		a.out, a.came = a.way, true
	}
	a.inID, a.inDate = name == "message-id" && len(a.id) == 0, name == "date"
	a.valueIn(value)
}

// valueIn takes the Message-ID, and whether there is a Date, from a line of its field.
func (a *alike) valueIn(line []byte) {
	if a.inID && len(a.id) == 0 {
		a.id = append(a.id, messageID(line)...)
	}
	a.dated = a.dated || a.inDate && len(bytes.TrimSpace(line)) > 0
}

// messageID is what stands between < and > of a field, or all of a field that has none.
func messageID(value []byte) []byte {
	_, id, ok := bytes.Cut(value, []byte("<"))
	if !ok {
		return bytes.TrimSpace(value)
	}
	id, _, _ = bytes.Cut(id, []byte(">"))
	return bytes.TrimSpace(id)
}

// sum ends the message and tells its digest.
func (a *alike) sum() []byte {
	if a.open || len(a.head) > 0 {
		a.end()
	}
	if !a.body {
		a.said.Write([]byte{'\n'}) // an empty line that ends the header says nothing
	}
	sum := sha256.New()
	sum.Write(a.said.Sum(nil))
	// With a Message-ID and no such field it is the digest that earlier versions wrote.
	if len(a.id) == 0 || !a.dated && a.came {
		sum.Write(a.way.Sum(nil))
	}
	return sum.Sum(nil)
}
