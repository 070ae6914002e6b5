package imap

import (
	"strings"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// languages are those of our texts, the first of which is the default: it is English too (RFC 5255 §3.2).
var languages = []string{"i-default", "en"}

// languageRangesMax bounds the ranges of one LANGUAGE.
const languageRangesMax = 50

// language tells the languages there are, or chooses one (RFC 5255 §3.2). Of what is asked for, the first that is there counts:
// a range matches what it is made of from its beginning (RFC 4647 §3.4), and "default" is ours.
func (s *session) language(l *wire.Lexer) (reply, error) {
	var ranges []string
	for l.Accept(' ') {
		ranges = append(ranges, strings.ToLower(string(l.AString())))
		if len(ranges) > languageRangesMax {
			l.Fail("too many languages")
		}
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if len(ranges) == 0 {
		s.untagged("LANGUAGE (" + strings.Join(languages, " ") + ")")
		return reply{}, nil
	}
	for _, r := range ranges {
		if tag := languageFor(r); tag != "" {
			s.untagged("LANGUAGE (" + tag + ")")
			return reply{}, nil
		}
	}
	return no("CANNOT", "no such language here"), nil
}

func languageFor(r string) string {
	if r == "default" || r == "*" {
		return languages[0]
	}
	for {
		for _, tag := range languages {
			if r == tag {
				return tag
			}
		}
		i := strings.LastIndexByte(r, '-')
		if i < 0 {
			return ""
		}
		r = r[:i]
	}
}
