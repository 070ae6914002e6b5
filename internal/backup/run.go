package backup

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Config of a run.
type Config struct {
	// Rate bounds how fast bodies are read, octets a second; 0: as fast as it goes.
	Rate int64
	// Wait is how long the farm waits for what is on its way to the router; 0: 5s.
	Wait time.Duration
	// Version is mailfarm's, for people who look at the snapshot.
	Version string
}

// Deps is what a run needs.
type Deps struct {
	Store     storev1.BackupsClient
	Bodies    storev1.BodiesClient
	Directory directoryv1.BackupsClient
	Repo      *repo.Repo
	// Say is told how far the run is.
	Say func(Progress)
	Now func() time.Time
}

// Progress is how far a run is.
type Progress struct {
	// Done are accounts of All; Bodies and Octets were copied.
	Done, All int
	Bodies    int64
	Octets    int64
}

// Result is what a run did.
type Result struct {
	Snapshot string         `json:"snapshot"`
	Began    time.Time      `json:"began"`
	Seconds  float64        `json:"seconds"`
	Counts   repo.Counts    `json:"counts"`
	Written  repo.Written   `json:"written"`
	Accounts RunAccounts    `json:"accounts"`
	Missing  []repo.Missing `json:"missing"`
	// Apart, where it is not empty, is why accounts are not as they were at one and the same moment.
	Apart string `json:"apart"`
}

// RunAccounts counts accounts by what was done with them.
type RunAccounts struct {
	Read      int `json:"read"`
	Unchanged int `json:"unchanged"`
}

// accountLine is an account in a snapshot.
type accountLine struct {
	Account     uint64 `json:"account,string"`
	Address     string `json:"address,omitempty"`
	ModSeq      uint64 `json:"mod_seq"`
	Fingerprint string `json:"fingerprint"`
	Rows        string `json:"rows"`
	Messages    int64  `json:"messages"`
	Octets      int64  `json:"octets"`
	// missing are bodies that cannot be read.
	Missing []repo.Missing `json:"missing,omitempty"`
	// rows were read by this run.
	rows int64
}

// rounds bounds how often accounts are gone through because messages were routed meanwhile.
const rounds = 3

type run struct {
	Deps
	cfg      Config
	previous map[uint64]accountLine
	lines    map[uint64]accountLine
	// fresh are accounts that this run has read, with what of the queue.
	fresh    map[uint64]*queue
	bodies   bodies
	out      *Result
	progress Progress
}

// Run makes a snapshot. Nobody else may write to the repository. After an error, or a death, the repository is as good as it
// was, and the next run makes use of what this one wrote.
func Run(ctx context.Context, cfg Config, deps Deps) (*Result, error) {
	began := deps.Now()
	r := &run{Deps: deps, cfg: cfg, previous: map[uint64]accountLine{}, lines: map[uint64]accountLine{}, fresh: map[uint64]*queue{},
		out: &Result{Began: began.UTC(), Missing: []repo.Missing{}}}
	r.bodies = bodies{run: r, began: time.Now(), known: map[blobID]repo.Digest{}}
	last, err := deps.Repo.At(ctx, time.Time{})
	if err != nil && !errors.Is(err, repo.ErrNotFound) {
		return nil, err
	}
	if last != nil {
		if err := r.learn(ctx, last); err != nil {
			return nil, fmt.Errorf("read snapshot %s: %w", last.Name, err)
		}
	}
	q, err := r.queue(ctx, cfg.Wait)
	if err != nil {
		return nil, fmt.Errorf("read the queue: %w", err)
	}
	for round := 1; ; round++ {
		if err := r.accounts(ctx, q); err != nil {
			return nil, err
		}
		if len(q.unrouted) == 0 || round == rounds {
			break
		}
		// What was routed meanwhile is in the ledger now, and perhaps in a mailbox: as the account was, or later.
		next, err := r.queue(ctx, time.Millisecond)
		if err != nil {
			return nil, fmt.Errorf("read the queue: %w", err)
		}
		if next.hasAll(q.unrouted) {
			break
		}
		q = next
	}
	if err := r.oneMoment(ctx, q); err != nil {
		return nil, err
	}
	s := &repo.Snapshot{Format: repo.Format, Version: cfg.Version, Began: began.UTC(), Queue: q.objects, Apart: r.out.Apart}
	if err := r.end(ctx, s, q); err != nil {
		return nil, err
	}
	r.out.Snapshot, r.out.Counts, r.out.Written = s.Name, s.Counts, deps.Repo.Written
	r.out.Seconds = deps.Now().Sub(began).Seconds()
	return r.out, nil
}

