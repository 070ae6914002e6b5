package maildir

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64Names is that of mailbox names: "," for "/", no padding (RFC 3501 §5.1.3).
var base64Names = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// FolderName is the mailbox that a Maildir++ directory ".A.B" stands for: "A/B". Levels are in modified UTF-7, or in UTF-8
// where they have other octets than ASCII. A "/" within a level becomes "_".
func FolderName(directory string) string {
	levels := strings.Split(strings.TrimPrefix(directory, "."), ".")
	for i, l := range levels {
		levels[i] = strings.ReplaceAll(DecodeName(l), "/", "_")
	}
	return strings.Join(levels, "/")
}

// directoryName is the Maildir++ directory of a mailbox. A "." within a level, which no such directory can have, becomes "_";
// lossy tells that.
func directoryName(mailbox string) (name string, lossy bool) {
	lossy = strings.Contains(mailbox, ".")
	return "." + strings.ReplaceAll(EncodeName(strings.ReplaceAll(mailbox, ".", "_")), "/", "."), lossy
}

// DecodeName reads modified UTF-7; what is none is what it is.
func DecodeName(s string) string {
	if !strings.Contains(s, "&") {
		return strings.ToValidUTF8(s, "_")
	}
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, "&")
		b.WriteString(plain)
		if !found {
			break
		}
		coded, after, closed := strings.Cut(rest, "-")
		text, ok := decodeRun(coded)
		if !closed || !ok {
			b.WriteByte('&') // no modified UTF-7 after all
			s = rest
			continue
		}
		b.WriteString(text)
		s = after
	}
	return strings.ToValidUTF8(b.String(), "_")
}

func decodeRun(coded string) (string, bool) {
	if coded == "" {
		return "&", true
	}
	raw, err := base64Names.DecodeString(coded)
	if err != nil || len(raw)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	text := string(utf16.Decode(units))
	return text, !strings.ContainsRune(text, utf8.RuneError)
}

// EncodeName writes modified UTF-7.
func EncodeName(s string) string {
	var b strings.Builder
	var run []uint16
	flush := func() {
		if len(run) == 0 {
			return
		}
		raw := make([]byte, 0, 2*len(run))
		for _, u := range run {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteString("&" + base64Names.EncodeToString(raw) + "-")
		run = run[:0]
	}
	for _, r := range s {
		switch {
		case r == '&':
			flush()
			b.WriteString("&-")
		case r >= ' ' && r < 0x7f:
			flush()
			b.WriteRune(r)
		default:
			run = utf16.AppendRune(run, r)
		}
	}
	flush()
	return b.String()
}
