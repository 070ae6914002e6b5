package remote

import (
	"context"
	"errors"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/resolve"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// result is what became of one recipient in this attempt.
type result struct {
	row *storev1.RecipientRow
	verdict
	relay string // who said it; empty where it was us
	// dsnPassed tells that the peer took over the sender's wishes for notification (RFC 3461 §5.2.2).
	dsnPassed bool
}

func all(rows []*storev1.RecipientRow, v verdict, relay string) []result {
	results := make([]result, len(rows))
	for i, row := range rows {
		results[i] = result{row: row, verdict: v, relay: relay}
	}
	return results
}

// send tries the hosts of the destination until all recipients have been answered for, and reports what became of each. When
// ctx ends, what is open is given back; where the claim is lost it is another's.
func (s *Service) send(ctx context.Context, j *job) {
	last, relay := s.sendToHosts(ctx, j)
	if len(j.open) == 0 {
		return
	}
	if cause := context.Cause(ctx); cause != nil || last == (verdict{}) {
		switch {
		case errors.Is(cause, errClaimLost):
			s.deps.Log.WarnContext(ctx, "claim lost", obs.QueueID(j.id))
			return
		case errors.Is(cause, errTooLong):
			last, relay = waits("451 4.4.7 "+errTooLong.Error()), ""
		default: // no fault of the peer's and no attempt: it is due again at once
			last, relay = verdict{state: storev1.State_STATE_QUEUED}, ""
		}
	}
	s.settle(ctx, j, all(j.open, last, relay))
}

// sendToHosts tells why recipients are still open; without words where that was no attempt.
func (s *Service) sendToHosts(ctx context.Context, j *job) (last verdict, relay string) {
	began := s.deps.Now()
	hosts, err := s.hosts(ctx, j.to)
	j.connecting += s.deps.Now().Sub(began)
	if err != nil {
		return verdictOf(err), ""
	}
	m, err := s.letter(ctx, j)
	if err != nil {
		s.deps.Log.ErrorContext(ctx, "message cannot be read", obs.QueueID(j.id), obs.Error(err))
		return verdictOf(err), ""
	}
	defer m.Close()
	tried := 0
	// A server whose name leads nowhere says nothing of the others, and its name may be repaired.
	last = bounces("550 5.4.4 no mail server of the domain has an address")
	if s.cfg.SmartHost != "" {
		last = waits("451 4.4.4 the next hop has no address")
	}
	for _, h := range hosts {
		addrs, err := s.addresses(ctx, h)
		if err != nil {
			if !errors.Is(err, resolve.ErrNotFound) && !errors.Is(err, resolve.ErrName) && tried == 0 {
				last = verdictOf(err).deferred()
			}
			continue
		}
		for _, a := range addrs {
			if tried++; tried > s.cfg.MaxHosts || ctx.Err() != nil {
				return last, relay
			}
			err := s.sendTo(ctx, j, m, a)
			switch {
			case err == nil:
				return verdict{}, ""
			case errors.Is(err, errUnsure), errors.Is(err, errClaimLost):
				s.deps.Log.WarnContext(ctx, "sending stopped before the final dot", obs.QueueID(j.id), obs.Relay(a.String()), obs.Error(err))
				return verdict{}, ""
			}
			s.deps.Log.DebugContext(ctx, "host failed", obs.QueueID(j.id), obs.Relay(a.String()), obs.Error(err))
			last, relay = verdictOf(err).deferred(), ""
			if wordOf(err) != nil {
				relay = a.String()
			}
		}
	}
	return last, relay
}

// sendTo tries one address until no recipient is open. An error means that the next address may do better.
func (s *Service) sendTo(ctx context.Context, j *job, m *letter, h host) error {
	for len(j.open) > 0 {
		results, err := s.transaction(ctx, j, m, h)
		if err != nil {
			return err
		}
		if !s.settle(ctx, j, results) {
			return errClaimLost
		}
	}
	return nil
}

// transaction sends the message to as many recipients as go into one, over a connection that waits or a new one.
func (s *Service) transaction(ctx context.Context, j *job, m *letter, h host) ([]result, error) {
	// A connection that waited may have been closed meanwhile: then a new one is opened, as nothing was said on it yet.
	if p := s.pool.get(h); p != nil {
		if results, err := s.transact(ctx, j, m, p); !errors.Is(err, errStale) {
			return results, err
		}
	}
	began := s.deps.Now()
	p, err := s.connect(ctx, h)
	j.connecting += s.deps.Now().Sub(began)
	if err != nil {
		return nil, err
	}
	return s.transact(ctx, j, m, p)
}