// learn reads what the latest snapshot says of accounts and of the queue's bodies.
func (r *run) learn(ctx context.Context, s *repo.Snapshot) error {
	for _, object := range s.Accounts {
		if err := eachAccount(ctx, r.Repo, object, func(l accountLine) error {
			r.previous[l.Account] = l
			return nil
		}); err != nil {
			return err
		}
	}
	for _, object := range s.Queue {
		if err := r.bodies.learn(ctx, object, r.bodies.known); err != nil {
			return err
		}
	}
	return nil
}

func eachAccount(ctx context.Context, r *repo.Repo, object string, each func(accountLine) error) error {
	return readLines(ctx, r, object, func(fields map[string]json.RawMessage) error {
		var l accountLine
		b, err := json.Marshal(fields)
		if err == nil {
			err = json.Unmarshal(b, &l)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrLine, err)
		}
		return each(l)
	})
}

// accounts reads those that changed since they were read last.
func (r *run) accounts(ctx context.Context, q *queue) error {
	var states []*storev1.AccountState
	stream, err := r.Store.ListStates(ctx, &storev1.ListStatesRequest{})
	for err == nil {
		var resp *storev1.ListStatesResponse
		if resp, err = stream.Recv(); err == nil {
			states = append(states, resp.GetStates()...)
		}
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("list accounts: %w", err)
	}
	there := make(map[uint64]bool, len(states))
	for i, st := range states {
		r.progress.Done, r.progress.All = i, len(states)
		r.Say(r.progress)
		there[st.GetAccount()] = true
		if err := r.one(ctx, st, q); err != nil {
			return fmt.Errorf("account %d: %w", st.GetAccount(), err)
		}
	}
	for id := range r.lines {
		if !there[id] {
			delete(r.lines, id)
			delete(r.fresh, id)
		}
	}
	r.progress.Done = len(states)
	r.Say(r.progress)
	r.out.Accounts = RunAccounts{Read: len(r.fresh), Unchanged: len(r.lines) - len(r.fresh)}
	return nil
}

// one reads an account, unless it is as a snapshot, or an earlier round, has it.
func (r *run) one(ctx context.Context, st *storev1.AccountState, q *queue) error {
	id, fingerprint := st.GetAccount(), hex.EncodeToString(st.GetFingerprint())
	queued := q.local[id]
	before, known := r.lines[id]
	if known && before.Fingerprint == fingerprint && (r.fresh[id] == q || r.fresh[id] == nil && len(queued) == 0) {
		return nil
	}
	if !known {
		before, known = r.previous[id]
	}
	// A body that was missing may have been brought back.
	if known && before.Fingerprint == fingerprint && len(queued) == 0 && len(before.Missing) == 0 && r.has(before.Rows) {
		r.lines[id] = before
		return nil
	}
	line, err := r.read(ctx, id, queued, before.Rows)
	if err != nil {
		return err
	}
	line.Fingerprint = fingerprint
	r.lines[id], r.fresh[id] = *line, q
	return nil
}

func (r *run) has(object string) bool {
	d, err := repo.ParseDigest(object)
	if err != nil {
		return false
	}
	_, ok := r.Repo.Has(repo.Rows, d)
	return ok
}

// end writes what comes last: the directory, so that nobody is in it whose mail was not looked for; then the snapshot.
func (r *run) end(ctx context.Context, s *repo.Snapshot, q *queue) error {
	addresses, err := r.directory(ctx, s)
	if err != nil {
		return fmt.Errorf("read the directory: %w", err)
	}
	farm, err := r.read(ctx, 0, nil, "")
	if err != nil {
		return fmt.Errorf("read what belongs to no account: %w", err)
	}
	s.Farm, s.Counts.Rules = farm.Rows, farm.rows
	list := lists{repo: r.Repo}
	for _, id := range sorted(r.lines) {
		l := r.lines[id]
		l.Address = addresses[id]
		b, err := json.Marshal(l)
		if err != nil {
			return err
		}
		if err := list.add(ctx, append(b, '\n')); err != nil {
			return err
		}
		s.Counts.Accounts++
		s.Counts.Messages += l.Messages
		s.Counts.Octets += l.Octets
		s.Missing = append(s.Missing, l.Missing...)
	}
	if s.Accounts, err = list.end(ctx); err != nil {
		return err
	}
	s.Counts.Queued = q.messages
	s.Missing = append(s.Missing, q.missing...)
	r.out.Missing = append(r.out.Missing, s.Missing...)
	s.Ended = r.Now().UTC()
	return r.Repo.Save(ctx, s)
}
