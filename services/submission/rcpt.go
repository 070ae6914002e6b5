package submission

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Rcpt takes recipients anywhere; of our own domains only those that exist, so that the user hears of a slip at once.
func (s *session) Rcpt(ctx context.Context, rcpts []smtpd.Rcpt) {
	s.addresses = s.addresses[:0]
	for i := range rcpts {
		s.addresses = append(s.addresses, rcpts[i].To)
	}
	kinds, err := s.s.resolver.Kinds(ctx, s.kinds[:0], s.addresses)
	s.kinds = kinds
	for i := range rcpts {
		r := &rcpts[i]
		if err != nil {
			r.Err = acceptance.ErrAway.Because(err)
		} else {
			r.Err = refusal(kinds[i])
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
