package local

import (
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// postponed is a recipient that cannot be served now, and why: "452 4.2.2 mailbox full".
type postponed struct {
	*job
	why string
}

// postpone gives recipients back to the ledger with a due time, or bounces those whose time is over: one call to read the
// rows, one to report.
func (s *Service) postpone(ctx context.Context, late []postponed) {
	if len(late) == 0 {
		return
	}
	reports, events, err := s.outcomes(ctx, late)
	var results []*storev1.ReportResult
	if err == nil {
		results, err = s.report(ctx, reports)
	}
	if err != nil {
		jobs := make([]*job, len(late))
		for i, l := range late {
			jobs[i] = l.job
		}
		s.retry(ctx, jobs, err)
		return
	}
	for i, l := range late {
		if results[i].Accepted {
			s.tell(ctx, l.job, events[i], l.why)
		} else { // the row moved on: another has it
			s.metrics.outcomes[eventRepeated].Inc()
		}
		l.bus.Ack()
	}
}

// outcomes makes a report for each, in the same order.
func (s *Service) outcomes(ctx context.Context, late []postponed) ([]*storev1.Report, []event, error) {
	req := &storev1.LoadRequest{QueueIds: make([][]byte, len(late))}
	for i, l := range late {
		req.QueueIds[i] = l.work.QueueId
	}
	entries, err := s.entries(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	reports, events := make([]*storev1.Report, len(late)), make([]event, len(late))
	for i, l := range late {
		row := find(entries[i].Recipients, l.work.Number)
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
	o := &storev1.Outcome{
		Number: l.work.Number, State: storev1.State_STATE_QUEUED, Reply: l.why, DueNs: now.Add(s.cfg.wait(row.Attempts)).UnixNano(),
	}
	r := &storev1.Report{QueueId: l.work.QueueId, Generation: l.work.Generation, Outcomes: []*storev1.Outcome{o}}
	over := row.ExpiryNs > 0 && now.UnixNano() >= row.ExpiryNs
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
		o.State, o.DueNs = storev1.State_STATE_BOUNCED, 0
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

// entries reads messages with their recipients, in the order of the request.
func (s *Service) entries(ctx context.Context, req *storev1.LoadRequest) ([]*storev1.LedgerEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Load(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("load %d messages: %w", len(req.QueueIds), err)
	}
	if len(resp.Entries) != len(req.QueueIds) {
		return nil, fmt.Errorf("load %d messages: got %d", len(req.QueueIds), len(resp.Entries))
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
