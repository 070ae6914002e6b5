package router

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/envelope"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// candidate is an address of a message that is to become a row.
type candidate struct {
	job       *job
	recipient *mailv1.Recipient
	// original is the forward-path of RCPT where an alias led here.
	original string
	// path are the aliases that led here, outermost first.
	path []string
}

// resolve gives each job its rows. All addresses of a level are looked up in one call; aliases make the next level.
func (s *Service) resolve(ctx context.Context, jobs []*job) error {
	seen := make(map[*job]map[string]bool, len(jobs))
	var level []candidate
	for _, j := range jobs {
		if s.settleWhole(j) {
			continue
		}
		seen[j] = make(map[string]bool, len(j.message.Envelope.Recipients))
		for _, r := range j.message.Envelope.Recipients {
			level = append(level, candidate{job: j, recipient: r})
		}
	}
	for len(level) > 0 {
		found, err := s.lookUp(ctx, level)
		if err != nil {
			return err
		}
		var next []candidate
		for i, c := range level {
			next = append(next, s.settle(c, found[i], seen[c.job])...)
		}
		level = next
	}
	return nil
}

// settleWhole handles what does not depend on the recipient: the filter's word, and loops by hop count.
func (s *Service) settleWhole(j *job) bool {
	state, why := storev1.State_STATE_UNSPECIFIED, ""
	env := j.message.Envelope
	switch action := j.message.Verdict.GetAction(); {
	case action == mailv1.Action_ACTION_DISCARD:
		state, why = storev1.State_STATE_DISCARDED, "250 2.7.1 discarded by the filter"
	case action == mailv1.Action_ACTION_QUARANTINE:
		state, why = storev1.State_STATE_QUARANTINED, "250 2.7.1 quarantined by the filter"
	case int(env.Hops) >= s.cfg.MaxHops:
		state, why = storev1.State_STATE_BOUNCED, fmt.Sprintf("554 5.4.6 mail loop: the message passed %d servers", env.Hops)
	default:
		return false
	}
	for _, r := range env.Recipients {
		j.rows = append(j.rows, s.row(j, r, state, storev1.Destination_DESTINATION_NONE, why))
	}
	return true
}

// maxLookUp is how many addresses one call to the directory has at most.
const maxLookUp = 20_000

// lookUp asks for each address of a level once, however many messages go to it.
func (s *Service) lookUp(ctx context.Context, level []candidate) ([]*directoryv1.Resolution, error) {
	found := make(map[string]*directoryv1.Resolution, len(level))
	var addresses []string
	for _, c := range level {
		if _, twice := found[c.recipient.ForwardPath]; !twice {
			found[c.recipient.ForwardPath] = nil
			addresses = append(addresses, c.recipient.ForwardPath)
		}
	}
	for some := range slices.Chunk(addresses, maxLookUp) {
		if err := s.ask(ctx, some, found); err != nil {
			return nil, err
		}
	}
	answers := make([]*directoryv1.Resolution, len(level))
	for i, c := range level {
		answers[i] = found[c.recipient.ForwardPath]
	}
	return answers, nil
}

// ask looks addresses up: in two calls where the aliases among them have too many targets for one answer.
func (s *Service) ask(ctx context.Context, addresses []string, found map[string]*directoryv1.Resolution) error {
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Directory.Resolve(call, &directoryv1.ResolveRequest{Addresses: addresses})
	if half := len(addresses) / 2; status.Code(err) == codes.ResourceExhausted && half > 0 {
		if err := s.ask(ctx, addresses[:half], found); err != nil {
			return err
		}
		return s.ask(ctx, addresses[half:], found)
	}
	if err != nil {
		return fmt.Errorf("look up %d recipients: %w", len(addresses), err)
	}
	if len(resp.Resolutions) != len(addresses) {
		return fmt.Errorf("look up %d recipients: got %d answers", len(addresses), len(resp.Resolutions))
	}
	for i, a := range addresses {
		found[a] = resp.Resolutions[i]
	}
	return nil
}

