package wire

import "time"

var months = [12]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}

// AppendDateTime writes date-time in quotes: "17-Jul-1996 02:44:25 -0700". Seconds are since 1970; the zone is UTC.
func AppendDateTime(b []byte, sec int64) []byte {
	t := time.Unix(sec, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(b, '"')
	if day < 10 {
		b = append(b, ' ', byte('0'+day))
	} else {
		b = two(b, day)
	}
	b = append(b, '-')
	b = append(b, months[month-1]...)
	b = append(b, '-')
	b = two(two(b, year/100%100), year%100)
	b = append(b, ' ')
	b = append(two(b, hour), ':')
	b = append(two(b, minute), ':')
	b = two(b, second)
	return append(b, ` +0000"`...)
}

func two(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// DateTime reads a quoted date-time (RFC 9051 §9).
func (l *Lexer) DateTime() time.Time {
	if l.Peek() != '"' {
		l.Fail("expected a date-time")
		return time.Time{}
	}
	text := l.quoted()
	if l.err != nil {
		return time.Time{}
	}
	// date-day-fixed is a space and a digit; one digit alone is taken too.
	if len(text) > 0 && text[0] == ' ' {
		text = text[1:]
	}
	t, err := time.Parse("2-Jan-2006 15:04:05 -0700", string(text))
	if err != nil || t.Year() < 1 {
		l.Fail("bad date-time")
		return time.Time{}
	}
	return t
}

// Date reads a date, quoted or not: 1-Feb-1994. It is midnight UTC.
func (l *Lexer) Date() time.Time {
	var text []byte
	if l.Peek() == '"' {
		text = l.quoted()
	} else {
		text = l.span(atomChar)
	}
	if l.err != nil {
		return time.Time{}
	}
	t, err := time.Parse("2-Jan-2006", string(text))
	if err != nil {
		l.Fail("bad date")
		return time.Time{}
	}
	return t
}
