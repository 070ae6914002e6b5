package message_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/message"
)

func indexOf(t *testing.T, mail string) *message.Index {
	t.Helper()
	var x message.Indexer
	x.Write([]byte(mail))
	ix, err := x.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

// TestOneSubject: an encoded index tells whether a header has more than one Subject, wherever they stand.
func TestOneSubject(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   bool
	}{
		{"From: a@example.net\r\n", true}, {"Subject: a\r\n", true}, {"X-Other: x\r\nsubject : a\r\n b\r\nTo: b\r\n", true},
		{"Subject: a\r\nTo: b\r\nSUBJECT: c\r\n", false}, {"Delivered-To: a\r\nReturn-Path: <b>\r\nSubject:\r\nX-Other: x\r\nSubject:\r\n", false},
		{strings.Repeat("X-Many: x\r\n", message.MaxFields+1), false}, // not all fields are known
	} {
		if got := message.OneSubject(indexOf(t, tt.header+"\r\nbody\r\n").Encode(nil)); got != tt.want {
			t.Errorf("%.60q: %v, want %v", tt.header, got, tt.want)
		}
	}
	encoded := indexOf(t, "Subject: a\r\n\r\n").Encode(nil)
	for n := range encoded {
		message.OneSubject(encoded[:n]) // whatever is cut off, nothing panics
	}
	if message.OneSubject(nil) || message.OneSubject([]byte{message.Version + 1}) {
		t.Error("an index that cannot be read tells of one Subject")
	}
}

// TestCoarse: what the limits left out of an index is known, before and after encoding.
func TestCoarse(t *testing.T) {
	nested := func(levels int) string {
		part := "Content-Type: text/plain\r\n\r\nx\r\n"
		for i := range levels {
			part = fmt.Sprintf("Content-Type: multipart/mixed; boundary=\"level%d.\"\r\n\r\n--level%[1]d.\r\n%s\r\n--level%[1]d.--\r\n", i, part)
		}
		return part
	}
	many := func(parts int) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", parts) + "--b--\r\n"
	}
	for name, tt := range map[string]struct {
		mail string
		want bool
	}{
		"plain": {"\r\nx\r\n", false}, "deep": {nested(message.MaxDepth - 1), false}, "too deep": {nested(message.MaxDepth), true},
		"many": {many(message.MaxParts - 2), false}, "too many": {many(message.MaxParts), true},
	} {
		ix := indexOf(t, tt.mail)
		again, err := message.Decode(ix.Encode(nil))
		if err != nil {
			t.Fatal(err)
		}
		deepest := 0
		ix.EachPart(func(depth int, _ *message.Part) { deepest = max(deepest, depth) })
		if ix.Coarse() != tt.want || again.Coarse() != tt.want || deepest > message.MaxDepth {
			t.Errorf("%s: coarse %v, once decoded %v, want %v; %d deep", name, ix.Coarse(), again.Coarse(), tt.want, deepest)
		}
	}
}
