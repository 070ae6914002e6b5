package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/resolve"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errClaimLost is a claim that another process holds by now: nothing may be sent or reported.
var errClaimLost = errors.New("the claim is lost")

// result is what became of one recipient in this attempt.
type result struct {
	row   *storev1.RecipientRow
	state storev1.State // RELAYED, BOUNCED, or QUEUED for deferred
	reply string        // "451 4.7.1 text"
	relay string
	// dsnPassed tells that the peer took over the sender's wishes for notification (RFC 3461 §5.2.2).
	dsnPassed bool
}

// send tries the hosts of the destination until one has answered for the message. It returns a result for each recipient,
// or nil when the claim was lost.
func (s *Service) send(ctx context.Context, j *job) []result {
	hosts, err := s.hosts(ctx, j.group)
	if ctx.Err() != nil {
		return all(j.recipients, goingDown, "")
	}
	if err != nil {
		return all(j.recipients, verdictOf(err), "")
	}
	last := all(j.recipients, verdict{storev1.State_STATE_QUEUED, "451 4.4.1 no host could be reached"}, "")
	tried := 0
	for _, h := range hosts {
		addrs, err := s.addresses(ctx, h)
		if err != nil {
			last = all(j.recipients, verdictOf(err), h.Name)
			continue
		}
		for _, address := range addrs {
			if tried++; tried > s.cfg.MaxHosts {
				return last
			}
			results, settled := s.sendTo(ctx, j, h.Name, address)
			if settled {
				return results
			}
			if ctx.Err() != nil {
				return all(j.recipients, goingDown, "")
			}
			last = results
		}
	}
	return last
}

// hosts lists where to try. A host that is ourselves ends the list: beyond it the message would come back (RFC 5321 §5.1).
func (s *Service) hosts(ctx context.Context, group string) ([]resolve.Host, error) {
	if s.cfg.SmartHost != "" {
		host, _, _ := net.SplitHostPort(s.cfg.SmartHost)
		return []resolve.Host{{Name: host}}, nil
	}
	if addr, ok := literal(group); ok {
		return []resolve.Host{{Name: addr.String()}}, nil
	}
	hosts, err := s.deps.Resolve.MXHosts(ctx, group)
	if err != nil {
		return nil, err
	}
	for i, h := range hosts {
		if strings.EqualFold(strings.TrimSuffix(h.Name, "."), s.cfg.Hostname) {
			if i == 0 {
				return nil, errLoop
			}
			return hosts[:i], nil
		}
	}
	return hosts, nil
}

// literal reads an address literal: [192.0.2.1], [IPv6:2001:db8::1] (RFC 5321 §4.1.3).
func literal(domain string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(domain, "[")
	if inner, ok = strings.CutSuffix(inner, "]"); !ok {
		return netip.Addr{}, false
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner = inner[5:]
	}
	addr, err := netip.ParseAddr(inner)
	return addr, err == nil
}

func (s *Service) addresses(ctx context.Context, h resolve.Host) ([]string, error) {
	port := strconv.Itoa(s.cfg.Port)
	if s.cfg.SmartHost != "" {
		_, port, _ = net.SplitHostPort(s.cfg.SmartHost)
	}
	if addr, err := netip.ParseAddr(h.Name); err == nil {
		return []string{net.JoinHostPort(addr.String(), port)}, nil
	}
	found, err := s.deps.Resolve.LookupAddr(ctx, h.Name)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, 0, len(found.Records))
	for _, a := range found.Records {
		addrs = append(addrs, net.JoinHostPort(a.String(), port))
	}
	return addrs, nil
}

// sendTo tries one address. settled tells that the peer has answered for the message, whatever it said; otherwise the next
// address may do better.
func (s *Service) sendTo(ctx context.Context, j *job, host, address string) (results []result, settled bool) {
	// A connection that waited may have been closed meanwhile: then a new one is opened, as nothing was said on it yet.
	if p := s.pool.get(address); p != nil {
		if results, err := s.transact(ctx, j, p); !errors.Is(err, errStale) {
			return results, err == nil
		}
	}
	p, err := s.connect(ctx, host, address)
	if err != nil {
		return all(j.recipients, verdictOf(err).deferred(), host+"["+address+"]"), false
	}
	results, err = s.transact(ctx, j, p)
	return results, err == nil
}

// errStale is a kept connection that was closed by the peer before we said anything of the message.
var errStale = errors.New("connection was closed while it waited")

