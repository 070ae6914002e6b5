package filter

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailauth"
)

const (
	// futureSlack is how far a Date may lie ahead: clocks and time zones are often wrong by hours.
	futureSlack = 24 * time.Hour
	// maxLine is the longest line that RFC 5322 §2.1.1 allows, without CRLF.
	maxLine = 998
	// maxDate is the longest Date that is read, octets.
	maxDate = 100
)

var errLongDate = errors.New("date is too long")

// checkHeader looks for what honest mail programs do not do (RFC 5322 §3.6).
func (e *exam) checkHeader() {
	h := &e.header
	if len(h.Cuts()) > 0 {
		e.add(reasonCut, "fields that only we may set were removed")
	}
	if h.Stray() {
		e.add(reasonStray, "the header has lines that are no fields")
	}
	if h.Truncated() {
		e.add(reasonLongHeader, fmt.Sprintf("the header is longer than %d octets or %d fields", mailauth.MaxHeaderBytes, mailauth.MaxFields))
	}
	if h.Unjudged() || e.authors.TooMany && !e.trusted {
		e.add(reasonHeaderUnjudged, "the header is too long, or names too many authors, to be judged whole")
		if e.dmarc != nil {
			e.applyReject("header is too long or names too many authors") // or it would hide the author from a policy
		}
	}
	if h.MaxLine() > maxLine {
		e.add(reasonLongLine, fmt.Sprintf("a header line of %d octets", h.MaxLine()))
	}
	e.once("from", reasonNoFrom, reasonManyFrom)
	e.once("date", reasonNoDate, reasonManyDate)
	e.once("message-id", reasonNoMessageID, reasonManyMessageID)
	e.once("subject", "", reasonManySubject)
	if e.trusted {
		return // submission mends what is missing
	}
	if e.authors.Bad && h.Count("from") > 0 {
		e.add(reasonBadFrom, "From has no usable address")
	}
	if h.EightBit() && !e.env.Smtputf8 {
		e.add(reasonEightBit, "the header has octets above 127 without SMTPUTF8")
	}
	e.checkDate()
}

// once wants exactly one field of a name; with missing empty at most one.
func (e *exam) once(name, missing, several string) {
	switch n := e.header.Count(name); {
	case n == 0 && missing != "" && !e.trusted && !e.header.Unjudged():
		e.add(missing, "no "+name+" field")
	case n > 1:
		e.add(several, fmt.Sprintf("%d %s fields", n, name))
	}
}

// usualDates are how nearly all mail writes Date; trying them first is much cheaper than all that RFC 5322 §3.3 allows.
var usualDates = []string{"Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 -0700 (MST)"}

func parseDate(value string) (time.Time, error) {
	for _, layout := range usualDates {
		if date, err := time.Parse(layout, value); err == nil {
			return date, nil
		}
	}
	return mail.ParseDate(value)
}

func (e *exam) checkDate() {
	for f := range e.header.All("date") {
		value := strings.TrimSpace(string(e.header.Value(f)))
		var date time.Time
		err := errLongDate
		if len(value) <= maxDate {
			date, err = parseDate(value)
		}
		switch {
		case err != nil:
			e.add(reasonBadDate, "Date is not a date")
		case date.After(e.s.deps.Now().Add(futureSlack)):
			e.add(reasonFuture, "Date lies in the future")
		}
		return // the first one counts
	}
}
