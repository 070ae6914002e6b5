// Package metadata holds the names of annotations of mailboxes and servers (RFC 5464).
package metadata

import (
	"fmt"
	"slices"
	"strings"
)

// What names begin with (RFC 5464 §3.2): entries that all share who may read, and those of one reader alone.
const (
	Shared  = "/shared"
	Private = "/private"
)

// MaxName is the longest name, octets.
const MaxName = 512

// Name checks an entry's name (RFC 5464 §3.2.1) and brings it to lower case: names are compared without regard to case. With
// look the name is one to look below, which may be Shared or Private alone.
func Name(name string, look bool) (string, error) {
	if len(name) > MaxName {
		return "", fmt.Errorf("entry name of %d octets", len(name))
	}
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c >= 0x7f || c == '*' || c == '%' {
			return "", fmt.Errorf("entry name %q has a character that no entry has", name)
		}
	}
	name = strings.ToLower(name)
	switch {
	case look && (name == Shared || name == Private):
	case !Below(name, Shared) && !Below(name, Private):
		return "", fmt.Errorf("entry name %q is neither shared nor private", name)
	case strings.HasSuffix(name, "/") || strings.Contains(name, "//"):
		return "", fmt.Errorf("entry name %q has an empty level", name)
	}
	return name, nil
}

// Below tells whether an entry is under another.
func Below(name, above string) bool {
	return len(name) > len(above) && name[len(above)] == '/' && strings.HasPrefix(name, above)
}

// Wanted tells whether an entry is one of names, or at most depth levels under one; a negative depth is all levels.
func Wanted(name string, names []string, depth int32) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		return name == n || depth != 0 && Below(name, n) && (depth < 0 || strings.Count(name[len(n):], "/") <= int(depth))
	})
}