// transact sends the message over p and keeps or closes p. An error means that the next address may be tried; the
// results then say why.
func (s *Service) transact(ctx context.Context, j *job, p *peer) ([]result, error) {
	results, err := s.dialogue(ctx, j, p)
	var refused *smtp.SMTPError
	var own *reply.Error
	switch {
	case err == nil || errors.As(err, &refused) && refused.Code != 421 || errors.As(err, &own):
		if p.sent++; p.sent < s.cfg.MessagesPerConnection && p.Reset() == nil {
			s.pool.put(p)
		} else {
			go p.quit()
		}
	default:
		p.Close()
	}
	switch {
	case err == nil:
		return results, nil
	case errors.Is(err, errClaimLost):
		return nil, nil
	case p.sent > 0 && errors.Is(err, errStale):
		return nil, errStale
	case own != nil && own.IsPermanent():
		// What the peer offers is not enough for the message, and it was not asked.
		return all(j.recipients, verdictOf(err), p.relay()), nil
	case refused != nil && refused.Code != 421 && refused.Code >= 400:
		// The peer refused the message as a whole: its word counts, another of its hosts would say the same.
		return all(j.recipients, verdictOf(err), p.relay()), nil
	}
	return all(j.recipients, verdictOf(err).deferred(), p.relay()), err
}

// dialogue is one mail transaction (RFC 5321 §3.3). A nil error comes with a result for every recipient.
func (s *Service) dialogue(ctx context.Context, j *job, p *peer) ([]result, error) {
	body, err := s.content(ctx, j)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	cutOff := context.AfterFunc(ctx, func() { p.Close() })
	defer cutOff()
	opts, err := mailOptions(j, p, body.Size())
	if err != nil {
		return nil, err
	}
	fault.Point("remote.before-mail")
	if err := p.Mail(j.message.Envelope.ReversePath, opts); err != nil {
		if p.sent > 0 && isConnection(err) {
			return nil, fmt.Errorf("%w: %w", errStale, err)
		}
		return nil, fmt.Errorf("MAIL: %w", err)
	}
	results, accepted, err := s.recipients(j, p)
	if err != nil || accepted == 0 {
		return results, err
	}
	fault.Point("remote.before-data")
	data, err := p.Data()
	if err != nil {
		return nil, fmt.Errorf("DATA: %w", err)
	}
	w := bufio.NewWriterSize(data, 32<<10)
	if _, err := io.Copy(w, body); err != nil {
		return nil, fmt.Errorf("send the message: %w", err)
	}
	if err := w.Flush(); err != nil {
		return nil, fmt.Errorf("send the message: %w", err)
	}
	if err := s.renew(ctx, j); err != nil {
		return nil, err // the connection is closed without the dot: the peer drops what it has
	}
	fault.Point("remote.before-dot")
	if !cutOff() {
		return nil, errDraining // and closed
	}
	defer context.AfterFunc(s.drain.afterDot, func() { p.Close() })()
	reply, err := data.CloseWithResponse()
	if err != nil {
		return nil, fmt.Errorf("final dot: %w", err)
	}
	fault.Point("remote.after-dot")
	text := "250 2.0.0 " + reply.StatusText
	for i := range results {
		if results[i].state == storev1.State_STATE_UNSPECIFIED {
			results[i].state, results[i].reply, results[i].relay = storev1.State_STATE_RELAYED, text, p.relay()
		}
	}
	return results, nil
}

// recipients says RCPT for each; a refused one has its result, an accepted one awaits the message's.
func (s *Service) recipients(j *job, p *peer) (results []result, accepted int, err error) {
	_, dsn := p.dsn()
	for _, row := range j.recipients {
		r := result{row: row, dsnPassed: dsn}
		err := p.Rcpt(wirePath(row.ForwardPath, j.message.Envelope.Smtputf8), rcptOptions(row))
		var refused *smtp.SMTPError
		switch {
		case err == nil:
			accepted++
		case errors.As(err, &refused) && refused.Code != 421:
			v := verdictOf(err)
			r.state, r.reply, r.relay = v.state, v.reply, p.relay()
		default:
			return nil, 0, fmt.Errorf("RCPT: %w", err)
		}
		results = append(results, r)
	}
	return results, accepted, nil
}

// content is the message as the peer gets it.
type content struct {
	*io.SectionReader
	frame *blob.Frame
}

func (c content) Close() error { return c.frame.Close() }

func (s *Service) content(ctx context.Context, j *job) (content, error) {
	id, err := blob.IDFrom(j.message.BlobId)
	if err != nil {
		return content{}, err
	}
	f, err := s.deps.Frames.Open(ctx, id)
	if err != nil {
		return content{}, fmt.Errorf("open the message: %w", err)
	}
	// Relaying shows what ingress or submission added, and nothing of what the filter says to our own readers.
	return content{message.NewReader(message.OverlayFrom(j.message.Overlay), f.Body, f.Size), f}, nil
}
