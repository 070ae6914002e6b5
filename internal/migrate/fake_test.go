package migrate_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// old is an IMAP server with nothing but what IMAP4rev1 demands, and with faults that a test asks for.
type old struct {
	t    *testing.T
	port int

	mu      sync.Mutex
	folders map[string]*oldFolder
	// cut is asked before each body whether the connection breaks amid it.
	cut func(folder string, uid uint32) bool
	// fetched counts bodies, and listed lists of flags.
	fetched, listed int
	conns           sync.WaitGroup
}

type oldFolder struct {
	validity, next uint32
	messages       []*oldMessage
	// hidden are messages that are counted and not listed.
	hidden int
}

type oldMessage struct {
	uid         uint32
	flags, text string
	date        string
	refused     bool
}

func newOld(t *testing.T) *old {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	o := &old{t: t, port: l.Addr().(*net.TCPAddr).Port, folders: map[string]*oldFolder{"INBOX": {validity: 100, next: 1}}}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.conns.Go(func() { o.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); accepting.Wait(); o.conns.Wait() })
	return o
}

// change changes what the server has.
func (o *old) change(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (f *oldFolder) add(flags string, texts ...string) {
	for _, text := range texts {
		f.messages = append(f.messages, &oldMessage{uid: f.next, flags: flags, text: text, date: `"02-Jan-2020 03:04:05 +0000"`})
		f.next++
	}
}

func (f *oldFolder) get(uid uint32) *oldMessage {
	if i := slices.IndexFunc(f.messages, func(m *oldMessage) bool { return m.uid == uid }); i >= 0 {
		return f.messages[i]
	}
	return nil
}

func (f *oldFolder) expunge(uids ...uint32) {
	f.messages = slices.DeleteFunc(f.messages, func(m *oldMessage) bool { return slices.Contains(uids, m.uid) })
}

func (o *old) serve(c net.Conn) {
	defer c.Close()
	w := bufio.NewWriter(c)
	fmt.Fprint(w, "* OK old\r\n")
	w.Flush()
	lines := bufio.NewScanner(c)
	open := ""
	for lines.Scan() {
		tag, line, _ := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(line, "LOGIN {") { // two literals
			fmt.Fprint(w, "+ go\r\n")
			w.Flush()
			lines.Scan()
			fmt.Fprint(w, "+ go\r\n")
			w.Flush()
			lines.Scan()
			if lines.Text() != "right" {
				fmt.Fprintf(w, "%s NO wrong\r\n", tag)
				w.Flush()
				continue
			}
		}
		o.mu.Lock()
		goes, status := o.answer(w, &open, line), o.status(line, open)
		o.mu.Unlock()
		if !goes {
			w.Flush()
			return
		}
		fmt.Fprintf(w, "%s %s\r\n", tag, status)
		if w.Flush() != nil {
			return
		}
	}
}

func (o *old) status(line, open string) string {
	uid := uidOf(line)
	if f := o.folders[open]; f != nil && uid != 0 && strings.Contains(line, "BODY.PEEK") {
		if m := f.get(uid); m != nil && m.refused {
			return "NO [SERVERBUG] cannot read it"
		}
	}
	return "OK done"
}

// uidOf is the UID of a FETCH of one message.
func uidOf(line string) uint32 {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "UID" {
		return 0
	}
	n, _ := strconv.ParseUint(f[2], 10, 32)
	return uint32(n)
}

// answer says what comes before the end of a command; false: the connection breaks.
func (o *old) answer(w *bufio.Writer, open *string, line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "CAPABILITY":
		fmt.Fprint(w, "* CAPABILITY IMAP4rev1\r\n")
	case "LIST":
		for name := range o.folders {
			fmt.Fprintf(w, "* LIST () \"/\" \"%s\"\r\n", name)
		}
	case "LSUB":
		fmt.Fprint(w, "* LSUB () \"/\" \"Work\"\r\n")
	case "STATUS":
		name := strings.Trim(strings.Split(rest, " (")[0], `"`)
		f := o.folders[name]
		fmt.Fprintf(w, "* STATUS \"%s\" (MESSAGES %d UIDVALIDITY %d UIDNEXT %d)\r\n", name, len(f.messages)+f.hidden, f.validity, f.next)
	case "EXAMINE":
		*open = strings.Trim(rest, `"`)
		f := o.folders[*open]
		fmt.Fprintf(w, "* %d EXISTS\r\n* OK [UIDVALIDITY %d] x\r\n* OK [UIDNEXT %d] x\r\n", len(f.messages)+f.hidden, f.validity, f.next)
	case "UID":
		return o.fetch(w, *open, strings.TrimPrefix(rest, "FETCH "))
	}
	return true
}

func (o *old) fetch(w *bufio.Writer, open, rest string) bool {
	set, items, _ := strings.Cut(rest, " ")
	if set == "1:*" {
		o.listed++
	}
	for i, m := range o.folders[open].messages {
		if set != "1:*" && !inSet(set, m.uid) {
			continue
		}
		switch {
		case strings.Contains(items, "BODY.PEEK[]") && m.refused:
		case strings.Contains(items, "BODY.PEEK[]"):
			o.fetched++
			if o.cut != nil && o.cut(open, m.uid) {
				fmt.Fprintf(w, "* %d FETCH (UID %d BODY[] {%d}\r\n%s", i+1, m.uid, len(m.text), m.text[:len(m.text)/2])
				return false
			}
			fmt.Fprintf(w, "* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", i+1, m.uid, len(m.text), m.text)
		case strings.Contains(items, "RFC822.SIZE"):
			fmt.Fprintf(w, "* %d FETCH (UID %d FLAGS (%s) INTERNALDATE %s RFC822.SIZE %d)\r\n", i+1, m.uid, m.flags, m.date, len(m.text))
		default:
			fmt.Fprintf(w, "* %d FETCH (FLAGS (%s) UID %d)\r\n", i+1, m.flags, m.uid)
		}
	}
	return true
}

func inSet(set string, uid uint32) bool {
	for part := range strings.SplitSeq(set, ",") {
		a, b, ranged := strings.Cut(part, ":")
		if !ranged {
			b = a
		}
		first, _ := strconv.ParseUint(a, 10, 32)
		last, _ := strconv.ParseUint(b, 10, 32)
		if uint64(uid) >= first && uint64(uid) <= last {
			return true
		}
	}
	return false
}
