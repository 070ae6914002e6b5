package mbox

import (
	"bytes"
	"strings"
	"time"
)

var fromPrefix = []byte("From ")

// zones are time zones by name, hours from UTC; of others, and of none, UTC is what RFC 4155 Appendix A says.
var zones = map[string]int{"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "CET": 1, "CEST": 2, "BST": 1, "MET": 1, "MEST": 2}

// parseFrom reads a line "From sender Www Mmm dd hh:mm[:ss] [zone] yyyy [zone]"; the sender may have spaces, and be missing.
func parseFrom(line []byte) (sender string, at time.Time, ok bool) {
	rest, ok := bytes.CutPrefix(line, fromPrefix)
	if !ok || len(rest) > 4096 {
		return "", at, false
	}
	words := strings.Fields(string(rest))
	for i := range words {
		if isOneOf(words[i], "Mon Tue Wed Thu Fri Sat Sun") && len(words)-i >= 5 {
			if at, ok = parseWhen(words[i+1:]); ok {
				return strings.Join(words[:i], " "), at, true
			}
		}
	}
	return "", at, false
}

// begins tells of a line that can begin a message: one with a date, or the bare one that Mozilla's programs write.
func begins(line []byte) bool {
	if _, _, ok := parseFrom(line); ok {
		return true
	}
	rest, ok := bytes.CutPrefix(line, fromPrefix)
	rest = bytes.TrimSpace(rest)
	return ok && (len(rest) == 0 || string(rest) == "-")
}

func isOneOf(word, list string) bool {
	return len(word) == 3 && strings.Contains(" "+list+" ", " "+word+" ")
}

// parseWhen reads what stands behind the day of the week.
func parseWhen(words []string) (at time.Time, ok bool) {
	if isOneOf(words[1], "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec") { // "Mon 2 Jan" is written too
		words = append([]string{words[1], words[0]}, words[2:]...)
	}
	if strings.Count(words[2], ":") == 1 {
		words = append([]string{words[0], words[1], words[2] + ":00"}, words[3:]...)
	}
	var year, zone string
	for _, w := range words[3:] {
		switch {
		case year == "" && len(w) == 4 && w[0] >= '1' && w[0] <= '9':
			year = w
		case zone == "":
			zone = w
		}
		if len(words) > 7 {
			break // "remote from host" may follow
		}
	}
	at, err := time.Parse("Jan 2 15:04:05 2006", strings.Join(words[:3], " ")+" "+year)
	if err != nil {
		return at, false
	}
	if t, err := time.Parse("-0700", zone); err == nil {
		_, offset := t.Zone()
		return at.Add(-time.Duration(offset) * time.Second), true
	}
	return at.Add(-time.Duration(zones[zone]) * time.Hour), true
}

// quotes is how many ">" stand before "From " at the begin of a line; -1: no such line.
func quotes(line []byte) int {
	n := 0
	for n < len(line) && line[n] == '>' {
		n++
	}
	if !bytes.HasPrefix(line[n:], fromPrefix) {
		return -1
	}
	return n
}

// isField tells of a line that can begin a header: a field, or nothing at all of one.
func isField(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	if i < 1 {
		return false
	}
	for _, c := range bytes.TrimRight(line[:i], " \t") {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
