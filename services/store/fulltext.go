package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// FullTextConfig is of the worker that fills the full-text index; the zero value is good.
type FullTextConfig struct {
	// Delay is how long the worker waits for more after a first message, so that a burst is one write. Default 2s.
	Delay time.Duration `yaml:"delay"`
	// SweepEvery is how often all accounts are looked at for what no notice told of. Default 1m.
	SweepEvery time.Duration `yaml:"sweep_every"`
	// CompareEvery is how often all emails of an account are compared with its index, so that what was purged leaves it.
	// Default 6h.
	CompareEvery time.Duration `yaml:"compare_every"`
	// Share is how much of one processor the worker takes, percent: it rests accordingly, and longer while the process is busy
	// with other things. Default 50; 100 never rests.
	Share int `yaml:"share"`
}

// Default fills in what is not set.
func (c *FullTextConfig) Default() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Delay, 2 * time.Second}, {&c.SweepEvery, time.Minute}, {&c.CompareEvery, 6 * time.Hour}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Share == 0 {
		c.Share = 50
	}
}

// Validate tells all faults at once.
func (c *FullTextConfig) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
		low  time.Duration
	}{{"delay", c.Delay, time.Millisecond}, {"sweep_every", c.SweepEvery, 10 * time.Millisecond}, {"compare_every", c.CompareEvery, 10 * time.Millisecond}} {
		if d.v < d.low {
			errs = append(errs, fmt.Errorf("%s: %v is below %v", d.name, d.v, d.low))
		}
	}
	if c.Share < 1 || c.Share > 100 {
		errs = append(errs, fmt.Errorf("share: %d is not between 1 and 100 percent", c.Share))
	}
	return errors.Join(errs...)
}

// FullTextDeps is what the full-text index needs.
type FullTextDeps struct {
	Index  *fulltext.Index
	Survey index.Survey
	// Listen calls changed with the accounts that changed, in any process, until stop. A notice may be lost. Nil: there are none.
	Listen  func(changed func(account uint64)) (stop func(), err error)
	Leases  index.Leases
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Holder names this process in leases, unlike any other, and Lease is how long a process that died keeps the others from
	// the work. Default 15s.
	Holder string
	Lease  time.Duration
}

// fullTextEvery is how often the worker looks whether there is work that nobody woke it for.
const fullTextEvery = 5 * time.Second

// AddFullText adds the full-text index: its service, and the worker that fills it. It is called before Register and Run.
func (s *Service) AddFullText(cfg FullTextConfig, deps FullTextDeps) error {
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure store: %w", err)
	}
	if deps.Holder == "" {
		return errors.New("configure store: no name for leases")
	}
	if deps.Lease == 0 {
		deps.Lease = 15 * time.Second
	}
	m := newFullTextMetrics()
	part := &ledgerPart{cfg: LedgerConfig{Lease: deps.Lease}, deps: LedgerDeps{Leases: deps.Leases, Holder: deps.Holder, Log: deps.Log}}
	w := &textWorker{
		Service: s, cfg: cfg, deps: deps, metrics: m, dirty: map[mailbox.AccountID]wait{},
		reader: textReader{mailboxes: &mailboxes{Service: s}, collector: fulltext.NewCollector(), log: deps.Log},
	}
	w.task = part.task("fulltext", min(fullTextEvery, cfg.SweepEvery), w.step)
	m.register(deps.Metrics, w.lag, w.waiting)
	s.servers = append(s.servers, func(r grpc.ServiceRegistrar) {
		storev1.RegisterFullTextServer(r, &fullText{Service: s, index: deps.Index, survey: deps.Survey, metrics: m, rebuilt: w.changed})
	})
	s.workers = append(s.workers, w.run)
	return nil
}

// fullText serves storev1.FullText.
type fullText struct {
	storev1.UnimplementedFullTextServer
	*Service
	index   *fulltext.Index
	survey  index.Survey
	metrics *fullTextMetrics
	rebuilt func(account uint64)
}

const (
	// queryDepth bounds queries within each other.
	queryDepth = 200
	// ruledOutRanges is how many runs of UIDs one response carries.
	ruledOutRanges = 16 << 10
	// indexStatusPage is how many accounts a page of ListIndexStatus has.
	indexStatusPage = 200
)

// query reads a query; nil is no condition.
func query(q *storev1.TextQuery, depth int) (*fulltext.Query, error) {
	if depth > queryDepth {
		return nil, invalid("query of more than %d levels", queryDepth)
	}
	kids := func(list []*storev1.TextQuery) (out []*fulltext.Query, err error) {
		for _, kid := range list {
			k, err := query(kid, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, k)
		}
		return out, nil
	}
	switch {
	case len(q.GetAll()) > 0:
		list, err := kids(q.GetAll())
		return fulltext.And(list...), err
	case len(q.GetAny()) > 0:
		list, err := kids(q.GetAny())
		return fulltext.Or(list...), err
	case len(q.GetSubstring()) > 0:
		return fulltext.Substring(q.GetSubstring()), nil
	case len(q.GetField()) > 0:
		return fulltext.Field(q.GetField()), nil
	case q.GetThread() != 0:
		return fulltext.Thread(q.GetThread()), nil
	}
	return fulltext.Words(q.GetStems()), nil
}

