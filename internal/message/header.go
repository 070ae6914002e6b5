package message

import "bytes"

// FilterHeader appends the fields of a header section that have one of the names, in any case, or with not those that have
// none of them: HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 §6.4.5.1). The empty line at the end is kept where there is
// one. Lines that are no field count as fields without a name.
func FilterHeader(dst, header []byte, fields []string, not bool) []byte {
	wanted := false
	for at := 0; at < len(header); {
		next := lineEnd(header, at)
		line := header[at:next]
		switch {
		case isEmptyLine(line):
			return append(dst, line...)
		case line[0] == ' ' || line[0] == '\t': // goes with what is before
		default:
			n, _, ok := fieldName(line)
			wanted = (ok && hasName(fields, line[:n])) != not
		}
		if wanted {
			dst = append(dst, line...)
		}
		at = next
	}
	return dst
}

// EachField calls f with every field of a header section: its name as written, and its value, which is folded still. It
// stops where f returns false, and at the empty line.
func EachField(header []byte, f func(name, value []byte) bool) {
	for at := 0; at < len(header); {
		next := lineEnd(header, at)
		line := header[at:next]
		if isEmptyLine(line) {
			return
		}
		n, value, ok := fieldName(line)
		start := at
		for at = next; at < len(header) && (header[at] == ' ' || header[at] == '\t'); {
			at = lineEnd(header, at)
		}
		if ok && !f(header[start:start+n], header[start+value:at]) {
			return
		}
	}
}

// lineEnd is the position behind the line at a position.
func lineEnd(b []byte, at int) int {
	if i := bytes.IndexByte(b[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(b)
}

func isEmptyLine(line []byte) bool {
	return string(line) == "\r\n" || string(line) == "\n"
}

func hasName(fields []string, name []byte) bool {
	for _, f := range fields {
		if equalFold(name, f) {
			return true
		}
	}
	return false
}

// equalFold compares names, which are ASCII, in any case.
func equalFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		c, d := a[i], b[i]
		if c != d && (c|0x20 != d|0x20 || !isLetter(c)) {
			return false
		}
	}
	return true
}
