package imap

import "strings"

// Limits of LIST: of a pattern with wildcards, and of one that is a name, which in modified UTF-7 may be longer than nameMax.
const (
	patternMax  = 512
	plainMax    = 3 * nameMax
	patternsMax = 32
)

// matches tells whether a name follows a pattern: "*" is anything, "%" anything without a separator (RFC 9051 §6.3.9).
//
// It walks the name once with the set of places in the pattern that may be reached, so that no pattern takes longer than
// its length times the name's.
func matches(pattern, name string) bool {
	if strings.EqualFold(pattern, "INBOX") {
		pattern = "INBOX"
	}
	if !strings.ContainsAny(pattern, "*%") {
		return pattern == name
	}
	at := make([]bool, len(pattern)+1)
	next := make([]bool, len(pattern)+1)
	at[0] = true
	pass(pattern, at)
	for i := 0; i < len(name); i++ {
		clear(next)
		any := false
		for p, here := range at[:len(pattern)] {
			if !here {
				continue
			}
			switch c := pattern[p]; {
			case c == '*', c == '%' && name[i] != '/':
				next[p], any = true, true
			case c == name[i]:
				next[p+1], any = true, true
			}
		}
		if !any {
			return false
		}
		pass(pattern, next)
		at, next = next, at
	}
	return at[len(pattern)]
}

// pass lets wildcards stand for nothing.
func pass(pattern string, at []bool) {
	for p := range len(pattern) {
		if at[p] && (pattern[p] == '*' || pattern[p] == '%') {
			at[p+1] = true
		}
	}
}
