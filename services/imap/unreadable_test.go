package imap

import (
	"fmt"
	"strings"
	"testing"
)

// breakEmail damages the n-th message of the INBOX, counted from 1, from an octet on; -1 loses it.
func (f *fakeStore) breakEmail(n int, at int64) {
	if f.broken == nil {
		f.broken = map[uint64]int64{}
	}
	f.broken[uint64(f.named("INBOX").entries[n-1].Email)] = at
}

// TestUnreadableMessages: what cannot be read of a message is left out, all else is sent, and the end says so.
func TestUnreadableMessages(t *testing.T) {
	const text = "Subject: %d\r\n\r\ntext of message %d\r\n"
	var messages []string
	for i := range 6 {
		messages = append(messages, fmt.Sprintf(text, i+1, i+1))
	}
	prefix := "Return-Path: <x@example.net>\r\n"
	whole := func(n int) string { m := prefix + messages[n-1]; return fmt.Sprintf("{%d}\r\n%s", len(m), m) }
	header := func(n int) string { return fmt.Sprintf("{14}\r\nSubject: %d\r\n\r\n", n) }
	for _, row := range []struct {
		name, command string
		want          string
		oldIndex      bool
	}{
		{"whole messages", "FETCH 1:* BODY.PEEK[]",
			"* 1 FETCH (BODY[] " + whole(1) + ")\r\n* 3 FETCH (BODY[] " + whole(3) + ")\r\n* 6 FETCH (BODY[] " + whole(6) +
				")\r\na NO [CORRUPTION] 3 messages cannot be read in whole: UID 2,4:5\r\n", false},
		{"with UID", "UID FETCH 1:3 BODY.PEEK[]",
			"* 1 FETCH (UID 1 BODY[] " + whole(1) + ")\r\n* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3 BODY[] " + whole(3) +
				")\r\na NO [CORRUPTION] 1 message cannot be read in whole: UID 2\r\n", false},
		{"one item", "FETCH 4:6 (BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[TEXT]<0.4> RFC822.SIZE)",
			"* 4 FETCH (RFC822.SIZE " + fmt.Sprint(len(prefix+messages[3])) + ")\r\n* 5 FETCH (BODY[HEADER.FIELDS (Subject)] " + header(5) +
				" RFC822.SIZE " + fmt.Sprint(len(prefix+messages[4])) + ")\r\n* 6 FETCH (BODY[HEADER.FIELDS (Subject)] " + header(6) +
				" BODY[TEXT]<0> {4}\r\ntext RFC822.SIZE " + fmt.Sprint(len(prefix+messages[5])) +
				")\r\na NO [CORRUPTION] 2 messages cannot be read in whole: UID 4:5\r\n", false},
		{"BINARY", "FETCH 5:6 BINARY.PEEK[1]<0.4>",
			"* 6 FETCH (BINARY[1]<0> ~{4}\r\ntext)\r\na NO [CORRUPTION] 1 message cannot be read in whole: UID 5\r\n", false},
		{"BINARY.SIZE", "FETCH 1:2 BINARY.SIZE[1]",
			"* 1 FETCH (BINARY.SIZE[1] 19)\r\na NO [CORRUPTION] 1 message cannot be read in whole: UID 2\r\n", false},
		{"index made anew", "FETCH 1:3 (UID BODY)",
			"* 1 FETCH (UID 1 BODY (…* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3 BODY (…a NO [CORRUPTION] 1 message cannot be read in whole: UID 2\r\n", true},
		{"a set \\Seen", "FETCH 2:3 BODY[]",
			"* 2 FETCH (FLAGS (\\Seen \\Recent))\r\n* 3 FETCH (BODY[] " + whole(3) + " FLAGS (\\Seen \\Recent))\r\na NO [CORRUPTION] 1 message cannot be read in whole: UID 2\r\n", false},
		{"SEARCH TEXT", "SEARCH TEXT \"text of\"",
			"* NO [CORRUPTION] 3 messages cannot be read in whole: UID 2,4:5\r\n* SEARCH 1 3 6\r\na OK ", false},
		{"SEARCH BODY of one", "UID SEARCH OR SUBJECT 1 BODY \"message 6\"",
			"* NO [CORRUPTION] 3 messages cannot be read in whole: UID 2,4:5\r\n* SEARCH 1 6\r\na OK ", false},
		{"SEARCH of a header", "SEARCH 4:6 HEADER X-Nothing x", "* SEARCH\r\na OK ", false},
		{"SEARCH that reads nothing", "SEARCH SUBJECT 5", "* SEARCH 5\r\na OK ", false},
		{"SORT with an old index", "SORT (SUBJECT) UTF-8 ALL", "* SORT 2 4 5 1 3 6\r\na OK ", true},
		{"nothing of it read", "FETCH 1:* (UID ENVELOPE)", "a OK ", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := newFakeStore(messages...)
			store.breakEmail(2, 0)
			store.breakEmail(4, -1)
			store.breakEmail(5, 16)
			if row.oldIndex {
				for _, e := range store.emails {
					e.PartIndex = append([]byte{0}, e.PartIndex[1:]...)
				}
			}
			said := converse(fakeService(t, store), prelude+"a "+row.command+"\r\nb NOOP\r\n")
			_, got, _ := strings.Cut(said, "\r\n2 OK [READ-WRITE]")
			_, got, _ = strings.Cut(got, "\r\n")
			rest := got
			for _, part := range strings.Split(row.want, "…") {
				i := strings.Index(rest, part)
				if i < 0 {
					t.Fatalf("got\n%s\nwant\n%s", got, row.want)
				}
				rest = rest[i+len(part):]
			}
			if strings.HasPrefix(row.want, "*") && !strings.HasPrefix(got, row.want[:5]) || !strings.Contains(said, "\r\nb OK ") {
				t.Errorf("got\n%s\nwant\n%s and b OK", got, row.want)
			}
			if err := sound(said); err != nil || strings.Contains(said, "secret") {
				t.Errorf("%v in %q", err, said)
			}
		})
	}
}

// TestBreakingOff: a large message that is damaged in its midst breaks off the connection once; who comes again gets all others.
func TestBreakingOff(t *testing.T) {
	large := "Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 4000)
	store := newFakeStore(fakeMessage, large, fakeMessage)
	store.breakEmail(2, 300_000)
	svc := fakeService(t, store)
	const command = prelude + "a FETCH 1:* (UID BODY.PEEK[])\r\nb NOOP\r\n"
	if said := converse(svc, command); !strings.Contains(said, "\r\n* 1 FETCH (UID 1 BODY[] {") || strings.Contains(said, "\r\na ") || strings.Contains(said, "\r\nb ") {
		t.Errorf("the first time: got %.2000q, want message 1 and the end within message 2", said)
	}
	said := converse(svc, command)
	if err := sound(said); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"\r\n* 1 FETCH (UID 1 BODY[] {", "\r\n* 2 FETCH (UID 2)\r\n", "\r\n* 3 FETCH (UID 3 BODY[] {",
		"\r\na NO [CORRUPTION] 1 message cannot be read in whole: UID 2\r\n", "\r\nb OK "} {
		if !strings.Contains(said, want) {
			t.Errorf("the second time: no %q in %.2000q", want, said)
		}
	}
	delete(store.broken, uint64(store.named("INBOX").entries[1].Email))
	if said := converse(svc, command); !strings.Contains(said, large+")\r\n* 3 FETCH") || !strings.Contains(said, "\r\na OK ") {
		t.Errorf("repaired: got %.2000q", said)
	}
}
