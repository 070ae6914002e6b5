package acceptance

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// dateLayout is RFC 5322 §3.3.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// overlay is what we add to the message and hide of it. Ours lies next to the body: of all prefixes it comes last.
func (m *Message) overlay(ix *message.Index) message.Overlay {
	now := time.Unix(0, m.env.GetAcceptedNs()).In(m.began.Location())
	prefix := appendReceived(make([]byte, 0, 512), m.env, m.id.String(), m.a.hostname, now)
	var cuts []message.Range
	if m.opts.Complete {
		prefix, cuts = m.complete(prefix, ix, now)
	}
	if ix.NoHeader() {
		prefix = append(prefix, "\r\n"...)
	}
	return message.NewOverlay(prefix, cuts)
}

// complete adds what a client left to us (RFC 6409 §8.2, §8.3) and hides Bcc, which RFC 5322 §3.6.3 leaves to whoever
// sends the message out.
func (m *Message) complete(prefix []byte, ix *message.Index, now time.Time) ([]byte, []message.Range) {
	var date, messageID bool
	var cuts []message.Range
	for _, f := range ix.Fields {
		switch f.Name {
		case "date":
			date = true
		case "message-id":
			messageID = true
		case "bcc", "resent-bcc":
			cuts = append(cuts, f.All())
		}
	}
	if !date {
		prefix = append(prefix, "Date: "...)
		prefix = append(now.AppendFormat(prefix, dateLayout), "\r\n"...)
	}
	if !messageID {
		m.env.MessageId = "<" + m.id.String() + "@" + m.a.hostname + ">"
		prefix = append(prefix, "Message-ID: "...)
		prefix = append(append(prefix, m.env.MessageId...), "\r\n"...)
	}
	return prefix, cuts
}

// appendReceived appends the trace field (RFC 5321 §4.4): the keyword of RFC 3848, TLS version and cipher in a comment,
// and the recipient where there is only one, since the others are nobody's business (§7.6).
func appendReceived(b []byte, env *mailv1.Envelope, id, hostname string, now time.Time) []byte {
	client := env.GetClient()
	literal := addressLiteral(client.GetAddress())
	b = append(b, "Received: from "...)
	switch helo := client.GetHelo(); {
	case envelope.IsHeloName(helo):
		b = append(b, helo...)
	case literal != "":
		b = append(b, literal...)
	default:
		b = append(b, "unknown"...)
	}
	if literal != "" {
		b = append(b, " ("...)
		b = append(append(b, literal...), ')')
	}
	b = append(b, "\r\n\tby "...)
	b = append(b, hostname...)
	b = append(b, " with "...)
	b = append(b, client.GetProtocol()...)
	if client.GetTlsVersion() != "" {
		b = append(b, "\r\n\t("...)
		b = append(b, client.GetTlsVersion()...)
		b = append(b, ' ')
		b = append(append(b, client.GetTlsCipher()...), ')')
	}
	b = append(b, "\r\n\tid "...)
	b = append(b, id...)
	if rcpts := env.GetRecipients(); len(rcpts) == 1 && strings.Contains(rcpts[0].GetForwardPath(), "@") {
		b = append(b, "\r\n\tfor <"...)
		b = append(append(b, rcpts[0].GetForwardPath()...), '>')
	}
	b = append(b, ";\r\n\t"...)
	return append(now.AppendFormat(b, dateLayout), "\r\n"...)
}

// addressLiteral is RFC 5321 §4.1.3's form of an IP address, empty for none.
func addressLiteral(address string) string {
	switch {
	case address == "":
		return ""
	case strings.Contains(address, ":"):
		return "[IPv6:" + address + "]"
	}
	return "[" + address + "]"
}

// validText cuts s to so many octets and makes it what protobuf strings must be.
func validText(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

func cutRunes(s string, most int) string {
	n := 0
	for i := range s {
		if n == most {
			return s[:i]
		}
		n++
	}
	return s
}
