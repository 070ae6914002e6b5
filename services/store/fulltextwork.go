package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
)

const (
	// dirtyMax bounds the accounts that are known to have changed; the sweep finds the others again.
	dirtyMax = 100_000
	// surveyPage is how many accounts, or emails, are asked for at once.
	surveyPage = 1000
	// pieceDocs and pieceTokens bound what becomes one segment.
	pieceDocs   = 1024
	pieceTokens = 2 << 20
	// restEvery is after how many messages the worker rests, and restMax how long.
	restEvery = 32
	restMax   = 5 * time.Second
	// turn is how long the worker stays with one account while others wait.
	turn = 10 * time.Second
	// idSlack is how much older than the newest an email may be that is filed later: ids begin with milliseconds.
	idSlack = mailbox.EmailID(10*60*1000) << 22
	// leading is how long the worker's last step may lie back for notices to be of use.
	leading = time.Minute
)

// textWorker fills the full-text index. One process of many does, under its lease.
//
// What it does is idempotent: an email is indexed where it is in the account and not in the index, and leaves where it is the
// other way round. A notice tells where to look at once; the sweep compares the counters of all accounts, and from time to
// time all emails of an account. So whatever dies between two steps, or is lost of the bus or of the index, only delays.
type textWorker struct {
	*Service
	cfg     FullTextConfig
	deps    FullTextDeps
	metrics *fullTextMetrics
	reader  textReader
	task    *task

	// What follows only step uses.
	swept time.Time
	spent time.Time // when the current stretch of work began
	load  processLoad
	last  mailbox.AccountID // the one that had its turn
	begun time.Time         // since when the account in hand waits, or is tried again
	// oldest is since when another waits that the worker hurries for, as of looked.
	oldest, looked time.Time

	mu       sync.Mutex
	dirty    map[mailbox.AccountID]wait // guarded by mu
	stepped  time.Time                  // guarded by mu
	gathered *time.Timer                // the wait for more; guarded by mu
}

// wait is an account's for the worker.
type wait struct {
	since time.Time
	// failed tells that it was tried last without success.
	failed bool
}

// run listens and works until ctx ends.
func (w *textWorker) run(ctx context.Context) error {
	if w.deps.Listen != nil {
		stop, err := w.deps.Listen(w.changed)
		if err != nil {
			// The sweep finds what is missed.
			w.deps.Log.WarnContext(ctx, "changes are not heard of", obs.Error(err))
		} else {
			defer stop()
		}
	}
	w.task.run(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gathered != nil {
		w.gathered.Stop()
	}
	return nil
}

// changed notes that an account has changed, and has the worker look at it a little later.
func (w *textWorker) changed(account uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deps.Now().Sub(w.stepped) > leading {
		return // another process works
	}
	w.note(mailbox.AccountID(account))
	if w.gathered == nil {
		w.gathered = time.AfterFunc(w.cfg.Delay, w.gatheredAll)
	}
}

// gatheredAll ends the wait for more.
func (w *textWorker) gatheredAll() {
	w.mu.Lock()
	w.gathered = nil
	w.mu.Unlock()
	w.task.wakeUp()
}

// note is changed with the lock held.
func (w *textWorker) note(a mailbox.AccountID) {
	if _, known := w.dirty[a]; !known && len(w.dirty) < dirtyMax {
		w.dirty[a] = wait{since: w.deps.Now()}
	}
}

// lag is since when the account waits that waits for longest; waiting is how many do.
func (w *textWorker) lag() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.deps.Now()
	var longest time.Duration
	for _, waits := range w.dirty {
		longest = max(longest, now.Sub(waits.since))
	}
	return longest.Seconds()
}

func (w *textWorker) waiting() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return float64(len(w.dirty))
}

