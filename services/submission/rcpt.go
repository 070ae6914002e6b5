package submission

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// errRecipients is said to an account that has written to too many lately.
var errRecipients = reply.Transient(452, "4.7.1", "your account has written to too many recipients, try again later")

// Rcpt takes recipients anywhere; of our own domains only those that exist, so that the user hears of a slip at once.
func (s *session) Rcpt(ctx context.Context, rcpts []smtpd.Rcpt) {
	s.addresses = s.addresses[:0]
	for i := range rcpts {
		s.addresses = append(s.addresses, rcpts[i].To)
	}
	kinds, err := s.s.resolver.Kinds(ctx, s.kinds[:0], s.addresses)
	s.kinds = kinds
	var full []error
	if err == nil {
		full = s.s.rooms.Refusals(ctx, s.s.resolver, s.addresses)
	}
	good := 0
	for i := range rcpts {
		if err != nil {
			rcpts[i].Err = acceptance.ErrAway.Because(err)
		} else if rcpts[i].Err = refusal(kinds[i]); rcpts[i].Err == nil {
			if rcpts[i].Err = full[i]; rcpts[i].Err != nil {
				continue
			}
			good++
		}
	}
	if l := s.s.deps.Limits; l != nil && good > 0 {
		good = l.AccountRecipients(s.conn.RemoteAddr(), uint64(s.account), good)
	}
	for i := range rcpts {
		r := &rcpts[i]
		if r.Err == nil {
			if good--; good < 0 {
				r.Err = errRecipients
			}
		}
		if r.Err != nil {
			s.tx.Refused(ctx, s.s.acceptor, s.conn, r)
			continue
		}
		s.tx.Rcpt(r)
	}
}

// refusal is the reply to a recipient of a kind; nil for one that mail can be sent to.
func refusal(kind directoryv1.Kind) error {
	if kind == directoryv1.Kind_KIND_REMOTE {
		return nil
	}
	return acceptance.Refusal(kind)
}