// RuleOut tells which messages cannot match.
func (s *fullText) RuleOut(req *storev1.RuleOutRequest, stream grpc.ServerStreamingServer[storev1.RuleOutResponse]) error {
	ctx, start := stream.Context(), time.Now()
	a, box, err := accountAndBox(req.GetAccount(), req.GetMailbox())
	if err != nil {
		return err
	}
	if err := s.may(ctx, req, box, acl.Read); err != nil {
		return err
	}
	q, err := query(req.GetQuery(), 0)
	if err != nil {
		return err
	}
	out, err := s.index.RuleOut(ctx, a, q)
	if err != nil {
		return toStatus(err)
	}
	defer func() { s.metrics.queries.Observe(time.Since(start).Seconds()) }()
	if len(out) == 0 {
		return nil
	}
	send := func(uids mailbox.UIDSet) error {
		return stream.Send(&storev1.RuleOutResponse{Uids: mailbox.AppendUIDSet(nil, uids)})
	}
	return toStatus(s.uidsOf(ctx, index.SnapshotQuery{Account: a, Mailbox: box}, out, send))
}

// uidsOf sends the UIDs of emails, which ascend, in a mailbox.
func (s *fullText) uidsOf(ctx context.Context, q index.SnapshotQuery, emails []mailbox.EmailID, send func(mailbox.UIDSet) error) error {
	var uids []mailbox.UID
	var ids []mailbox.EmailID
	var set mailbox.UIDSet
	at := cursor{emails: emails}
	err := s.deps.Mailboxes.Snapshot(ctx, q, func(p *index.Page) (err error) {
		for i := range p.Chunks {
			if uids, err = mailbox.DecodeUIDs(uids[:0], p.Chunks[i].UIDs, mailbox.ChunkSize); err != nil {
				return err
			}
			if ids, err = mailbox.DecodeEmails(ids[:0], p.Chunks[i].Emails, len(uids)); err != nil {
				return err
			}
			for k, id := range ids {
				if at.has(id) {
					set = set.Add(uids[k])
				}
			}
			if len(set) >= ruledOutRanges {
				if err := send(set); err != nil {
					return err
				}
				set = nil
			}
		}
		return nil
	})
	if err != nil || len(set) == 0 {
		return err
	}
	return send(set)
}

// cursor looks for emails in a list that ascends. Neighbours in a mailbox mostly are neighbours there.
type cursor struct {
	emails []mailbox.EmailID
	at     int
}

func (c *cursor) has(id mailbox.EmailID) bool {
	if c.at < len(c.emails) && c.emails[c.at] < id {
		// Near by, or anywhere behind.
		for n := 0; n < 8 && c.at < len(c.emails) && c.emails[c.at] < id; n++ {
			c.at++
		}
	}
	if c.at == len(c.emails) || c.emails[c.at] != id && (c.emails[c.at] < id || c.at > 0 && c.emails[c.at-1] >= id) {
		c.at = c.search(id)
	}
	return c.at < len(c.emails) && c.emails[c.at] == id
}

// search is the place of the first that is not below id.
func (c *cursor) search(id mailbox.EmailID) int {
	lo, hi := 0, len(c.emails)
	for lo < hi {
		if mid := (lo + hi) / 2; c.emails[mid] < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// status tells of one account.
func (s *fullText) status(ctx context.Context, a index.SurveyedAccount) (*storev1.IndexStatus, error) {
	state, err := s.index.State(ctx, a.Account)
	if err != nil {
		return nil, err
	}
	u, err := s.index.Usage(ctx, a.Account)
	if err != nil {
		return nil, err
	}
	n, err := s.survey.CountEmails(ctx, a.Account)
	if err != nil {
		return nil, err
	}
	out := &storev1.IndexStatus{Account: uint64(a.Account), Emails: n, Indexed: u.Emails, Octets: u.Octets, ModSeq: uint64(a.ModSeq)}
	if state.Version == fulltext.Version {
		out.IndexedModSeq, out.ComparedNs = uint64(state.ModSeq), state.Compared.UnixNano()
	}
	return out, nil
}

// GetIndexStatus tells how far one account is indexed.
func (s *fullText) GetIndexStatus(ctx context.Context, req *storev1.GetIndexStatusRequest) (*storev1.GetIndexStatusResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	seqs, err := s.deps.Mailboxes.Counters(ctx, []mailbox.AccountID{a})
	if err != nil {
		return nil, toStatus(err)
	}
	st, err := s.status(ctx, index.SurveyedAccount{Account: a, ModSeq: seqs[0]})
	if err != nil {
		return nil, toStatus(err)
	}
	return &storev1.GetIndexStatusResponse{Status: st}, nil
}

// ListIndexStatus tells of accounts, a page at a time.
func (s *fullText) ListIndexStatus(ctx context.Context, req *storev1.ListIndexStatusRequest) (*storev1.ListIndexStatusResponse, error) {
	resp := &storev1.ListIndexStatusResponse{}
	if req.GetAfter() >= 1<<63 {
		return resp, nil
	}
	list, err := s.survey.ModSeqs(ctx, mailbox.AccountID(req.GetAfter()), indexStatusPage)
	if err != nil {
		return nil, toStatus(err)
	}
	for _, a := range list {
		st, err := s.status(ctx, a)
		if err != nil {
			return nil, toStatus(err)
		}
		resp.Accounts = append(resp.Accounts, st)
	}
	return resp, nil
}

// RebuildIndex drops an account's index: the worker finds that it has none.
func (s *fullText) RebuildIndex(ctx context.Context, req *storev1.RebuildIndexRequest) (*storev1.RebuildIndexResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	if err := s.index.Drop(ctx, a); err != nil {
		return nil, toStatus(err)
	}
	s.rebuilt(uint64(a))
	return &storev1.RebuildIndexResponse{}, nil
}
