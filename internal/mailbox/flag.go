package mailbox

import "strings"

// systemFlags by their names in IMAP.
var systemFlags = [...]struct {
	name string
	flag Flags
}{{`\Seen`, Seen}, {`\Answered`, Answered}, {`\Flagged`, Flagged}, {`\Deleted`, Deleted}, {`\Draft`, Draft}}

// SystemFlag finds a system flag by its name, in either case (RFC 9051 §2.3.2).
func SystemFlag(name string) (Flags, bool) {
	for _, f := range systemFlags {
		if strings.EqualFold(f.name, name) {
			return f.flag, true
		}
	}
	return 0, false
}

// KeywordFlag is the flag of the i-th keyword of a mailbox.
func KeywordFlag(i int) Flags { return 1 << (KeywordShift + i) }

// FindFlag finds a system flag or one of keywords by its name, in either case.
func FindFlag(name string, keywords []string) (Flags, bool) {
	if f, ok := SystemFlag(name); ok {
		return f, true
	}
	for i, k := range keywords {
		if strings.EqualFold(k, name) {
			return KeywordFlag(i), true
		}
	}
	return 0, false
}

// Names tells the flags that are set: system flags, then keywords in their order.
func (f Flags) Names(keywords []string) []string {
	var names []string
	for _, s := range systemFlags {
		if f&s.flag != 0 {
			names = append(names, s.name)
		}
	}
	for i, k := range keywords {
		if f&KeywordFlag(i) != 0 {
			names = append(names, k)
		}
	}
	return names
}