// step sweeps where it is time to, and indexes what is known to wait.
func (w *textWorker) step(ctx context.Context) (more bool, err error) {
	now := w.deps.Now()
	w.mu.Lock()
	if now.Sub(w.stepped) > leading {
		// It was another's work, or nobody's.
		clear(w.dirty)
		w.swept = time.Time{}
	}
	w.stepped = now
	w.mu.Unlock()
	if now.Sub(w.swept) >= w.cfg.SweepEvery {
		if err := w.sweep(ctx); err != nil {
			return false, err
		}
		w.swept = now
	}
	w.spent = time.Now()
	var failed failures
	for {
		a, ok := w.next(&failed)
		if !ok {
			return false, failed.with(nil)
		}
		had := w.take(a)
		done, err := w.account(ctx, a)
		w.mu.Lock()
		w.stepped = w.deps.Now()
		if err != nil || !done {
			waits, again := w.dirty[a]
			if !again {
				waits = had
			}
			waits.failed = err != nil
			w.dirty[a] = waits
		}
		w.mu.Unlock()
		if err != nil && !failed.passOver(ctx, a, err) {
			return false, failed.with(nil)
		}
		if w.deps.Now().Sub(w.swept) >= w.cfg.SweepEvery && err == nil {
			return true, failed.with(nil)
		}
	}
}

// next is the account that waits for longest, of those that did not fail; the one that had its turn comes behind all others.
func (w *textWorker) next(failed *failures) (best mailbox.AccountID, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var since time.Time
	for a, waits := range w.dirty {
		if !failed.accounts[a] && (!ok || best == w.last || waits.since.Before(since) && a != w.last) {
			best, since, ok = a, waits.since, true
		}
	}
	w.last = best
	return best, ok
}

// take takes an account's note away: what comes from now on is another.
func (w *textWorker) take(a mailbox.AccountID) wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := w.dirty[a]
	delete(w.dirty, a)
	w.begun = had.since
	if had.failed {
		// It may fail for good: it is hurried for only when the try itself takes long.
		w.begun = w.deps.Now()
	}
	return had
}

// sweep notes the accounts that are not indexed as they are, and drops those that are no more.
func (w *textWorker) sweep(ctx context.Context) error {
	var states []fulltext.State
	var after mailbox.AccountID // of states
	state := func(a mailbox.AccountID) (s fulltext.State, err error) {
		for {
			for len(states) > 0 && states[0].Account < a {
				if err := w.deps.Index.Drop(ctx, states[0].Account); err != nil {
					return s, err
				}
				states = states[1:]
			}
			if len(states) > 0 {
				if states[0].Account == a {
					s, states = states[0], states[1:]
				}
				return s, nil
			}
			if states, err = w.deps.Index.States(ctx, after, surveyPage); err != nil || len(states) == 0 {
				return s, err
			}
			after = states[len(states)-1].Account
		}
	}
	now := w.deps.Now()
	for last := mailbox.AccountID(0); ; {
		page, err := w.deps.Survey.ModSeqs(ctx, last, surveyPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			// Whatever is behind the last account is of none.
			_, err := state(1<<63 - 1)
			return err
		}
		for _, a := range page {
			last = a.Account
			s, err := state(a.Account)
			if err != nil {
				return err
			}
			if s.ModSeq != a.ModSeq || s.Version != fulltext.Version || now.Sub(s.Compared) >= w.cfg.CompareEvery {
				w.mu.Lock()
				w.note(a.Account)
				w.mu.Unlock()
			}
		}
	}
}

// account brings an account's index up to date, as far as one turn goes.
func (w *textWorker) account(ctx context.Context, a mailbox.AccountID) (done bool, err error) {
	state, err := w.deps.Index.State(ctx, a)
	if err != nil {
		return false, err
	}
	seqs, err := w.Service.deps.Mailboxes.Counters(ctx, []mailbox.AccountID{a})
	if err != nil {
		return false, err
	}
	now := w.deps.Now()
	from := mailbox.EmailID(0)
	full := state.Version != fulltext.Version || now.Sub(state.Compared) >= w.cfg.CompareEvery
	if !full && state.Newest > idSlack {
		from = state.Newest - idSlack
	}
	missing, gone, newest, err := w.compare(ctx, a, from)
	if err != nil {
		return false, err
	}
	if err := w.deps.Index.Leave(ctx, a, gone); err != nil {
		return false, err
	}
	w.metrics.left.Add(float64(len(gone)))
	if len(gone) > 0 {
		if err := w.tidy(ctx, a); err != nil {
			return false, err
		}
	}
	for len(missing) > 0 {
		n, err := w.piece(ctx, a, missing)
		if err != nil {
			return false, err
		}
		if missing = missing[n:]; len(missing) > 0 && w.deps.Now().Sub(now) > turn && w.waiting() > 0 {
			return false, nil
		}
	}
	next := fulltext.State{Account: a, Version: fulltext.Version, ModSeq: seqs[0], Newest: max(state.Newest, newest), Compared: state.Compared}
	if full {
		next.Compared = now
	}
	return true, w.deps.Index.Save(ctx, next)
}

