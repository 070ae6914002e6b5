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

// TestShown: an encoded index tells whether a header has more than one Subject, wherever they stand, and of which items
// ENVELOPE may not show all.
func TestShown(t *testing.T) {
	const date, subject, from, to, all = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1<<10 - 1
	const lists = 0b11111100
	for _, tt := range []struct {
		header string
		want   bool
		cut    message.Items
	}{
		{"From: a@example.net\r\n", true, 0}, {"Subject: a\r\n", true, 0}, {"X-Other: x\r\nsubject : a\r\n b\r\nTo: b\r\n", true, 0},
		{"Subject: a\r\nTo: b\r\nSUBJECT: c\r\n", false, 0}, {"Delivered-To: a\r\nReturn-Path: <b>\r\nSubject:\r\nX-Other: x\r\nSubject:\r\n", false, 0},
		{strings.Repeat("X-Many: x\r\n", message.MaxFields+1), false, all}, // not all fields are known
		{"Date: Mon, 2 Jan 2023 23:30:00 -0800\r\nSubject: x\r\n" + strings.Repeat("X-Many: x\r\n", message.MaxFields), false, all &^ (date | subject)},
		{"X-Long: " + strings.Repeat("x", message.MaxHeaderBytes) + "\r\nFrom: a@example.net\r\n", false, all},
		{"Subject: " + strings.Repeat("x", message.MaxString) + "\r\nSubject: y\r\n", false, subject},
		{"Subject: y\r\nSubject: " + strings.Repeat("x", message.MaxString) + "\r\n", false, 0},
		{"To: " + strings.Repeat("a,", 4000) + "\r\nSubject: y\r\n", true, lists},
		{"From: " + strings.Repeat(`\"`, 20_000) + " <a@example.net>\r\nTo: b\r\n", true, from},
		{"To: a@example.net\r\nTo: " + strings.Repeat("<somebody.of.many@example.net>\r\n ", 600) + "\r\n", true, to},
	} {
		ix := indexOf(t, tt.header+"\r\nbody\r\n")
		cut, one := message.ShownOf(ix.Encode(nil))
		if one != tt.want || cut != tt.cut {
			t.Errorf("%.60q: one Subject %v, want %v; cut %b, want %b", tt.header, one, tt.want, cut, tt.cut)
		}
		if seen := ix.WithOverlay(message.Overlay{}).Cut(ix.Envelope()); seen != cut {
			t.Errorf("%.60q: cut %b as readers see it, %b of the encoded index", tt.header, seen, cut)
		}
	}
	encoded := indexOf(t, "Subject: a\r\n\r\n").Encode(nil)
	for n := range encoded {
		message.ShownOf(encoded[:n]) // whatever is cut off, nothing panics
	}
	for _, unread := range [][]byte{nil, {message.Version + 1}} {
		if cut, one := message.ShownOf(unread); one || cut != all {
			t.Errorf("an index that cannot be read tells of one Subject: %v, and of no more than %b", one, cut)
		}
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
