package reclaimtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// retention is how long what was expunged is kept.
const retention = 24 * time.Hour

// config has short times: the clock is the test's.
var config = reclaim.Config{Every: time.Hour, Wait: 10 * time.Minute, RestoreWindow: 6 * time.Hour, LiveBelow: 60, RewriteRate: 1 << 40, Batch: 3}

// world is a mail store in use: blobs, ledger and mailboxes, with what each frame must hold.
type world struct {
	t  testing.TB
	s  Subject
	r  *rand.Rand
	fs *memfs.FS

	blobs  *dir.Store
	worker *reclaim.Worker
	// fault is asked between the worker's steps.
	fault func(point string) error

	seed uint64
	// frames are all that were ever committed, by first ID.
	frames map[blob.ID]blobtest.Message
	// unrouted are accepted and not in the ledger; waiting are in the ledger and not final.
	unrouted []blob.ID
	waiting  []blob.ID
	readers  []*blob.Frame
	// away keeps the router from its work.
	away bool
	ops  int
}

var boxes = []string{index.Inbox, "Archive", "Trash"}

func newWorld(t testing.TB, s Subject, seed uint64) *world {
	w := &world{t: t, s: s, r: rand.New(rand.NewPCG(seed, 1)), fs: memfs.New(), frames: map[blob.ID]blobtest.Message{}}
	w.open()
	t.Cleanup(w.close)
	return w
}

