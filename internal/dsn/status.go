package dsn

import (
	"bytes"
	"strings"
)

// status writes the delivery-status (RFC 3464 §2.1): a group for the message, then one per recipient.
func (r *Report) status(host string) []byte {
	var b bytes.Buffer
	line(&b, "Reporting-MTA", "dns; "+host)
	if id := r.words(r.EnvID); strings.TrimSpace(id) != "" {
		line(&b, "Original-Envelope-Id", id)
	}
	if !r.Arrival.IsZero() {
		line(&b, "Arrival-Date", date(r.Arrival))
	}
	for i := range r.Recipients {
		b.WriteString("\r\n")
		r.recipient(&b, &r.Recipients[i])
	}
	return b.Bytes()
}

// recipient writes one recipient's fields (§2.3).
func (r *Report) recipient(b *bytes.Buffer, p *Recipient) {
	if typ, addr, ok := strings.Cut(clean(p.Original), ";"); ok {
		whole(b, "Original-Recipient", r.typed(strings.TrimSpace(typ), strings.TrimSpace(addr)))
	}
	whole(b, "Final-Recipient", r.typed("rfc822", clean(string(p.Final))))
	line(b, "Action", string(p.Action))
	line(b, "Status", p.status())
	if p.RemoteMTA != "" {
		line(b, "Remote-MTA", "dns; "+r.words(p.RemoteMTA))
	}
	if d := r.diagnostic(p); d != "" {
		line(b, "Diagnostic-Code", diagnosticType(d)+"; "+d)
	}
	if !p.LastAttempt.IsZero() {
		line(b, "Last-Attempt-Date", date(p.LastAttempt))
	}
	if p.Action == Delayed && !p.WillRetryUntil.IsZero() {
		line(b, "Will-Retry-Until", date(p.WillRetryUntil))
	}
}

// typed writes an address with its type; one that is not ASCII is of type utf-8 (RFC 6533 §3).
func (r *Report) typed(typ, addr string) string {
	if isASCII(addr) && isASCII(typ) && !strings.EqualFold(typ, "utf-8") {
		return typ + "; " + addr
	}
	if r.globalStatus() {
		return "utf-8; " + addr
	}
	return "utf-8; " + utf8Xtext(addr)
}

// status is the enhanced code, of the class that the action calls for where there is none that can be read.
func (p *Recipient) status() string {
	class, rest, ok := strings.Cut(p.Status, ".")
	if ok && (class == "2" || class == "4" || class == "5") && isCode(rest) {
		return p.Status
	}
	switch p.Action {
	case Failed:
		return "5.0.0"
	case Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// isCode tells whether s is "subject.detail" (RFC 3463 §2).
func isCode(s string) bool {
	subject, detail, ok := strings.Cut(s, ".")
	return ok && isNumber(subject) && isNumber(detail)
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 3
}

// diagnosticType is smtp for what begins with a reply code; what we found out ourselves is of a type of our own (§2.3.6).
func diagnosticType(d string) string {
	if len(d) >= 3 && isNumber(d[:3]) && (len(d) == 3 || d[3] == ' ') {
		return "smtp"
	}
	return "x-mailfarm"
}

// diagnostic is the last reply on one line.
func (r *Report) diagnostic(p *Recipient) string {
	d := r.words(p.Diagnostic)
	if len(d) > MaxDiagnostic {
		d = strings.ToValidUTF8(d[:MaxDiagnostic], "") + "..."
	}
	return strings.Join(strings.Fields(d), " ")
}
