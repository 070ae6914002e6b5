package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	fulltextdb "github.com/mailfarm/mailfarm/internal/fulltext/sqlite"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/rpc"
	"github.com/mailfarm/mailfarm/internal/searchtext"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// openTexts makes an index's file.
func openTexts(t testing.TB) *fulltextdb.DB {
	t.Helper()
	db, err := fulltextdb.Open(t.Context(), filepath.Join(t.TempDir(), "fulltext.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// textWorker is a store beside the role's that fills an index.
type textWorker struct {
	storev1.FullTextClient
	index   *fulltext.Index
	metrics *prometheus.Registry
	// notify is a notice of a change; nil before the worker listens.
	notify atomic.Pointer[func(uint64)]
	stop   func()
}

// soon has the worker find what is to do at once.
var soon = store.FullTextConfig{Delay: time.Millisecond, SweepEvery: 10 * time.Millisecond, Share: 100}

func (r *role) fillTexts(t testing.TB, db fulltext.DB, cfg store.FullTextConfig) *textWorker {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &textWorker{index: fulltext.New(db), metrics: prometheus.NewRegistry()}
	s, err := store.New(store.Config{}, store.Deps{Mailboxes: r.db.Mailboxes(), Leases: r.db.Leases(), Blobs: r.blobs, Notify: r.notices, Log: log,
		Sharing: r.db.Sharing(), Directory: r.people, Metrics: prometheus.NewRegistry(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	err = s.AddFullText(cfg, store.FullTextDeps{Index: w.index, Survey: r.db.Retention(), Leases: r.db.Leases(), Log: log, Metrics: w.metrics,
		Now: time.Now, Holder: "worker", Listen: func(changed func(uint64)) (func(), error) {
			w.notify.Store(&changed)
			return func() {}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(log)
	s.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w.FullTextClient = storev1.NewFullTextClient(conn)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the worker ended: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// await asks again until it is so.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// status tells how far an account is indexed.
func (w *textWorker) status(t testing.TB, account uint64) *storev1.IndexStatus {
	t.Helper()
	resp, err := w.GetIndexStatus(t.Context(), &storev1.GetIndexStatusRequest{Account: account})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetStatus()
}

// whole waits until all of an account is indexed.
func (w *textWorker) whole(t testing.TB, account uint64) {
	t.Helper()
	await(t, "the account is indexed", func() bool {
		s := w.status(t, account)
		return s.GetIndexed() == s.GetEmails() && s.GetIndexedModSeq() == s.GetModSeq()
	})
}

// ruledOut are the UIDs of INBOX that cannot hold a text.
func (w *textWorker) ruledOut(t testing.TB, account, box uint64, text string) (uids []mailbox.UID) {
	t.Helper()
	stream, err := w.RuleOut(t.Context(), &storev1.RuleOutRequest{Account: account, Mailbox: box,
		Query: &storev1.TextQuery{Substring: searchtext.Fold(nil, []byte(text))}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		page, err := stream.Recv()
		if err == io.EOF {
			return uids
		}
		if err != nil {
			t.Fatal(err)
		}
		set, err := mailbox.DecodeUIDSet(page.GetUids())
		if err != nil {
			t.Fatal(err)
		}
		for uid := range set.All() {
			uids = append(uids, uid)
		}
	}
}

// letters appends so many to INBOX; each has its number.
func (r *role) letters(t testing.TB, account uint64, from, to int) (box uint64) {
	t.Helper()
	for i := from; i < to; i++ {
		b := fmt.Appendf(nil, "Subject: letter %d.\r\n\r\nsome text of letter %d.\r\n", i, i)
		resp, err := r.append(t.Context(), startPart(account, "INBOX", len(b)), dataPart(b), endPart)
		if err != nil {
			t.Fatal(err)
		}
		box = resp.GetMailbox()
	}
	return box
}

var errDead = errors.New("dead")

// dying is a database whose process dies at a write: before it, or behind it and before anybody is told.
type dying struct {
	fulltext.DB
	left   atomic.Int64
	behind bool
	dead   atomic.Bool
}

func (d *dying) WriteSQL(ctx context.Context, fn func(fulltext.SQL) error) error {
	if d.dead.Load() {
		return errDead
	}
	if d.left.Add(-1) > 0 {
		return d.DB.WriteSQL(ctx, fn)
	}
	if d.behind {
		if err := d.DB.WriteSQL(ctx, fn); err != nil {
			return err
		}
	}
	d.dead.Store(true)
	return errDead
}

func (d *dying) ReadSQL(ctx context.Context, fn func(fulltext.SQL) error) error {
	if d.dead.Load() {
		return errDead
	}
	return d.DB.ReadSQL(ctx, fn)
}

// TestFullTextKilledAnywhere has the process die at each of its writes: the next one ends the work, and has everything once.
func TestFullTextKilledAnywhere(t *testing.T) {
	r := start(t, store.Config{})
	box := r.letters(t, 1, 0, 30)
	r.letters(t, 2, 0, 5)
	for _, behind := range []bool{false, true} {
		for n := int64(1); ; n++ {
			db := openTexts(t)
			d := &dying{DB: db, behind: behind}
			d.left.Store(n)
			w := r.fillTexts(t, d, soon)
			survived := false
			await(t, "it died, or ended its work", func() bool {
				if d.dead.Load() {
					return true
				}
				states, err := w.index.States(t.Context(), 0, 10)
				survived = err == nil && len(states) == 2
				return survived
			})
			w.stop()
			w = r.fillTexts(t, db, soon)
			w.whole(t, 1)
			w.whole(t, 2)
			w.stop()
			if out := w.ruledOut(t, 1, box, "letter 7."); len(out) != 29 || slices.Contains(out, 8) {
				t.Errorf("killed at write %d, behind it: %v: %d of 30 are ruled out, 8 among them: %v", n, behind, len(out), slices.Contains(out, 8))
			}
			if survived {
				break
			}
		}
	}
}

// TestFullTextFollows: what is filed is indexed by its notice alone; what was purged leaves the index, also of an account
// that is no more; what the index lost it has again.
func TestFullTextFollows(t *testing.T) {
	r := start(t, store.Config{})
	box := r.letters(t, 1, 0, 10)
	db := openTexts(t)
	w := r.fillTexts(t, db, store.FullTextConfig{Delay: time.Millisecond, SweepEvery: time.Hour, CompareEvery: time.Hour, Share: 100})
	w.whole(t, 1) // the first sweep
	r.letters(t, 1, 10, 20)
	if out := w.ruledOut(t, 1, box, "letter 3."); slices.ContainsFunc(out, func(uid mailbox.UID) bool { return uid > 10 }) {
		t.Errorf("what is not indexed is ruled out: %v", out)
	}
	(*w.notify.Load())(1)
	w.whole(t, 1)
	if out := w.ruledOut(t, 1, box, "letter 3."); len(out) != 19 {
		t.Errorf("%d of 20 are ruled out", len(out))
	}
	w.stop()

	ctx := t.Context()
	if _, err := r.db.Mailboxes().Expunge(ctx, 1, mailbox.ID(box), mailbox.UIDSet{{First: 1, Last: 5}}, true); err != nil {
		t.Fatal(err)
	}
	w = r.fillTexts(t, db, store.FullTextConfig{Delay: time.Millisecond, SweepEvery: 10 * time.Millisecond, CompareEvery: 20 * time.Millisecond, Share: 100})
	if _, _, err := r.db.Retention().Purge(ctx, index.Rules{Now: time.Now().Add(time.Hour), Keep: time.Second, Every: time.Second}, 10); err != nil {
		t.Fatal(err)
	}
	await(t, "five emails left the index", func() bool {
		ids, err := w.index.Emails(ctx, 1)
		return err == nil && len(ids) == 15
	})
	if err := w.index.Add(ctx, 77, []fulltext.Doc{{Email: 5}}); err != nil {
		t.Fatal(err)
	}
	if err := w.index.Save(ctx, fulltext.State{Account: 77, Compared: time.Now()}); err != nil {
		t.Fatal(err)
	}
	await(t, "an account that is no more left it", func() bool {
		ids, err := w.index.Emails(ctx, 77)
		return err == nil && len(ids) == 0
	})
	if _, err := w.RebuildIndex(ctx, &storev1.RebuildIndexRequest{Account: 1}); err != nil {
		t.Fatal(err)
	}
	w.whole(t, 1)
	list, err := w.ListIndexStatus(ctx, &storev1.ListIndexStatusRequest{})
	if err != nil || len(list.GetAccounts()) != 1 || list.GetAccounts()[0].GetIndexed() != 15 {
		t.Errorf("got %v, %v", list, err)
	}
}

// TestFullTextOfTheUnreadable: a search looks at what the worker could not read, which tells its reader.
func TestFullTextOfTheUnreadable(t *testing.T) {
	r := start(t, store.Config{})
	box := r.letters(t, 1, 0, 5)
	r.spoil(t, "UPDATE email SET blob_id = zeroblob(length(blob_id)) WHERE email = (SELECT MIN(email) FROM email)")
	w := r.fillTexts(t, openTexts(t), soon)
	w.whole(t, 1)
	if out := w.ruledOut(t, 1, box, "not there"); !slices.Equal(out, []mailbox.UID{2, 3, 4, 5}) {
		t.Errorf("ruled out are %v, want all but 1", out)
	}
}

// TestFullTextIsNobodyElses: who may not read a mailbox is told nothing of it.
func TestFullTextIsNobodyElses(t *testing.T) {
	r := start(t, store.Config{})
	box := r.letters(t, 1, 0, 3)
	w := r.fillTexts(t, openTexts(t), soon)
	w.whole(t, 1)
	stream, err := w.RuleOut(t.Context(), &storev1.RuleOutRequest{Account: 1, Actor: 2, Mailbox: box, Query: &storev1.TextQuery{Substring: []byte("TEXT")}})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.NotFound {
		t.Errorf("got %v, want NOT_FOUND", err)
	}
	deep := &storev1.TextQuery{Substring: []byte("TEXT")}
	for range 1000 {
		deep = &storev1.TextQuery{All: []*storev1.TextQuery{deep}}
	}
	if stream, err = w.RuleOut(t.Context(), &storev1.RuleOutRequest{Account: 1, Mailbox: box, Query: deep}); err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v for a query of 1000 levels, want INVALID_ARGUMENT", err)
	}
}

// TestFullTextTellsItsLag: an account whose bodies cannot be read now waits, is told of, and keeps nobody else waiting.
func TestFullTextTellsItsLag(t *testing.T) {
	r := start(t, store.Config{})
	r.letters(t, 1, 0, 3)
	r.letters(t, 2, 0, 3)
	r.spoil(t, "UPDATE email SET overlay = x'ff' WHERE account = 1")
	w := r.fillTexts(t, openTexts(t), soon)
	w.whole(t, 2)
	gauge := func(name string) float64 {
		families, err := w.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range families {
			if m.GetName() == name {
				return m.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatalf("no metric %s", name)
		return 0
	}
	await(t, "account 1 is told of", func() bool {
		return gauge("mailfarm_fulltext_waiting_accounts") == 1 && gauge("mailfarm_fulltext_lag_seconds") > 0
	})
	r.spoil(t, "UPDATE email SET overlay = x'' WHERE account = 1")
	w.whole(t, 1)
	await(t, "nobody waits", func() bool { return gauge("mailfarm_fulltext_waiting_accounts") == 0 })
}
