package imap

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	verdict "github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// Statuses of tagged responses (RFC 9051 §7.1).
const (
	statusOK  = "OK"
	statusNo  = "NO"
	statusBad = "BAD"
)

// reply is a tagged response. The zero reply is OK, and that the command has completed.
type reply struct {
	status string
	// code is a response code without brackets (RFC 9051 §7.1, RFC 5530).
	code string
	text string
	// silent: the handler has answered already.
	silent bool
}

func bad(text string) reply                { return reply{status: statusBad, text: text} }
func no(code, text string) reply           { return reply{status: statusNo, code: code, text: text} }
func okCode(code, text string) reply       { return reply{status: statusOK, code: code, text: text} }
func (r reply) Error() string              { return r.status + " [" + r.code + "] " + r.text }
func (r reply) withCode(code string) reply { r.code = code; return r }

// errMessagesGone is a FETCH of messages that were expunged meanwhile (RFC 2180 §4.1.3, RFC 5530).
var errMessagesGone = no("EXPUNGEISSUED", "some of the messages no longer exist")

// noKeywordRoom is the enhanced status of the store's verdict on a message whose keywords have no room.
const noKeywordRoom = "5.2.0"

// lacksKeywordRoom tells that verdict.
func lacksKeywordRoom(err error) bool {
	return status.Code(err) == codes.FailedPrecondition && verdict.Of(err).Enhanced == noKeywordRoom
}

// errCopyKeywords is a COPY or MOVE of messages whose keywords have no room in the target: nothing is done then, so that none is
// lost (RFC 9051 §6.4.7, RFC 5530 §3).
var errCopyKeywords = no("LIMIT", fmt.Sprintf("%d keywords are in use in the target mailbox, and others of these messages have no room: take one from all messages there that have it, or those from these",
	mailbox.MaxKeywords))

// mailboxFull is the enhanced status of the store's verdict on a RENAME below a folder that has no room for it.
const mailboxFull = "4.2.2"

// errNoRoom is what would pass a limit (RFC 9208 §4.3.1).
var errNoRoom = no("OVERQUOTA", "no room for this")

// errKeywords is a change or a message that would take a mailbox over mailbox.MaxKeywords (RFC 5530 §3).
var errKeywords = no("LIMIT", fmt.Sprintf("%d keywords are in use in this mailbox, and no more have room: take one from all messages that have it, or leave the new one out",
	mailbox.MaxKeywords))

// replyFor is what a client sees of an error: no cause of ours.
func (s *session) replyFor(err error) reply {
	var r reply
	var syntax *wire.SyntaxError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &syntax):
		return bad(syntax.Text)
	case errors.Is(err, view.ErrGone), errors.Is(err, view.ErrInconsistent):
		s.bye("selected mailbox " + s.whyGone())
		return no("NONEXISTENT", "mailbox no longer exists")
	}
	code := status.Code(err)
	if errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	switch code {
	case codes.NotFound:
		return no("NONEXISTENT", "no such mailbox")
	case codes.AlreadyExists:
		return no("ALREADYEXISTS", "mailbox exists already")
	case codes.ResourceExhausted:
		return errNoRoom
	case codes.PermissionDenied:
		return no("NOPERM", "not permitted")
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return no("CANNOT", "this cannot be done")
	case codes.Canceled:
		return no("UNAVAILABLE", "cancelled")
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.Unimplemented: // the last of a store that is to be upgraded
		s.log.Warn("command failed", obs.Reason(s.verbName()), obs.Error(err))
		return no("UNAVAILABLE", "temporarily unavailable, try again")
	}
	s.log.Error("command failed", obs.Reason(s.verbName()), obs.Error(err))
	return no("SERVERBUG", "internal error")
}

// whyGone is what may have become of the selected mailbox. Whoever may not know any more that it is there is told like one whose
// mailbox is gone (RFC 4314 §5.1.1, §8).
func (s *session) whyGone() string {
	if s.sel != nil && s.sel.owner() != uint64(s.account) {
		return "was deleted or rebuilt, or is not shared with you any more"
	}
	return "was deleted or rebuilt"
}

func (s *session) verbName() string {
	if s.verb == nil {
		return ""
	}
	return s.verb.name
}

// answer writes the tagged response.
func (s *session) answer(r reply) {
	if r.silent {
		return
	}
	if r.status == "" {
		r.status = statusOK
	}
	b := append(s.out.Take(), s.tag...)
	b = append(append(b, ' '), r.status...)
	b = append(b, ' ')
	if r.code != "" {
		b = append(append(append(b, '['), r.code...), "] "...)
	}
	if r.text == "" {
		b = append(append(b, s.verbName()...), " completed"...)
	} else {
		b = append(b, r.text...)
	}
	s.out.Give(append(b, "\r\n"...))
}
