package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"syscall"
	"unicode"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/resolve"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errLoop is a domain whose best mail server is ourselves, although the domain is not ours.
var errLoop = errors.New("mail for the domain comes back to this server")

// verdict is what an error means for a recipient.
type verdict struct {
	state storev1.State
	reply string // "451 4.4.2 text"; empty where this was no attempt
}

// deferred keeps a verdict's words but never bounces: another host, or this one later, may do better.
func (v verdict) deferred() verdict {
	if v.state == storev1.State_STATE_BOUNCED {
		v.state = storev1.State_STATE_QUEUED
	}
	return v
}

func waits(text string) verdict   { return verdict{storev1.State_STATE_QUEUED, text} }
func bounces(text string) verdict { return verdict{storev1.State_STATE_BOUNCED, text} }

// verdictOf tells what an error means. Only a 5xx of the peer, a domain that cannot take mail, and what we know to be
// hopeless are final; everything else is deferred. The text is for the sender: no paths, no addresses of ours.
func verdictOf(err error) verdict {
	var own *reply.Error
	word := wordOf(err)
	switch {
	case word != nil && word.Code/100 == 5:
		return bounces(replyText(word))
	case word != nil:
		return waits(replyText(word))
	case errors.As(err, &own) && own.IsPermanent():
		return bounces(own.String())
	case errors.Is(err, resolve.ErrNullMX):
		return bounces("556 5.1.10 the domain takes no mail (null MX)")
	case errors.Is(err, resolve.ErrNotFound):
		return bounces("550 5.1.2 the domain does not exist or has no mail server")
	case errors.Is(err, resolve.ErrName):
		return bounces("550 5.1.2 the domain is not a name")
	case errors.Is(err, errLoop):
		return bounces("554 5.4.6 " + errLoop.Error())
	case errors.Is(err, resolve.ErrTemporary):
		return waits("451 4.4.3 the DNS did not answer for the domain")
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
		return waits("451 4.3.0 the message cannot be read")
	}
	var at *stepError
	if !errors.As(err, &at) {
		return waits("451 4.3.0 local trouble")
	}
	if at.step == connecting {
		return waits(oneLine(fmt.Sprintf("451 4.4.1 connect to %s: %s", at.peer, trouble(at.err))))
	}
	return waits(oneLine(fmt.Sprintf("451 4.4.2 %s at %s: %s", at.peer, at.step, trouble(at.err))))
}

// connecting is the step before the dialogue.
const connecting = "connect"

// stepError is trouble with a peer that gave no reply to go by.
type stepError struct {
	step, peer string
	err        error
}

func (e *stepError) Error() string { return e.step + ": " + e.peer + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// replyOf finds a peer's reply, or nil.
func replyOf(err error) *smtp.SMTPError {
	var said *smtp.SMTPError
	if errors.As(err, &said) {
		return said
	}
	return nil
}

// wordOf finds a peer's refusal, for now (4yz) or for good (5yz), or nil: any other reply in an error is against the protocol.
func wordOf(err error) *smtp.SMTPError {
	if said := replyOf(err); said != nil && (said.Code/100 == 4 || said.Code/100 == 5) {
		return said
	}
	return nil
}

// isBusy tells of a 421: it is about the connection, not about the message, and may come at any place (RFC 5321 §3.8).
func isBusy(err error) bool {
	said := replyOf(err)
	return said != nil && said.Code == 421
}

// trouble says in a few words what is wrong with a connection.
func trouble(err error) string {
	var ne net.Error
	var protocol textproto.ProtocolError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, errFlood):
		return errFlood.Error()
	case errors.Is(err, errTooLong):
		return errTooLong.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "timed out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection lost"
	case errors.As(err, &protocol), errors.Is(err, smtp.ErrTooLongLine), replyOf(err) != nil:
		return "the reply is not understood"
	case errors.As(err, &record):
		return "TLS failed"
	}
	return "connection failed"
}

// replyText writes a peer's reply on one line, with an enhanced code even where the peer gave none, of the reply's own class
// (RFC 3463 §2, RFC 2034 §4).
func replyText(e *smtp.SMTPError) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", e.Code, enhanced(e.Code/100, e.EnhancedCode), oneLine(e.Message)))
}

func enhanced(class int, c smtp.EnhancedCode) string {
	if c[0] != class || c[1] < 0 || c[1] > 999 || c[2] < 0 || c[2] > 999 {
		return fmt.Sprintf("%d.0.0", class)
	}
	return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2])
}

// takenText writes the reply to the final dot, an enhanced code of the peer's included.
func takenText(message string) string {
	text := oneLine(message)
	if strings.HasPrefix(text, "2.") {
		return "250 " + text
	}
	return "250 2.0.0 " + text
}

// maxReply is how much of a peer's reply is kept, octets.
const maxReply = 1000

// oneLine makes a peer's words fit for logs, headers and terminals: one line, no control or formatting characters, bounded.
func oneLine(s string) string {
	if len(s) > 4*maxReply {
		s = s[:4*maxReply]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReply {
		s = strings.ToValidUTF8(s[:maxReply], "")
	}
	return s
}
