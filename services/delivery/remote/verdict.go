package remote

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/resolve"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errLoop is a domain whose best mail server is ourselves, although the domain is not ours.
var errLoop = errors.New("mail for the domain comes back to this server")

// verdict is what an error means for a recipient.
type verdict struct {
	state storev1.State
	reply string
}

// deferred keeps a verdict's words but never bounces: another host, or this one later, may do better.
func (v verdict) deferred() verdict {
	if v.state == storev1.State_STATE_BOUNCED {
		v.state = storev1.State_STATE_QUEUED
	}
	return v
}

func all(rows []*storev1.RecipientRow, v verdict, relay string) []result {
	results := make([]result, len(rows))
	for i, row := range rows {
		results[i] = result{row: row, state: v.state, reply: v.reply, relay: relay}
	}
	return results
}

// verdictOf tells what an error means. Only a 5xx of the peer, a domain that cannot take mail, and what we know to be
// hopeless are final; everything else is deferred.
func verdictOf(err error) verdict {
	bounced := func(text string) verdict { return verdict{storev1.State_STATE_BOUNCED, text} }
	var refused *smtp.SMTPError
	var own *reply.Error
	switch {
	case errors.As(err, &refused):
		v := verdict{storev1.State_STATE_QUEUED, replyText(refused)}
		if refused.Code >= 500 {
			v.state = storev1.State_STATE_BOUNCED
		}
		return v
	case errors.As(err, &own) && own.IsPermanent():
		return bounced(own.String())
	case errors.Is(err, resolve.ErrNullMX):
		return bounced("556 5.1.10 the domain takes no mail (null MX)")
	case errors.Is(err, resolve.ErrNotFound):
		return bounced("550 5.1.2 the domain does not exist or has no mail server")
	case errors.Is(err, resolve.ErrName):
		return bounced("550 5.1.2 the domain is not a name")
	case errors.Is(err, errLoop):
		return bounced("554 5.4.6 " + errLoop.Error())
	case errors.Is(err, resolve.ErrTemporary):
		return verdict{storev1.State_STATE_QUEUED, "451 4.4.3 the DNS did not answer for the domain"}
	case isConnection(err):
		return verdict{storev1.State_STATE_QUEUED, "451 4.4.2 " + oneLine(err.Error())}
	}
	return verdict{storev1.State_STATE_QUEUED, "451 4.3.0 " + oneLine(err.Error())}
}

// isConnection tells whether an error is the connection's, not a reply.
func isConnection(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// replyText writes a peer's reply on one line, with an enhanced code even where the peer gave none (RFC 3463 §2).
func replyText(e *smtp.SMTPError) string {
	class := e.Code / 100
	code := fmt.Sprintf("%d.0.0", class)
	if e.EnhancedCode[0] > 0 {
		code = fmt.Sprintf("%d.%d.%d", e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	}
	return fmt.Sprintf("%d %s %s", e.Code, code, oneLine(e.Message))
}

// maxReply is how much of a peer's reply is kept, octets.
const maxReply = 1024

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReply {
		s = strings.ToValidUTF8(s[:maxReply], "")
	}
	return strings.ToValidUTF8(s, "?")
}

func stack() slog.Attr { return obs.Stack(debug.Stack()) }
