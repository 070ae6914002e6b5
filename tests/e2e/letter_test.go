package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

const (
	alice   = "alice@example.org"
	bob     = "bob@example.org"
	carol   = "carol@sender.example"
	devPass = harness.DevPassword
)

// letter is a message that is handed in and must come out again, octet by octet.
type letter struct {
	name string
	raw  []byte
}

// file writes it where a program can read it.
func (l letter) file(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "letter.eml")
	if err := os.WriteFile(path, l.raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// letters are what mail is made of, and what has been mangled by programs before. name is in every Subject.
func letters(name, from, to string) []letter {
	attachment := make([]byte, 300<<10)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(attachment)
	var lines strings.Builder
	for chunk := base64.StdEncoding.EncodeToString(attachment); chunk != ""; {
		n := min(76, len(chunk))
		lines.WriteString(chunk[:n] + "\r\n")
		chunk = chunk[n:]
	}
	kinds := []struct{ kind, fields, body string }{
		{"plain", "", "A few words.\r\n"},
		{"dots", "", ".\r\n..\r\n...three\r\n.one\r\nend.\r\n.\r\n"},
		{"eight-bit", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", "Grüße, 世界 — ☃\r\n"},
		{"long-line", "", strings.Repeat("0123456789", 300) + "\r\nshort\r\n"},
		{"blanks", "X-Folded: one\r\n\ttwo\r\n   three\r\n", "\r\n\r\ntrailing space \r\n\ttab\t\r\n \r\n\r\n\r\n"},
		{"from-line", "", "From here on\r\n>From there\r\n"},
		{"attachment", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=-b\"\r\n",
			"preamble\r\n--=-b\r\nContent-Type: text/plain\r\n\r\nSee attached.\r\n--=-b\r\nContent-Type: application/octet-stream; name=noise.bin\r\n" +
				"Content-Transfer-Encoding: base64\r\n\r\n" + lines.String() + "--=-b--\r\nepilogue\r\n"},
	}
	var all []letter
	for _, k := range kinds {
		subject := name + "-" + k.kind
		head := fmt.Sprintf("From: Some One <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 11:00:00 +0000\r\nMessage-ID: <%s@letters.example>\r\n",
			from, to, subject, subject)
		all = append(all, letter{subject, []byte(head + k.fields + "\r\n" + k.body)})
	}
	return all
}

// seed hands in all letters at the MX side.
func seed(t testing.TB, f *harness.Farm, name, to string) []letter {
	t.Helper()
	all := letters(name, carol, to)
	for _, l := range all {
		if err := harness.Send(f.SMTP(), carol, []string{to}, l.raw); err != nil {
			t.Fatalf("send %s: %v", l.name, err)
		}
		if harness.InParts() {
			f.Settle() // processes and partitions keep no order, and UIDs are to be in that of the letters
		}
	}
	f.Settle()
	return all
}

// wantLetters checks that each letter is among the messages once, behind nothing but what delivery puts before it.
func wantLetters(t testing.TB, got [][]byte, want []letter) {
	t.Helper()
	for _, l := range want {
		var found [][]byte
		for _, m := range got {
			if bytes.Contains(m, []byte("\r\nSubject: "+l.name+"\r\n")) {
				found = append(found, m)
			}
		}
		if len(found) != 1 {
			t.Errorf("%s is there %d times, want once", l.name, len(found))
			continue
		}
		wantLetter(t, found[0], l)
	}
}

func wantLetter(t testing.TB, got []byte, l letter) {
	t.Helper()
	prefix, ok := bytes.CutSuffix(got, l.raw)
	if !ok {
		at := bytes.Index(got, []byte("\r\nFrom: "))
		t.Errorf("%s did not come out as it went in; got %d octets, sent %d\n%.2000q", l.name, len(got), len(l.raw), got[max(at, 0):])
		return
	}
	if !bytes.HasPrefix(prefix, []byte("Return-Path: <")) || !bytes.HasSuffix(prefix, []byte("\r\n")) {
		t.Errorf("%s: what delivery put before the message is not a header:\n%s", l.name, prefix)
	}
}

// inMailbox reads a mailbox with a client whose reading other tests check.
func inMailbox(f *harness.Farm, user, name string) [][]byte {
	var raws [][]byte
	for _, m := range f.Mailbox(user, name) {
		raws = append(raws, m.Raw)
	}
	return raws
}
