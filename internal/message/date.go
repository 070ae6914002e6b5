package message

import (
	"bytes"
	"time"
)

// DateOf reads the value of a Date field, in the zone it was written in; false where it cannot be read.
func DateOf(value []byte) (time.Time, bool) {
	unix, zone, ok := parseDate(value)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(unix, 0).In(time.FixedZone("", zone)), true
}

// parseDate reads a Date field (RFC 5322 §3.3, and §4.3 for two-digit years and zone names): seconds since 1970, and the
// zone in seconds east of UTC. What stands before and behind the date does not matter; a time or zone may be missing.
func parseDate(value []byte) (unix int64, zone int, ok bool) {
	var s dateScanner
	s.s = value[:min(len(value), 200)]
	word := s.word()
	if len(word) > 0 && !isDigit(word[0]) { // the day's name
		word = s.word()
	}
	day, ok1 := number(word)
	month := monthOf(s.word())
	yearWord := s.word()
	year, ok2 := number(yearWord)
	if !ok1 || !ok2 || month == 0 || day < 1 || day > 31 {
		return 0, 0, false
	}
	switch {
	case len(yearWord) >= 4:
	case len(yearWord) == 2 && year < 50:
		year += 2000
	default:
		year += 1900
	}
	if year < 1900 || year > 9999 {
		return 0, 0, false
	}
	hour, minute, second, ok := s.clock()
	if !ok {
		return 0, 0, false
	}
	zone = s.zone()
	return daysSince1970(year, month, day)*86400 + int64(hour*3600+minute*60+second-zone), zone, true
}

// dateScanner reads words between blanks, commas, hyphens in dates, and comments.
type dateScanner struct {
	s []byte
	i int
}

func (s *dateScanner) skip() {
	for s.i < len(s.s) {
		switch c := s.s[s.i]; {
		case isBlank(c) || c == ',':
			s.i++
		case c == '(':
			s.i = skipComment(s.s, s.i)
		default:
			return
		}
	}
}

// word reads letters, or digits; "1-Jan-1996" is three words.
func (s *dateScanner) word() []byte {
	s.skip()
	for s.i < len(s.s) && (s.s[s.i] == '-' || s.s[s.i] == '.') {
		s.i++
	}
	s.skip()
	start := s.i
	for s.i < len(s.s) && (isDigit(s.s[s.i]) || isLetter(s.s[s.i])) && isDigit(s.s[s.i]) == isDigit(s.s[start]) {
		s.i++
	}
	return s.s[start:s.i]
}

// clock reads "hh:mm[:ss]"; midnight where there is none.
func (s *dateScanner) clock() (hour, minute, second int, ok bool) {
	s.skip()
	if s.i == len(s.s) || !isDigit(s.s[s.i]) {
		return 0, 0, 0, true
	}
	var n [3]int
	for i := range n {
		if n[i], ok = number(s.word()); !ok {
			return 0, 0, 0, false
		}
		s.skip()
		if s.i == len(s.s) || s.s[s.i] != ':' && s.s[s.i] != '.' {
			break
		}
		s.i++
	}
	n[2] = min(n[2], 59) // a leap second
	return n[0], n[1], n[2], n[0] < 24 && n[1] < 60
}

// zone reads "+hhmm" or a name of RFC 5322 §4.3; an unknown one is UTC.
func (s *dateScanner) zone() int {
	s.skip()
	if s.i == len(s.s) {
		return 0
	}
	sign := 1
	switch s.s[s.i] {
	case '-':
		sign = -1
		fallthrough
	case '+':
		s.i++
		n, ok := number(s.word())
		if !ok || n%100 > 59 || n > 2400 {
			return 0
		}
		return sign * (n/100*3600 + n%100*60)
	}
	switch string(bytes.ToUpper(s.word())) {
	case "EDT":
		return -4 * 3600
	case "EST", "CDT":
		return -5 * 3600
	case "CST", "MDT":
		return -6 * 3600
	case "MST", "PDT":
		return -7 * 3600
	case "PST":
		return -8 * 3600
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// number reads up to five digits.
func number(word []byte) (int, bool) {
	if len(word) == 0 || len(word) > 5 {
		return 0, false
	}
	n := 0
	for _, c := range word {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

const months = "janfebmaraprmayjunjulaugsepoctnovdec"

// monthOf gives 1 to 12, or 0; full names are tolerated.
func monthOf(word []byte) int {
	if len(word) < 3 {
		return 0
	}
	var low [3]byte
	lower(low[:0], word[:3])
	for m := range 12 {
		if months[3*m:3*m+3] == string(low[:]) {
			return m + 1
		}
	}
	return 0
}

// daysSince1970 counts days in the Gregorian calendar; a day behind its month's end is one of the next month.
func daysSince1970(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return int64(365*year+year/4-year/100+year/400+(153*(month-3)+2)/5+day-1) - 719468
}
