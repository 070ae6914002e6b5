package store

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// MaxLevel is the longest level of a mailbox name, octets.
const MaxLevel = 255

// boxName checks a mailbox name and gives the form that is stored (RFC 9051 §5.1): NFC, with INBOX in upper case also
// where it is the first level.
func boxName(name string) (string, error) {
	if len(name) > index.MaxLevels*(MaxLevel+1) {
		return "", invalid("mailbox name of %d octets is too long", len(name))
	}
	if !utf8.ValidString(name) {
		return "", invalid("mailbox name is not UTF-8")
	}
	name = norm.NFC.String(name)
	for _, c := range name {
		// U+2028 and U+2029 are line ends that are no control characters (RFC 5198 §2).
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return "", invalid("mailbox name has the control character %U", c)
		}
	}
	levels := 0
	for level := range strings.SplitSeq(name, "/") {
		levels++
		switch {
		case level == "":
			return "", invalid("mailbox name %q has an empty level", name)
		case len(level) > MaxLevel:
			return "", invalid("mailbox name has a level of %d octets, more than %d", len(level), MaxLevel)
		case levels > index.MaxLevels:
			return "", invalid("mailbox name has more than %d levels", index.MaxLevels)
		}
	}
	if first, _, _ := strings.Cut(name, "/"); strings.EqualFold(first, index.Inbox) {
		name = index.Inbox + name[len(first):]
	}
	return name, nil
}

// specialUses are those that a mailbox can be made with (RFC 6154 §2); \All and \Flagged would be views over others.
var specialUses = []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`}

func specialUse(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	for _, s := range specialUses {
		if strings.EqualFold(s, name) {
			return s, nil
		}
	}
	return "", invalid("special use %q is not supported", name)
}

// flagNames checks flags and leaves out repetitions; \Recent is nobody's to set.
func flagNames(names []string) ([]string, error) {
	if len(names) > MaxFlags {
		return nil, invalid("%d flags, more than %d", len(names), MaxFlags)
	}
	out := make([]string, 0, len(names))
	for _, name := range names {
		if !isFlag(name) {
			return nil, invalid("%q is no flag", name)
		}
		if !containsFold(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

func containsFold(list []string, name string) bool {
	for _, s := range list {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}

// isFlag tells of system flags and keywords: atoms (RFC 9051 §9, flag-keyword).
func isFlag(name string) bool {
	if strings.HasPrefix(name, `\`) {
		_, ok := mailbox.SystemFlag(name)
		return ok
	}
	if name == "" || len(name) > MaxKeyword {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}
