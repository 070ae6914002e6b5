package dsn

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// dateLayout is that of RFC 5322 §3.3; all dates are in UTC, so that they do not depend on where they are written.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

func date(t time.Time) string { return t.UTC().Format(dateLayout) }

// Build writes the DSN: a whole message with CRLF line ends. It has octets above 127 only where what is returned has some,
// or the report needs SMTPUTF8.
func Build(r Report) []byte {
	host := clean(r.Host)
	returned := r.returned()
	text, status := r.text(host, returned), r.status(host)
	boundary := boundary(r.QueueID.String(), text, status, returned.body)
	var b bytes.Buffer
	b.Grow(len(returned.body) + len(text) + len(status) + 2048)

	line(&b, "From", "Mail Delivery System <MAILER-DAEMON@"+host+">")
	whole(&b, "To", "<"+r.address(string(r.To))+">")
	line(&b, "Subject", r.subject())
	line(&b, "Date", date(r.Time))
	line(&b, "Message-ID", "<"+r.QueueID.String()+".dsn@"+host+">")
	if id := r.messageID(); id != "" {
		line(&b, "In-Reply-To", id)
		line(&b, "References", id)
	}
	line(&b, "Auto-Submitted", "auto-replied")
	line(&b, "MIME-Version", "1.0")
	b.WriteString("Content-Type: multipart/report; report-type=" + r.reportType() + ";\r\n\tboundary=\"" + boundary + "\"\r\n")
	if hasEightBit(text) || hasEightBit(status) || hasEightBit(returned.body) {
		line(&b, "Content-Transfer-Encoding", "8bit")
	}
	b.WriteString("\r\nThis is a message in MIME format.\r\n")

	charset := "us-ascii"
	if hasEightBit(text) {
		charset = "utf-8"
	}
	part(&b, boundary, "text/plain; charset="+charset, "Notification", text)
	part(&b, boundary, "message/"+r.reportType(), "Delivery report", status)
	if returned.mediaType != "" {
		part(&b, boundary, returned.mediaType, returned.description, returned.body)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes()
}

// part writes one part of the report.
func part(b *bytes.Buffer, boundary, mediaType, description string, body []byte) {
	b.WriteString("\r\n--" + boundary + "\r\n")
	line(b, "Content-Description", description)
	line(b, "Content-Type", mediaType)
	if hasEightBit(body) {
		line(b, "Content-Transfer-Encoding", "8bit")
	}
	b.WriteString("\r\n")
	b.Write(body)
}

// reportType is delivery-status, or its form with UTF-8 (RFC 6533 §4).
func (r *Report) reportType() string {
	if r.globalStatus() {
		return "global-delivery-status"
	}
	return "delivery-status"
}

// boundary makes one that occurs in none of the texts.
func boundary(id string, texts ...[]byte) string {
	for n := 0; ; n++ {
		s := "=_" + id + "_" + strconv.Itoa(n)
		found := false
		for _, t := range texts {
			found = found || bytes.Contains(t, []byte(s))
		}
		if !found {
			return s
		}
	}
}

// subject says it in one line.
func (r *Report) subject() string {
	switch {
	case r.has(Failed):
		return "Your message could not be delivered"
	case r.has(Delayed):
		return "Your message is delayed"
	case r.has(Relayed):
		return "Your message was passed on"
	}
	return "Your message was delivered"
}

// messageID is the returned message's, where it is one that can be repeated.
func (r *Report) messageID() string {
	id := headerValue(r.returnedHeader(), "message-id")
	if len(id) < 3 || len(id) > 900 || id[0] != '<' || id[len(id)-1] != '>' || strings.ContainsAny(id, " \t") || !isASCII(id) {
		return ""
	}
	return id
}

// line writes a header field, folded at blanks where it is long.
func line(b *bytes.Buffer, name, value string) {
	const width = 76
	b.WriteString(name)
	b.WriteByte(':')
	used := len(name) + 1
	for i, word := range strings.Fields(value) {
		if i > 0 && used+1+len(word) > width {
			b.WriteString("\r\n\t")
			used = 8
		} else {
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += len(word)
	}
	b.WriteString("\r\n")
}

// whole writes a header field as it is: blanks in an address count.
func whole(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ": " + value + "\r\n")
}

// clean makes control characters blanks, so that no value can begin a line of its own.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// words is text for people or a diagnostic: clean, and in ASCII unless the DSN may be UTF-8.
func (r *Report) words(s string) string {
	s = clean(s)
	if r.SMTPUTF8 {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c >= 0x80 {
			return '?'
		}
		return c
	}, s)
}

// address is an address for people and for the header: one that is not ASCII is written as RFC 6533 §3 does, unless the DSN
// may be UTF-8.
func (r *Report) address(s string) string {
	s = clean(s)
	if r.SMTPUTF8 || isASCII(s) {
		return s
	}
	return utf8Xtext(s)
}

// utf8Xtext is utf-8-addr-xtext: characters that are not printable ASCII as \x{hexadecimal}.
func utf8Xtext(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c > ' ' && c < 0x7f && c != '\\' && c != '+' && c != '=' {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, c)
		}
	}
	return b.String()
}

func hasEightBit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
