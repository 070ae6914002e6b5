package local

import (
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/rpc"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// postponed is a recipient that cannot be served now, and why: "452 4.2.2 mailbox full"; or, where it is final, never.
type postponed struct {
	*job
	why   string
	final bool
}

// postpone gives recipients back to the ledger with a due time, or bounces those whose time is over or who are no more: a call to read the
// rows and one to report, more where it is too much for one.
func (s *Service) postpone(ctx context.Context, late []postponed) {
	if len(late) == 0 {
		return
	}
	reports, events, err := s.outcomes(ctx, late)
	for err == nil && len(late) > 0 {
		n := rpc.Fits(reports, maxRequest)
		var results []*storev1.ReportResult
		if results, err = s.report(ctx, reports[:n]); err != nil {
			break
		}
		for i, l := range late[:n] {
			if results[i].Accepted {
				s.tell(ctx, l.job, events[i], l.why)
			} else { // the row moved on: another has it
				s.metrics.outcomes[eventRepeated].Inc()
			}
			l.bus.Ack()
		}
		late, reports, events = late[n:], reports[n:], events[n:]
	}
	if err == nil {
		return
	}
	jobs := make([]*job, len(late))
	for i, l := range late {
		jobs[i] = l.job
	}
	s.retry(ctx, jobs, err)
}

// outcomes makes a report for each, in the same order.
func (s *Service) outcomes(ctx context.Context, late []postponed) ([]*storev1.Report, []event, error) {
	jobs := make([]*job, len(late))
	for i, l := range late {
		jobs[i] = l.job
	}
	entries, err := s.entries(ctx, jobs)
	if err != nil {
		return nil, nil, err
	}
	reports, events := make([]*storev1.Report, len(late)), make([]event, len(late))
	for i, l := range late {
		row := find(entries[l.id].Recipients, l.work.Number)
		if row == nil { // pruned: the ledger will not accept the report
			row = l.asRow(storev1.State_STATE_QUEUED, "")
		}
		reports[i], events[i] = s.outcome(ctx, l, row)
	}
	return reports, events, nil
}

// outcome defers or bounces one recipient. A bounce whose DSN cannot be written is deferred.
func (s *Service) outcome(ctx context.Context, l postponed, row *storev1.RecipientRow) (*storev1.Report, event) {
	now := s.deps.Now()
	wait := s.cfg.wait(row.Attempts)
	o := &storev1.Outcome{
		Number: l.work.Number, State: storev1.State_STATE_QUEUED, Reply: l.why,
		// The ledger's clock counts the wait; a time of ours is for one that does not know it yet.
		DueInNs: wait.Nanoseconds(), DueNs: now.Add(wait).UnixNano(),
	}
	r := &storev1.Report{QueueId: l.work.QueueId, Generation: l.work.Generation, Outcomes: []*storev1.Outcome{o}}
	over := l.final || row.ExpiryNs > 0 && now.UnixNano() >= row.ExpiryNs
	tell := l.asRow(storev1.State_STATE_QUEUED, l.why)
	tell.ExpiryNs = row.ExpiryNs
	if over {
		tell.State = storev1.State_STATE_BOUNCED
	} else if !s.isLate(l.work, row, now) {
		return r, eventDeferred
	}
	children, err := s.notify(ctx, l.work.Message, tell)
	if err != nil {
		s.deps.Log.ErrorContext(ctx, "DSN cannot be written", obs.QueueID(l.id), obs.Recipient(l.work.Number), obs.Error(err))
		return r, eventDeferred
	}
	r.Children = children
	if over {
		o.State, o.DueInNs, o.DueNs = storev1.State_STATE_BOUNCED, 0, 0
		return r, eventBounced
	}
	o.DelayNotified = true
	return r, eventDeferred
}

// isLate tells whether the sender is to be told of the delay, once.
func (s *Service) isLate(w *mailv1.LocalWork, row *storev1.RecipientRow, now time.Time) bool {
	if s.cfg.DelayNoticeAfter < 0 || row.DelayNotified || !envelope.Notify(w.Notify).Delay() {
		return false
	}
	return now.Sub(time.Unix(0, w.Message.Envelope.AcceptedNs)) >= s.cfg.DelayNoticeAfter
}

// entries reads the messages of jobs with their recipients, each message once. The ledger answers as many at a time as go
// into one call.
func (s *Service) entries(ctx context.Context, jobs []*job) (map[envelope.QueueID]*storev1.LedgerEntry, error) {
	entries := make(map[envelope.QueueID]*storev1.LedgerEntry, len(jobs))
	var ids [][]byte
	for _, j := range jobs {
		if _, twice := entries[j.id]; !twice {
			entries[j.id] = nil
			ids = append(ids, j.work.QueueId)
		}
	}
	for len(ids) > 0 {
		some, err := s.some(ctx, ids)
		if err != nil {
			return nil, err
		}
		for i, e := range some {
			entries[envelope.QueueID(ids[i])] = e
		}
		ids = ids[len(some):]
	}
	return entries, nil
}

// some reads the first of messages: one at least.
func (s *Service) some(ctx context.Context, ids [][]byte) ([]*storev1.LedgerEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Load(ctx, &storev1.LoadRequest{QueueIds: ids})
	if err != nil {
		return nil, fmt.Errorf("load %d messages: %w", len(ids), err)
	}
	if n := len(resp.Entries); n == 0 || n > len(ids) {
		return nil, fmt.Errorf("load %d messages: got %d", len(ids), n)
	}
	return resp.Entries, nil
}

// report enters outcomes; the results come in the order of the reports.
func (s *Service) report(ctx context.Context, reports []*storev1.Report) ([]*storev1.ReportResult, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Report(ctx, &storev1.ReportRequest{Reports: reports})
	if err != nil {
		return nil, fmt.Errorf("report %d recipients: %w", len(reports), err)
	}
	if len(resp.Results) != len(reports) {
		return nil, fmt.Errorf("report %d recipients: got %d results", len(reports), len(resp.Results))
	}
	return resp.Results, nil
}
