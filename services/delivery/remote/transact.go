package remote

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/fault"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errStale is a kept connection that the peer closed before we said anything of the message.
var errStale = errors.New("connection was closed while it waited")

// transact is one mail transaction (RFC 5321 §3.3) over p, which it keeps or ends. Without error at least one recipient has
// a result. An error means that another address may do better.
func (s *Service) transact(ctx context.Context, j *job, m *letter, p *peer) ([]result, error) {
	t := &transaction{Service: s, job: j, letter: m, peer: p, rows: j.open[:min(len(j.open), p.recipients(s.cfg.MaxRecipients))]}
	t.cutOff = context.AfterFunc(ctx, func() { p.raw.Close() })
	results, err := t.run(ctx)
	whole := t.cutOff() || t.dotted
	switch {
	case t.reusable && whole && p.sent < s.cfg.MessagesPerConnection:
		s.pool.put(p)
	case err == nil && !t.unknown || wordOf(err) != nil:
		s.pool.drop(p)
	default:
		p.raw.Close()
	}
	if err != nil && !whole {
		err = errors.Join(err, context.Cause(ctx))
	}
	return results, err
}

// transaction is one on its way.
type transaction struct {
	*Service
	job    *job
	letter *letter
	peer   *peer
	rows   []*storev1.RecipientRow

	// cutOff disarms the end of ctx; false where that was too late.
	cutOff func() bool
	// accepted are those that the peer took at RCPT; results are the words for the others.
	accepted []*storev1.RecipientRow
	results  []result
	// dotted tells that the final dot was sent, unknown that its reply did not come.
	dotted, unknown bool
	// reusable tells that the peer is ready for another MAIL.
	reusable bool
}

func (t *transaction) run(ctx context.Context) ([]result, error) {
	opts, err := mailOptions(t.letter, t.peer, t.rows)
	if err != nil { // nothing was said
		t.reusable = true
		return all(t.rows, verdictOf(err), ""), nil
	}
	fault.Point("remote.before-mail")
	if err := t.mail(opts); err != nil {
		return t.whole("MAIL", t.rows, err)
	}
	if err := t.recipients(opts.UTF8); err != nil || len(t.accepted) == 0 {
		return t.results, err
	}
	fault.Point("remote.before-data")
	data, err := t.peer.Data()
	if err != nil {
		return t.whole("DATA", t.accepted, err)
	}
	if err := t.copy(data); err != nil {
		return nil, t.lost("the message", err)
	}
	// From here on the peer may have the message, whatever happens to the connection.
	asked := t.deps.Now()
	if err := t.renewed(ctx); err != nil {
		return nil, err // the connection is closed without the dot: the peer drops what it has
	}
	fault.Point("remote.before-dot")
	if !t.cutOff() {
		return nil, t.lost("the final dot", errDraining)
	}
	// A process that stood still since it asked goes by an old answer: another may have sent the message by now.
	if since := t.deps.Now().Sub(asked); since > t.cfg.ClaimLease/2 {
		return nil, fmt.Errorf("%w: the answer is %v old", errUnsure, since)
	}
	return t.dot(data)
}

// mail says MAIL. On a connection that waited, one that is closed and a 421 are the news that the peer did not wait.
func (t *transaction) mail(opts *smtp.MailOptions) error {
	err := succeeded(t.peer.Mail(wirePath(t.letter.envelope.ReversePath, opts.UTF8), opts))
	if err != nil && t.peer.sent > 0 && (replyOf(err) == nil || isBusy(err)) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

// recipients says RCPT for each; a refused one has its result, an accepted one awaits the message's. Where the peer takes
// only so many at once, the others stay open for the next transaction (RFC 5321 §4.5.3.1.10).
func (t *transaction) recipients(utf8 bool) error {
	var tooMany []result
	for _, row := range t.rows {
		err := succeeded(t.peer.Rcpt(wirePath(row.ForwardPath, utf8), rcptOptions(row)))
		word := wordOf(err)
		switch {
		case err == nil:
			t.accepted = append(t.accepted, row)
			continue
		case word == nil || isBusy(err):
			return t.lost("RCPT", err)
		}
		r := result{row: row, verdict: verdictOf(err), relay: t.peer.relay()}
		if word.Code == 452 && len(t.accepted) > 0 {
			tooMany = append(tooMany, r)
			continue
		}
		t.results = append(t.results, r)
	}
	if len(t.accepted) == 0 {
		t.results = append(t.results, tooMany...)
	}
	return nil
}

// renewed asks whether the claim still holds for those whom the message is about to reach.
func (t *transaction) renewed(ctx context.Context) error {
	err := t.renew(ctx, t.job, t.accepted)
	if err != nil && !errors.Is(err, errClaimLost) {
		return fmt.Errorf("%w: %w", errUnsure, err)
	}
	return err
}

// dot ends the message. A connection that is lost before the reply leaves the outcome unknown: the message is deferred, and
// not tried elsewhere at once.
func (t *transaction) dot(data *smtp.DataCommand) ([]result, error) {
	t.dotted = true
	defer context.AfterFunc(t.drain.afterDot, func() { t.peer.raw.Close() })()
	answer, err := data.CloseWithResponse()
	if said := replyOf(err); succeeded(err) == nil && said != nil {
		answer, err = &smtp.DataResponse{StatusText: said.Message}, nil
	}
	fault.Point("remote.after-dot")
	switch {
	case err == nil:
		t.peer.sent++
		t.reusable = true
		return t.settled(t.accepted, verdict{storev1.State_STATE_RELAYED, takenText(answer.StatusText)}, t.peer.relay()), nil
	case wordOf(err) != nil:
		return t.whole("the final dot", t.accepted, err)
	}
	t.unknown = true
	text := fmt.Sprintf("451 4.4.2 %s: %s before the reply to the message: it may have arrived", t.peer.host, trouble(err))
	return t.settled(t.accepted, waits(oneLine(text)), ""), nil
}

// whole is the end of a transaction by an error at a command that concerns the rows together. The peer's word counts for
// them all: another of its hosts would say the same. A 421 is not about the message.
func (t *transaction) whole(step string, rows []*storev1.RecipientRow, err error) ([]result, error) {
	switch {
	case errors.Is(err, errStale), isBusy(err):
		return nil, err
	case wordOf(err) != nil:
		return t.settled(rows, verdictOf(err), t.peer.relay()), nil
	}
	return nil, t.lost(step, err)
}

// settled adds the same result for all rows to what RCPT said.
func (t *transaction) settled(rows []*storev1.RecipientRow, v verdict, relay string) []result {
	dsn := t.peer.has("DSN")
	for _, row := range rows {
		t.results = append(t.results, result{row: row, verdict: v, relay: relay, dsnPassed: dsn})
	}
	return t.results
}

// lost is trouble with the connection, or a peer that does not keep to the protocol.
func (t *transaction) lost(step string, err error) error {
	if isBusy(err) {
		return fmt.Errorf("%s: %w", step, err)
	}
	return &stepError{step, t.peer.host.String(), err}
}

// succeeded takes any 2yz for success: only the first digit of a reply counts (RFC 5321 §4.2).
func succeeded(err error) error {
	if said := replyOf(err); said != nil && said.Code/100 == 2 {
		return nil
	}
	return err
}

// copy sends the message.
func (t *transaction) copy(data io.Writer) error {
	buf, ok := t.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, writeBuffer)
		buf = &b
	}
	defer t.buffers.Put(buf)
	_, err := io.CopyBuffer(data, t.letter.reader(), *buf)
	return err
}
