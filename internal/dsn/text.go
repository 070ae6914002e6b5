package dsn

import (
	"bytes"
	"strings"
	"time"
)

// text is what people read. It says what happened to whom, why, and what to do.
func (r *Report) text(host string, back returned) []byte {
	w := textWriter{r: r}
	w.paragraph("This is the mail system at " + host + ".")
	w.group(Failed, "We are sorry: your message could not be delivered to the following.",
		"It will not be tried again. If you still want it to arrive, please do what is said above and send it once more.")
	w.group(Delayed, "Your message could not be delivered yet to the following.",
		"You need not send it again: we keep trying"+w.until()+" and tell you if we have to give up.")
	w.group(Delivered, "Your message was delivered to the following.", "")
	w.group(Relayed, "Your message was passed on to a mail system that does not confirm delivery, for the following. "+
		"You may get no further confirmation.", "")
	w.group(Expanded, "Your message was passed on to all members of the following lists.", "")
	switch {
	case back.mediaType == "":
	case back.whole:
		w.paragraph("Your message is attached.")
	default:
		w.paragraph("The header of your message is attached.")
	}
	if !r.Parent.IsZero() && r.has(Failed, Delayed) {
		w.paragraph("If you ask the postmaster of " + host + " about this, please mention " + r.Parent.String() + ".")
	}
	return bytes.TrimSuffix(w.b.Bytes(), []byte("\r\n"))
}

// textWriter writes paragraphs.
type textWriter struct {
	r *Report
	b bytes.Buffer
}

// paragraph writes words in lines of at most 72 octets where they fit, and an empty line.
func (w *textWriter) paragraph(s string) {
	w.lines("", s)
	w.b.WriteString("\r\n")
}

func (w *textWriter) lines(indent, s string) {
	used := 0
	for _, word := range strings.Fields(s) {
		switch {
		case used == 0:
			w.b.WriteString(indent)
			used = len(indent)
		case used+1+len(word) > 72:
			w.b.WriteString("\r\n" + indent)
			used = len(indent)
		default:
			w.b.WriteByte(' ')
			used++
		}
		w.b.WriteString(word)
		used += len(word)
	}
	w.b.WriteString("\r\n")
}

// group tells of all recipients with an action.
func (w *textWriter) group(a Action, intro, outro string) {
	if !w.r.has(a) {
		return
	}
	w.paragraph(intro)
	for i := range w.r.Recipients {
		p := &w.r.Recipients[i]
		if p.Action != a {
			continue
		}
		w.lines("  ", "<"+w.r.address(string(p.Final))+">"+w.asked(p))
		if a == Failed || a == Delayed {
			w.lines("    ", advice(p.status(), a))
			w.said(p)
		}
		w.b.WriteString("\r\n")
	}
	if outro != "" {
		w.paragraph(outro)
	}
}

// asked names the address that the sender wrote, where it was another.
func (w *textWriter) asked(p *Recipient) string {
	_, addr, ok := strings.Cut(p.Original, ";")
	addr = strings.TrimSpace(addr)
	if !ok || addr == "" || strings.EqualFold(addr, string(p.Final)) {
		return ""
	}
	return " (you wrote to " + w.r.address(addr) + ")"
}

// said repeats the last reply.
func (w *textWriter) said(p *Recipient) {
	d := w.r.diagnostic(p)
	switch {
	case d == "":
	case p.RemoteMTA != "":
		w.lines("    ", "The mail system "+w.r.words(p.RemoteMTA)+" said: "+d)
	default:
		w.lines("    ", "The exact reason is: "+d)
	}
}

// until is when we give up the delayed ones.
func (w *textWriter) until() string {
	var last time.Time
	for _, p := range w.r.Recipients {
		if p.Action == Delayed && p.WillRetryUntil.After(last) {
			last = p.WillRetryUntil
		}
	}
	if last.IsZero() {
		return ""
	}
	return " until " + date(last)
}

// advice says what a status code (RFC 3463, IANA's registry) means for the sender.
func advice(status string, a Action) string {
	if a == Delayed {
		return delayAdvice(status)
	}
	_, code, _ := strings.Cut(status, ".")
	switch code {
	case "1.1", "1.6", "1.3":
		return "There is no such address. Please look for a typing error, or ask for the new address."
	case "1.2", "4.4", "1.10":
		return "The part behind the @ does not exist or takes no mail. Please look for a typing error."
	case "2.1":
		return "The mailbox is switched off. Please reach the recipient in another way."
	case "2.2":
		return "The mailbox is full. Please try again later, or reach the recipient in another way."
	case "2.3", "3.4":
		return "The message is too large for the recipient. Please send it in smaller parts, or send a link."
	case "4.7", "4.1":
		return "The recipient's mail system could not be reached for too long. Please try again later, or reach the recipient in another way."
	case "4.6":
		return "The message goes round in circles: the recipient's mail is forwarded back. Only the recipient or the postmaster can mend that."
	case "6.7":
		return "The recipient's mail system does not take addresses with these characters. Please use another address."
	}
	switch subject, _, _ := strings.Cut(code, "."); subject {
	case "6":
		return "The recipient's mail system does not take this kind of content. Please send it in another form."
	case "7":
		return "The recipient's mail system refuses the message by its rules. Please read its reason below, and ask its postmaster if it does not help."
	}
	return "The recipient's mail system does not take the message. Please read its reason below, and reach the recipient in another way."
}

// delayAdvice says what keeps a message waiting.
func delayAdvice(status string) string {
	_, code, _ := strings.Cut(status, ".")
	switch {
	case code == "2.2":
		return "The mailbox is full at the moment."
	case strings.HasPrefix(code, "4."):
		return "The recipient's mail system cannot be reached at the moment."
	case strings.HasPrefix(code, "7."):
		return "The recipient's mail system asks us to wait."
	}
	return "The recipient's mail system does not take the message at the moment."
}