// settle makes the row of one candidate and returns the candidates that an alias adds.
func (s *Service) settle(c candidate, found *directoryv1.Resolution, seen map[string]bool) []candidate {
	j := c.job
	add := func(state storev1.State, to storev1.Destination, why string) *storev1.RecipientRow {
		row := s.row(j, c.recipient, state, to, why)
		row.Original = c.original
		j.rows = append(j.rows, row)
		return row
	}
	bounce := func(why string) { add(storev1.State_STATE_BOUNCED, storev1.Destination_DESTINATION_NONE, why) }
	switch found.Kind {
	case directoryv1.Kind_KIND_ACCOUNT:
		if s.loops(j, c.recipient.ForwardPath, found.Address) {
			bounce("554 5.4.6 mail loop: the message was delivered to " + c.recipient.ForwardPath + " before")
			return nil
		}
		// Two aliases may lead to one place: it gets one copy. Whoever named it twice by RCPT meant it.
		place := "account " + strings.ToLower(found.Address+"+"+found.Detail)
		if c.original != "" && seen[place] {
			return nil
		}
		seen[place] = true
		row := add(storev1.State_STATE_QUEUED, storev1.Destination_DESTINATION_LOCAL, "")
		row.Account, row.Detail = found.Account, found.Detail
	case directoryv1.Kind_KIND_REMOTE:
		// The local-part of another server's address is as it was written (RFC 5321 §2.4).
		to := envelope.ForwardPath(c.recipient.ForwardPath)
		place := "remote " + to.LocalPart() + "@" + to.Domain()
		if c.original != "" && seen[place] {
			return nil
		}
		seen[place] = true
		add(storev1.State_STATE_QUEUED, storev1.Destination_DESTINATION_REMOTE, "").Group = to.Domain()
	case directoryv1.Kind_KIND_ALIAS:
		return s.expand(c, found, seen, add)
	case directoryv1.Kind_KIND_UNKNOWN:
		bounce("550 5.1.1 no such user here")
	default:
		bounce("553 5.1.3 not an address that mail can be sent to")
	}
	return nil
}

// expand follows an alias: its own row is final, its targets carry the sender's wishes on (RFC 3461 §5.2.7.1). An alias
// that leads back to itself is a loop, unless another way out of it leads to somebody.
func (s *Service) expand(c candidate, found *directoryv1.Resolution, seen map[string]bool, add func(storev1.State, storev1.Destination, string) *storev1.RecipientRow) []candidate {
	j := c.job
	alias := strings.ToLower(found.Address)
	bounce := func(why string) { add(storev1.State_STATE_BOUNCED, storev1.Destination_DESTINATION_NONE, why) }
	switch {
	case slices.Contains(c.path, alias) && s.onlyWay(c, seen):
		bounce("554 5.4.6 aliases lead back to " + found.Address)
		return nil
	case seen["alias "+alias]:
		add(storev1.State_STATE_EXPANDED, storev1.Destination_DESTINATION_NONE, "250 2.1.5 expanded before: "+found.Address)
		return nil
	case len(c.path) >= s.cfg.MaxAliasDepth:
		bounce("554 5.4.6 aliases nest too deeply at " + found.Address)
		return nil
	case len(j.rows)+len(found.Targets) > s.cfg.MaxRecipients:
		bounce("554 5.4.6 aliases make too many recipients at " + found.Address)
		return nil
	}
	seen["alias "+alias] = true
	add(storev1.State_STATE_EXPANDED, storev1.Destination_DESTINATION_NONE, "250 2.1.5 expanded to "+list(found.Targets))
	original := c.original
	if original == "" {
		original = c.recipient.ForwardPath
	}
	path := append(slices.Clip(c.path), alias)
	if len(found.Targets) > 1 {
		// From here on another target leads on: coming back is no loss.
		seen["branch "+alias] = true
	}
	next := make([]candidate, 0, len(found.Targets))
	for _, target := range found.Targets {
		r := &mailv1.Recipient{ForwardPath: target, Notify: c.recipient.Notify, Orcpt: c.recipient.Orcpt}
		if r.Orcpt == "" {
			r.Orcpt = "rfc822;" + original
		}
		next = append(next, candidate{job: j, recipient: r, original: original, path: path})
	}
	return next
}

// onlyWay tells whether none of the aliases that led here has another target: then nobody gets the message by them.
func (s *Service) onlyWay(c candidate, seen map[string]bool) bool {
	for _, alias := range c.path {
		if seen["branch "+alias] {
			return false
		}
	}
	return true
}

// list names a few addresses for people.
func list(addresses []string) string {
	const few = 5
	if len(addresses) <= few {
		return strings.Join(addresses, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(addresses[:few], ", "), len(addresses)-few)
}

// loops tells whether the message was delivered to the recipient before, by its address with or without detail: its
// Delivered-To fields say so, which local delivery writes as the forward-path.
func (s *Service) loops(j *job, forwardPath, address string) bool {
	for _, d := range s.deps.Delivered(j.message.PartIndex) {
		if strings.EqualFold(d, forwardPath) || strings.EqualFold(d, address) {
			return true
		}
	}
	return false
}

// row makes a ledger row. Numbers given by RCPT stay; what aliases add counts on from the highest.
func (s *Service) row(j *job, r *mailv1.Recipient, state storev1.State, to storev1.Destination, why string) *storev1.RecipientRow {
	now := s.deps.Now()
	accepted := j.message.Envelope.AcceptedNs
	if accepted == 0 {
		accepted = now.UnixNano()
	}
	return &storev1.RecipientRow{
		Number:      r.Number,
		ForwardPath: r.ForwardPath,
		Notify:      r.Notify,
		Orcpt:       r.Orcpt,
		State:       state,
		Destination: to,
		LastReply:   why,
		DueNs:       now.Add(s.cfg.SweepAfter).UnixNano(),
		ExpiryNs:    accepted + s.cfg.GiveUpAfter.Nanoseconds(),
		ChangedNs:   now.UnixNano(),
	}
}
