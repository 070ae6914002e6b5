package ingress

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// errRelay is said to recipients that are not ours.
var errRelay = reply.Permanent(550, "5.7.1", "relaying denied")

// Rcpt takes recipients of our domains (RFC 5321 §3.6.2: no relaying), asking for all of them in one call.
func (s *session) Rcpt(ctx context.Context, rcpts []smtpd.Rcpt) {
	s.addresses = s.addresses[:0]
	for i := range rcpts {
		if !rcpts[i].To.IsLiteral() {
			s.addresses = append(s.addresses, rcpts[i].To)
		}
	}
	kinds, err := s.s.resolver.Kinds(ctx, s.kinds[:0], s.addresses)
	s.kinds = kinds
	var full []error
	if err == nil {
		full = s.s.rooms.Refusals(ctx, s.s.resolver, s.addresses)
	}
	next := 0
	for i := range rcpts {
		r := &rcpts[i]
		switch {
		case r.To.IsLiteral():
			r.Err = errRelay // No mailbox here has an address that is a host's.
		case err != nil:
			r.Err = acceptance.ErrAway.Because(err)
		default:
			if r.Err = refusal(kinds[next]); r.Err == nil {
				r.Err = full[next]
			}
			next++
		}
		if r.Err != nil {
			s.tx.Refused(ctx, s.s.acceptor, s.conn, r)
			continue
		}
		s.tx.Rcpt(r)
	}
}

// refusal is the reply to a recipient of a kind; nil for one that is ours.
func refusal(kind directoryv1.Kind) error {
	if kind == directoryv1.Kind_KIND_REMOTE {
		return errRelay
	}
	return acceptance.Refusal(kind)
}
