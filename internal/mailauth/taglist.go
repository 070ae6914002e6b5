package mailauth

import (
	"errors"
	"strings"
)

// tag is one of a tag-list (RFC 6376 §3.2); valueStart and valueEnd are where its value stands, white space included.
type tag struct {
	name, value          string
	valueStart, valueEnd int
}

type tagList []tag

// maxTags bounds a list; the tags that RFCs know are fewer than 20.
const maxTags = 50

var (
	errTagSyntax = errors.New("malformed tag list")
	errTagTwice  = errors.New("tag given twice")
	errManyTags  = errors.New("too many tags")
)

// parseTags reads "name=value; name=value". White space around names and values is dropped, within values it stays.
func parseTags(s string) (tagList, error) {
	tags := make(tagList, 0, 8)
	for pos := 0; pos <= len(s); {
		end := strings.IndexByte(s[pos:], ';')
		if end < 0 {
			end = len(s)
		} else {
			end += pos
		}
		spec := s[pos:end]
		eq := strings.IndexByte(spec, '=')
		if eq < 0 {
			if strings.Trim(spec, fws) != "" {
				return nil, errTagSyntax
			}
			pos = end + 1
			continue
		}
		t := tag{name: strings.Trim(spec[:eq], fws), value: strings.Trim(spec[eq+1:], fws), valueStart: pos + eq + 1, valueEnd: end}
		if !tagName(t.name) {
			return nil, errTagSyntax
		}
		if tags.has(t.name) {
			return nil, errTagTwice
		}
		if tags = append(tags, t); len(tags) > maxTags {
			return nil, errManyTags
		}
		pos = end + 1
	}
	return tags, nil
}

// fws is white space that may be folded.
const fws = " \t\r\n"

func tagName(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if letter := c >= 'a' && c <= 'z'; !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

func (l tagList) find(name string) (tag, bool) {
	for _, t := range l {
		if t.name == name {
			return t, true
		}
	}
	return tag{}, false
}

func (l tagList) has(name string) bool {
	_, ok := l.find(name)
	return ok
}

// get is a tag's value, or def where it is not given.
func (l tagList) get(name, def string) string {
	if t, ok := l.find(name); ok {
		return t.value
	}
	return def
}

// solid is a tag's value without any white space.
func (l tagList) solid(name string) string { return squeeze(l.get(name, "")) }

// squeeze takes all white space out.
func squeeze(s string) string {
	if !strings.ContainsAny(s, fws) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(fws, r) {
			return -1
		}
		return r
	}, s)
}

// allows tells whether a colon-separated value has an item or "*"; an absent tag allows everything.
func (l tagList) allows(name, item string) bool {
	t, ok := l.find(name)
	if !ok {
		return true
	}
	for _, v := range strings.Split(t.value, ":") {
		if v = strings.Trim(v, fws); v == item || v == "*" {
			return true
		}
	}
	return false
}

// flagged tells whether a colon-separated value has a flag.
func (l tagList) flagged(name, flag string) bool {
	return l.has(name) && l.allows(name, flag)
}