// compare tells which emails from one on the index lacks, and which it has that are no more.
func (w *textWorker) compare(ctx context.Context, a mailbox.AccountID, from mailbox.EmailID) (missing, gone []mailbox.EmailID, newest mailbox.EmailID, err error) {
	// Read first: an email is in the account before it is in the index.
	indexed, err := w.deps.Index.Emails(ctx, a)
	if err != nil {
		return nil, nil, 0, err
	}
	at, _ := slices.BinarySearch(indexed, from+1)
	indexed = indexed[at:]
	for last := from; ; last = newest {
		page, err := w.deps.Survey.EmailIDs(ctx, a, last, surveyPage)
		if err != nil {
			return nil, nil, 0, err
		}
		for _, id := range page {
			for len(indexed) > 0 && indexed[0] < id {
				gone, indexed = append(gone, indexed[0]), indexed[1:]
			}
			if len(indexed) > 0 && indexed[0] == id {
				indexed = indexed[1:]
			} else {
				missing = append(missing, id)
			}
			newest = id
		}
		if len(page) < surveyPage {
			return missing, append(gone, indexed...), newest, nil
		}
	}
}

// piece indexes the first of some emails, and tells of how many it did.
func (w *textWorker) piece(ctx context.Context, a mailbox.AccountID, ids []mailbox.EmailID) (n int, err error) {
	var docs []fulltext.Doc
	tokens := 0
	for n < len(ids) && len(docs) < pieceDocs && tokens < pieceTokens {
		part := ids[n:min(n+restEvery, len(ids))]
		emails, err := w.Service.deps.Mailboxes.Emails(ctx, a, part, true)
		if err != nil {
			return 0, err
		}
		for i := range emails {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			d, err := w.reader.doc(ctx, a, &emails[i])
			if err != nil {
				return 0, err
			}
			w.metrics.count(&d)
			tokens += len(d.Tokens)
			docs = append(docs, d)
		}
		n += len(part)
		w.rest(ctx)
	}
	if err := w.deps.Index.Add(ctx, a, docs); err != nil {
		return 0, err
	}
	return n, w.tidy(ctx, a)
}

// tidy merges what should be. Where another process does so too, it is left to it.
func (w *textWorker) tidy(ctx context.Context, a mailbox.AccountID) error {
	for {
		more, err := w.deps.Index.Tidy(ctx, a)
		if errors.Is(err, fulltext.ErrChanged) {
			return nil
		}
		if err != nil || !more {
			return err
		}
		w.rest(ctx)
	}
}

// fullTextMetrics are those of the index.
type fullTextMetrics struct {
	indexed, always, left prometheus.Counter
	queries               prometheus.Histogram
}

func newFullTextMetrics() *fullTextMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_fulltext_" + name, Help: help})
	}
	return &fullTextMetrics{
		indexed: counter("indexed_emails_total", "Emails that were added to the full-text index."),
		always:  counter("indexed_always_total", "Of these, emails that every search looks at: they have too much text, or cannot be read."),
		left:    counter("left_emails_total", "Emails that were purged and left the full-text index."),
		queries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailfarm_fulltext_query_seconds", Help: "How long it took to tell what a search need not look at.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
}

func (m *fullTextMetrics) register(r prometheus.Registerer, lag, waiting func() float64) {
	if r == nil {
		return
	}
	r.MustRegister(m.indexed, m.always, m.left, m.queries,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mailfarm_fulltext_lag_seconds", Help: "How long the account has waited for the full-text index that has waited longest; of the process that fills it.",
		}, lag),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mailfarm_fulltext_waiting_accounts", Help: "Accounts that wait for the full-text index; of the process that fills it.",
		}, waiting))
}

func (m *fullTextMetrics) count(d *fulltext.Doc) {
	m.indexed.Inc()
	if d.All {
		m.always.Inc()
	}
}