// open opens the blob store as another writer, and makes a worker that knows nothing.
func (w *world) open() {
	w.t.Helper()
	w.close()
	quiet := slog.New(slog.DiscardHandler)
	s, err := dir.Open(context.Background(), "/blob", dir.Options{
		FS: w.fs, Log: quiet, SegmentBytes: 24 << 10, Threshold: 8 << 10, ZeroAhead: -1, Now: w.s.Now,
	})
	if err != nil {
		w.t.Fatalf("open blobs: %v", err)
	}
	s.UseLocator(w.s.Books)
	w.blobs = s
	w.worker, err = reclaim.New(config, reclaim.Deps{
		Books: w.s.Books, Ledger: w.s.Ledger, Blobs: s, Log: quiet, Now: w.s.Now,
		Fault: func(point string) error {
			if w.fault != nil {
				return w.fault(point)
			}
			return nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	if w.blobs == nil {
		return
	}
	for _, f := range w.readers {
		f.Close()
	}
	w.readers = nil
	if err := w.blobs.Close(); err != nil {
		w.t.Errorf("close blobs: %v", err)
	}
	w.blobs = nil
}

func (w *world) must(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// commit makes a frame; one body in eight lies apart.
func (w *world) commit(kind blob.Kind, share blob.ID) blob.ID {
	w.t.Helper()
	w.seed++
	n := 200 + w.r.IntN(4000)
	if w.r.IntN(8) == 0 {
		n = 9000 + w.r.IntN(9000)
	}
	m := blobtest.NewMessage(w.seed, n)
	m.Meta.QueueID, m.Meta.Kind = envelope.NewQueueID(w.s.Now()), kind
	d, err := w.blobs.Create(share)
	w.must("Create", err)
	defer d.Discard()
	if share.IsZero() {
		_, err = d.Write(m.Body)
		w.must("Write", err)
	} else {
		m.Body = w.frames[share].Body
	}
	id, err := d.Commit(context.Background(), m.Meta)
	w.must("Commit", err)
	w.frames[id] = m
	return id
}

// accepted is what the bus carries of a frame.
func (w *world) accepted(id blob.ID, parent envelope.QueueID) *mailv1.Accepted {
	m := w.frames[id]
	a := &mailv1.Accepted{QueueId: m.Meta.QueueID[:], BlobId: id.Bytes(), Verdict: &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT},
		Envelope: &mailv1.Envelope{QueueId: m.Meta.QueueID[:], Kind: mailv1.Kind(m.Meta.Kind), AcceptedNs: w.s.Now().UnixNano(),
			Recipients: []*mailv1.Recipient{{ForwardPath: "a@example.org"}}}}
	if m.Meta.Kind == blob.Generated {
		a.Envelope.Parent = parent[:]
	}
	return a
}

// record enters a message in the ledger, for one account.
func (w *world) record(id blob.ID, a *mailv1.Accepted) {
	w.t.Helper()
	row := &storev1.RecipientRow{ForwardPath: "a@example.org", State: storev1.State_STATE_QUEUED, Account: w.account(id),
		Destination: storev1.Destination_DESTINATION_LOCAL}
	_, err := w.s.Ledger.Record(context.Background(), []*storev1.Routed{{Message: a, Recipients: []*storev1.RecipientRow{row}}})
	w.must("Record", err)
	w.waiting = append(w.waiting, id)
}

// account is whose a message is.
func (w *world) account(id blob.ID) uint64 { return 1 + uint64(id.Offset/64)%3 }

// take removes one of a list at random.
func (w *world) take(list *[]blob.ID) (blob.ID, bool) {
	if len(*list) == 0 {
		return blob.ID{}, false
	}
	i := w.r.IntN(len(*list))
	id := (*list)[i]
	*list = append((*list)[:i], (*list)[i+1:]...)
	return id, true
}

// deliver files a message that waits; with a child that shares its body one time in three.
func (w *world) deliver() {
	id, ok := w.take(&w.waiting)
	if !ok {
		return
	}
	m := w.frames[id]
	d := index.Delivery{QueueID: m.Meta.QueueID, Account: mailbox.AccountID(w.account(id)), Message: index.Message{
		Blob: id, PartIndex: []byte{1}, Size: int64(len(m.Body)), Received: w.s.Now()}}
	if w.r.IntN(3) == 0 {
		d.Children = []*mailv1.Accepted{w.accepted(w.commit(blob.Generated, id), m.Meta.QueueID)}
	}
	results, err := w.s.Mailboxes.Deliver(context.Background(), []index.Delivery{d})
	w.must("Deliver", err)
	if results[0].Status != index.Delivered {
		w.t.Errorf("Deliver of %v: %+v", id, results[0])
	}
}

// discard ends a message that waits, without filing it.
func (w *world) discard() {
	id, ok := w.take(&w.waiting)
	if !ok {
		return
	}
	queueID := w.frames[id].Meta.QueueID
	n, err := w.s.Ledger.Act(context.Background(), &storev1.ActRequest{Action: storev1.Action_ACTION_DELETE, QueueIds: [][]byte{queueID[:]}})
	if w.must("Act", err); n != 1 {
		w.t.Errorf("discard %v: %d recipients", id, n)
	}
}

// route records what was accepted, or the children in the outbox.
func (w *world) route() {
	if w.away {
		return
	}
	if id, ok := w.take(&w.unrouted); ok {
		w.record(id, w.accepted(id, envelope.QueueID{}))
		return
	}
	children, err := w.s.Ledger.Outbox(context.Background(), ledger.OutboxChild{}, 2)
	w.must("Outbox", err)
	for _, c := range children {
		var a mailv1.Accepted
		w.must("decode child", proto.Unmarshal(c.Payload, &a))
		id, err := blob.IDFrom(a.BlobId)
		w.must("child's blob", err)
		w.record(id, &a)
	}
	w.must("DropOutbox", w.s.Ledger.DropOutbox(context.Background(), children))
}

func (w *world) appendOne() {
	var list []index.Message
	for range 1 + w.r.IntN(3) {
		id := w.commit(blob.Appended, blob.ID{})
		list = append(list, index.Message{Blob: id, PartIndex: []byte{1}, Size: int64(len(w.frames[id].Body)), Received: w.s.Now()})
	}
	_, err := w.s.Mailboxes.Append(context.Background(), mailbox.AccountID(1+w.r.IntN(3)), boxes[w.r.IntN(len(boxes))], list)
	w.must("Append", err)
}

// box is a mailbox that has messages, and some of its UIDs.
func (w *world) box() (account mailbox.AccountID, box index.Mailbox, uids mailbox.UIDSet, ok bool) {
	account = mailbox.AccountID(1 + w.r.IntN(3))
	list, _, err := w.s.Mailboxes.List(context.Background(), account)
	w.must("List", err)
	box = list[w.r.IntN(len(list))]
	if box.Messages == 0 {
		return account, box, nil, false
	}
	first := mailbox.UID(1 + w.r.IntN(int(box.UIDNext)))
	return account, box, mailbox.UIDSet{{First: first, Last: first + mailbox.UID(w.r.IntN(6))}}, true
}

func (w *world) copyOrMove() {
	account, box, uids, ok := w.box()
	if !ok {
		return
	}
	call := w.s.Mailboxes.Copy
	if w.r.IntN(2) == 0 {
		call = w.s.Mailboxes.Move
	}
	_, err := call(context.Background(), account, box.ID, uids, boxes[w.r.IntN(len(boxes))])
	w.must("Copy", err)
}

func (w *world) expunge() {
	if account, box, uids, ok := w.box(); ok {
		_, err := w.s.Mailboxes.Expunge(context.Background(), account, box.ID, uids, true)
		w.must("Expunge", err)
	}
}

func (w *world) purge() {
	before := w.s.Now().Add(-retention)
	_, _, err := w.s.Books.Purge(context.Background(), before, before, 10)
	w.must("Purge", err)
	_, _, err = w.s.Retention.Purge(context.Background(), index.Rules{Now: w.s.Now(), Keep: retention}, 10)
	w.must("Purge of what is kept", err)
}

// removed are rows of what was removed of an account, the latest first.
func (w *world) removed(account mailbox.AccountID) []index.RemovedRow {
	rows, err := w.s.Retention.Removed(context.Background(), index.RemovedQuery{Account: account, Limit: 10_000})
	w.must("Removed", err)
	return rows
}

// restore brings something back.
func (w *world) restore() {
	account := mailbox.AccountID(1 + w.r.IntN(3))
	rows := w.removed(account)
	if len(rows) == 0 {
		return
	}
	emails, err := mailbox.AllEmails(nil, rows[w.r.IntN(len(rows))].Entries.Emails)
	w.must("emails", err)
	q := index.Restore{Account: account, Target: boxes[w.r.IntN(len(boxes))]}
	for _, e := range emails {
		q.Entries = append(q.Entries, index.RestoreEntry{Email: e, Size: 1, Received: w.s.Now().Unix()})
	}
	r, err := w.s.Retention.Restore(context.Background(), q)
	w.must("Restore", err)
	if len(r.Gone) > 0 {
		w.t.Errorf("emails %v were listed and are gone", r.Gone)
	}
}

// kept are the frames of what may be brought back.
func (w *world) kept(account mailbox.AccountID) (ids []blob.ID) {
	asked := map[mailbox.EmailID]bool{}
	var emails []mailbox.EmailID
	for _, row := range w.removed(account) {
		list, err := mailbox.AllEmails(nil, row.Entries.Emails)
		w.must("emails", err)
		for _, e := range list {
			if !asked[e] {
				asked[e] = true
				emails = append(emails, e)
			}
		}
	}
	list, err := w.s.Mailboxes.Emails(context.Background(), account, emails, false)
	w.must("Emails", err)
	if len(list) != len(emails) {
		w.t.Errorf("account %d: %d emails are kept, and %d are there", account, len(emails), len(list))
	}
	for _, e := range list {
		ids = append(ids, e.Blob)
	}
	return ids
}

// read opens something that is referred to and keeps it open, or reads what is open to its end.
func (w *world) read() {
	if len(w.readers) > 3 || len(w.readers) > 0 && w.r.IntN(2) == 0 {
		f := w.readers[0]
		w.readers = w.readers[1:]
		got, err := io.ReadAll(f.Reader())
		if err != nil || string(got) != string(w.frames[f.ID].Body) {
			w.t.Errorf("read %v, open for a while: %d octets, %v", f.ID, len(got), err)
		}
		f.Close()
		return
	}
	live := w.live()
	if len(live) == 0 {
		return
	}
	f, err := w.blobs.Open(context.Background(), live[w.r.IntN(len(live))])
	w.must("Open what is referred to", err)
	w.readers = append(w.readers, f)
}

// recover does what recovery does, as far as freeing needs it: it notes frames, and moves checkpoints.
func (w *world) recover() {
	ctx := context.Background()
	incarnations, err := w.blobs.Incarnations(ctx)
	w.must("Incarnations", err)
	checkpoints, err := w.s.Ledger.Checkpoints(ctx)
	w.must("Checkpoints", err)
	lost := map[blob.ID]bool{}
	for _, id := range w.unrouted {
		lost[id] = true
	}
	for _, inc := range incarnations {
		from := checkpoints[inc.ID]
		if from.Done {
			continue
		}
		from.Incarnation = inc.ID
		var notes reclaim.Notes
		var open *blob.Position
		at, err := w.blobs.Scan(ctx, from.Position, func(f blob.Scanned) error {
			notes.Add(f)
			if lost[f.ID] && open == nil {
				open = &blob.Position{Incarnation: inc.ID, Segment: f.ID.Segment, Offset: f.ID.Offset}
			}
			return f.Err
		})
		w.must("Scan", err)
		w.must("Note", notes.Write(ctx, w.s.Books))
		to := ledger.Checkpoint{Position: at, Done: !inc.Live && open == nil}
		if open != nil {
			to.Position = *open
		}
		to.Incarnation = inc.ID
		w.must("SaveCheckpoint", w.s.Ledger.SaveCheckpoint(ctx, to))
	}
}

// op does something at random.
func (w *world) op() {
	w.ops++
	switch w.r.IntN(21) {
	case 0, 1, 2:
		w.unrouted = append(w.unrouted, w.commit(blob.Accepted, blob.ID{}))
	case 3, 4, 5, 6:
		w.route()
	case 7, 8, 9:
		w.deliver()
	case 10:
		w.discard()
	case 11:
		w.appendOne()
	case 12, 13:
		w.copyOrMove()
	case 14, 15:
		w.expunge()
	case 16:
		w.read()
	case 17:
		w.recover()
	case 18:
		w.purge()
	case 20:
		w.restore()
	case 19:
		w.s.Advance(time.Duration(w.r.Int64N(int64(time.Hour))))
	}
}

// live are the frames that a mailbox has, that are kept for undelete, a message in the ledger waits with, or that wait for the ledger.
func (w *world) live() []blob.ID {
	ctx := context.Background()
	ids := append(append([]blob.ID(nil), w.unrouted...), w.waiting...)
	for account := mailbox.AccountID(1); account <= 3; account++ {
		list, _, err := w.s.Mailboxes.List(ctx, account)
		w.must("List", err)
		for _, box := range list {
			if box.Messages > 0 {
				ids = append(ids, w.filed(account, box.ID)...)
			}
		}
		ids = append(ids, w.kept(account)...)
	}
	var last ledger.OutboxChild
	for {
		children, err := w.s.Ledger.Outbox(ctx, last, 100)
		w.must("Outbox", err)
		for _, c := range children {
			last = c
			var a mailv1.Accepted
			w.must("decode child", proto.Unmarshal(c.Payload, &a))
			id, err := blob.IDFrom(a.BlobId)
			w.must("child's blob", err)
			ids = append(ids, id)
		}
		if len(children) < 100 {
			return ids
		}
	}
}

// filed are the frames of a mailbox.
func (w *world) filed(account mailbox.AccountID, box mailbox.ID) (ids []blob.ID) {
	ctx := context.Background()
	var emails []mailbox.EmailID
	w.must("Snapshot", w.s.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: account, Mailbox: box}, func(p *index.Page) error {
		for i := range p.Chunks {
			var err error
			if emails, err = mailbox.AllEmails(emails, p.Chunks[i].Emails); err != nil {
				return err
			}
		}
		return nil
	}))
	list, err := w.s.Mailboxes.Emails(ctx, account, emails, false)
	w.must("Emails", err)
	have := map[mailbox.EmailID]blob.ID{}
	for _, e := range list {
		have[e.ID] = e.Blob
	}
	for _, e := range emails {
		if have[e].IsZero() {
			w.t.Errorf("mailbox %d of account %d has an entry of email %d, which is not there", box, account, e)
			continue
		}
		ids = append(ids, have[e])
	}
	return ids
}

// check reads everything that must be there, and looks for damage.
func (w *world) check(when string) {
	w.t.Helper()
	for _, id := range w.live() {
		if err := w.compare(id); err != nil {
			w.t.Fatalf("%s: %v", when, err)
		}
	}
	for _, f := range blobtest.ScanAll(quiet{w.t}, w.blobs) {
		first := f.ID
		if !f.Origin.IsZero() {
			first = f.Origin
		}
		if m, ok := w.frames[first]; f.Err != nil || !ok || m.Meta.QueueID != f.Meta.QueueID {
			w.t.Fatalf("%s: Scan: %+v", when, f)
		}
	}
}

func (w *world) compare(id blob.ID) error {
	return blobtest.Compare(quiet{w.t}, w.blobs, id, w.frames[id])
}

// quiet is a testing.TB with a context that outlives it.
type quiet struct{ testing.TB }

func (quiet) Context() context.Context { return context.Background() }

// errCrash stands for the death of the process.
var errCrash = errors.New("crash")

// steps has the worker do all that is due. A crash opens everything anew.
func (w *world) steps() {
	w.t.Helper()
	for range 2000 {
		more, err := w.worker.Step(context.Background())
		switch {
		case errors.Is(err, errCrash):
			w.open()
		case err != nil:
			w.t.Fatalf("step: %v", err)
		case !more:
			return
		}
	}
	w.t.Fatal("the worker does not come to an end")
}

// settle lets everything come to its end: all is routed and filed, and the worker gives back what it can.
func (w *world) settle() {
	w.t.Helper()
	for range 4 {
		for range 200 {
			w.route()
			w.deliver()
		}
	}
	if n := len(w.unrouted) + len(w.waiting); n > 0 {
		w.t.Fatalf("%d messages are still on their way", n)
	}
	for range 8 {
		w.open()
		w.recover()
		w.s.Advance(retention + time.Hour)
		w.purge()
		w.steps()
		w.s.Advance(config.Wait)
		w.steps()
		w.s.Advance(config.RestoreWindow)
		w.steps()
	}
}

// stored are the octets in segments and in bodies apart.
func (w *world) stored() (segments, bodies int64) {
	incarnations, err := w.blobs.Incarnations(context.Background())
	w.must("Incarnations", err)
	for _, inc := range incarnations {
		list, err := w.blobs.Segments(context.Background(), inc.ID)
		w.must("Segments", err)
		for _, seg := range list {
			segments += seg.Bytes
		}
		path := fmt.Sprintf("/blob/%08d/body", inc.ID)
		names, err := w.fs.List(path)
		w.must("list bodies", err)
		for _, name := range names {
			f, err := w.fs.Open(path + "/" + name)
			w.must("open body", err)
			n, err := f.Size()
			w.must("size of body", err)
			bodies += n
			f.Close()
		}
	}
	return segments, bodies
}
