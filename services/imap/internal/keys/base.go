package keys

import "bytes"

// Base is the base subject of a decoded subject (RFC 5256 §2.1), a part of it but for runs of white space, which become one
// space. reply tells that something was taken off that says reply or forward.
func Base(subject []byte) (base []byte, reply bool) {
	b := oneSpace(subject)
	for {
		for {
			rest, ok := cutSuffixFold(trimSpace(b), "(fwd)")
			if b = rest; !ok {
				break
			}
			reply = true
		}
		for {
			b = trimSpace(b)
			if rest, ok := cutLeader(b); ok {
				b, reply = rest, true
				continue
			}
			// A blob goes only where something is left.
			if rest, ok := cutBlob(b); ok && len(trimSpace(rest)) > 0 {
				b = rest
				continue
			}
			break
		}
		inner, ok := cutPrefixFold(b, "[fwd:")
		if !ok {
			return b, reply
		}
		if inner, ok = bytes.CutSuffix(inner, []byte{']'}); !ok {
			return b, reply
		}
		b, reply = inner, true
	}
}

// oneSpace makes every run of white space one space; b itself where that changes nothing.
func oneSpace(b []byte) []byte {
	if isOneSpaced(b) {
		return b
	}
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if isSpace(c) {
			if n := len(out); n > 0 && out[n-1] == ' ' {
				continue
			}
			c = ' '
		}
		out = append(out, c)
	}
	return out
}

func isOneSpaced(b []byte) bool {
	return !bytes.ContainsAny(b, "\t\r\n") && !bytes.Contains(b, []byte("  "))
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimSpace(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

// cutLeader takes off blobs followed by "re", "fw" or "fwd", perhaps another blob, and a colon.
func cutLeader(b []byte) ([]byte, bool) {
	for {
		rest, ok := cutBlob(b)
		if !ok {
			break
		}
		b = rest
	}
	rest, ok := cutPrefixFold(b, "re")
	if !ok {
		if rest, ok = cutPrefixFold(b, "fwd"); !ok {
			if rest, ok = cutPrefixFold(b, "fw"); !ok {
				return b, false
			}
		}
	}
	rest = bytes.TrimLeft(rest, " ")
	if after, ok := cutBlob(rest); ok {
		rest = after
	}
	return bytes.CutPrefix(rest, []byte{':'})
}

// cutBlob takes off "[…]" without brackets in it, and the blanks behind it.
func cutBlob(b []byte) ([]byte, bool) {
	if len(b) == 0 || b[0] != '[' {
		return b, false
	}
	i := bytes.IndexAny(b[1:], "[]")
	if i < 0 || b[1+i] != ']' {
		return b, false
	}
	return bytes.TrimLeft(b[i+2:], " "), true
}

func cutPrefixFold(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || !bytes.EqualFold(b[:len(prefix)], []byte(prefix)) {
		return b, false
	}
	return b[len(prefix):], true
}

func cutSuffixFold(b []byte, suffix string) ([]byte, bool) {
	n := len(b) - len(suffix)
	if n < 0 || !bytes.EqualFold(b[n:], []byte(suffix)) {
		return b, false
	}
	return b[:n], true
}
