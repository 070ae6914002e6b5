package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/zeebo/blake3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// checkRate is how fast bodies are read unless somebody says otherwise, octets a second.
	checkRate = 32 << 20
	// checkStrays is how many chunks of mailboxes that are not there are filed elsewhere in one write.
	checkStrays = 64
	// checkOrphans is how many emails are looked at in one go, for whether anything names them: for each go all that names
	// emails is read once. They take some 20 MB.
	checkOrphans = 500_000
	// recovered is the folder that messages go to which nothing names, or whose own folder is not there.
	recovered = "Recovered"
)

// checks serves storev1.Checks.
type checks struct {
	storev1.UnimplementedChecksServer
	*mailboxes
	check     index.Check
	retention *retention
}

// Check looks through accounts.
func (s *checks) Check(req *storev1.CheckRequest, stream grpc.ServerStreamingServer[storev1.CheckResponse]) error {
	ctx := stream.Context()
	if len(req.GetAccounts()) > MaxCounters || req.GetRate() < 0 {
		return invalid("%d accounts at %d octets a second", len(req.GetAccounts()), req.GetRate())
	}
	w := &checking{checks: s, req: req, send: stream.Send, at: &storev1.CheckResponse{}}
	if w.rate = req.GetRate(); w.rate == 0 {
		w.rate = checkRate
	}
	for _, id := range req.GetAccounts() {
		a, err := account(id)
		if err == nil {
			err = w.known(ctx, a)
		}
		if err == nil {
			err = w.account(ctx, a)
		}
		if err != nil {
			return toStatus(err)
		}
	}
	if len(req.GetAccounts()) == 0 {
		if err := w.all(ctx); err != nil {
			return toStatus(err)
		}
	}
	w.at.Done = true
	return stream.Send(w.at)
}

// checking is a Check under way.
type checking struct {
	*checks
	req  *storev1.CheckRequest
	rate int64
	send func(*storev1.CheckResponse) error
	at   *storev1.CheckResponse
	// id and folder are where it is.
	id     mailbox.AccountID
	folder string
	// counts are findings of the account that counting anew mends.
	counts []problem
	// given are numbers that the account gave, as of before its folders are looked at.
	given *index.Given
	// lacking tells that entries of the account are missing, or lie where nobody sees them.
	lacking bool
}

// problem is a finding that is not told yet.
type problem struct{ folder, what, detail string }

func (w *checking) problem(what, format string, args ...any) problem {
	return problem{w.folder, what, fmt.Sprintf(format, args...)}
}

func (w *checking) all(ctx context.Context) error {
	after := mailbox.AccountID(w.req.GetAfter() & (1<<63 - 1))
	for {
		accounts, err := w.retention.Accounts(ctx, after, expireAccounts)
		if err != nil {
			return err
		}
		for _, a := range accounts {
			if err := w.account(ctx, a); err != nil {
				return err
			}
			after = a
		}
		if len(accounts) < expireAccounts {
			return nil
		}
	}
}

// known refuses an account that has no row: to look for its folders would make it.
func (w *checking) known(ctx context.Context, id mailbox.AccountID) error {
	list, err := w.retention.Accounts(ctx, id-1, 1)
	if err == nil && (len(list) == 0 || list[0] != id) {
		err = fmt.Errorf("account %d has no mailboxes: %w", id, index.ErrNoAccount)
	}
	return err
}

// found tells of a finding at once; repaired is empty where it stays.
func (w *checking) found(what, detail, repaired string) error {
	w.deps.Log.Warn("check found damage", slog.Uint64("account", uint64(w.id)), slog.String("what", what), slog.String("detail", detail), slog.String("repaired", repaired))
	resp := &storev1.CheckResponse{Account: w.at.Account, Accounts: w.at.Accounts, Messages: w.at.Messages, Bodies: w.at.Bodies, Octets: w.at.Octets,
		Findings: []*storev1.CheckFinding{{Account: uint64(w.id), Folder: w.folder, What: what, Detail: detail, Repaired: repaired}}}
	return w.send(resp)
}

// account looks through one account. What changes meanwhile is seen whole: each folder is read in one snapshot.
func (w *checking) account(ctx context.Context, id mailbox.AccountID) error {
	w.id, w.folder, w.counts, w.lacking = id, "", nil, false
	if err := w.strays(ctx); err != nil {
		return err
	}
	list, _, err := w.deps.Mailboxes.List(ctx, id)
	if err != nil {
		return err
	}
	if w.given, err = w.check.Given(ctx, id); err != nil {
		return err
	}
	for i := range list {
		if list[i].ID == 0 {
			continue
		}
		w.folder = list[i].Name
		if err := w.box(ctx, list[i].ID); err != nil && !errors.Is(err, index.ErrNoMailbox) {
			return err
		}
	}
	w.folder = ""
	if err := w.kept(ctx); err != nil {
		return err
	}
	if err := w.sums(ctx); err != nil {
		return err
	}
	// Counting anew comes last: wrong counters tell, also another check when this one was cut off, that entries are missing.
	if err := w.orphans(ctx); err != nil {
		return err
	}
	if err := w.recount(ctx); err != nil {
		return err
	}
	w.at.Account, w.at.Accounts = uint64(id), w.at.Accounts+1
	return w.send(w.at)
}

// box looks through a folder: its counters, the order of its entries, and their emails.
func (w *checking) box(ctx context.Context, id mailbox.ID) error {
	var m, sum index.Mailbox
	var last mailbox.UID
	broken, unordered, beyond, far := false, false, false, false
	var problems []problem
	given := w.given.Boxes[id]
	next, seq := given.UIDNext, given.ModSeq
	if given.Far > 0 {
		problems = append(problems, w.problem("order", "%d rows of what was removed or is there tell numbers far behind UIDNEXT %d, HIGHESTMODSEQ %d: these are not raised so far", given.Far, next, seq))
	}
	// A page at a time is looked at behind the snapshot, which is not to last as long as bodies take.
	var chunks []mailbox.Chunk
	err := w.deps.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: w.id, Mailbox: id}, func(p *index.Page) error {
		if p.Mailbox != nil {
			m = *p.Mailbox
			next, seq = max(m.UIDNext, given.UIDNext), max(m.HighestModSeq, given.ModSeq)
		}
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				broken = true
				problems = append(problems, w.problem("chunk", "%v", err))
				continue
			}
			for j := range c.Len() {
				e := c.At(j)
				sum.Messages++
				sum.Size += e.Size
				if e.Flags&mailbox.Seen == 0 {
					sum.Unseen++
				}
				if e.Flags&mailbox.Deleted != 0 {
					sum.Deleted++
				}
				if e.UID <= last && !unordered {
					unordered = true // one finding of a folder says enough
					problems = append(problems, w.problem("order", "UID %d comes behind %d", e.UID, last))
				}
				if !far && (!index.NearUID(next, e.UID+1) || !index.NearModSeq(seq, e.ModSeq)) {
					far = true
					problems = append(problems, w.problem("order", "UID %d, MODSEQ %d: UIDNEXT is %d, HIGHESTMODSEQ %d, which are not raised so far", e.UID, e.ModSeq, m.UIDNext, m.HighestModSeq))
				}
				if far {
					last = e.UID
					continue // whatever comes behind it
				}
				next, seq = max(next, e.UID+1), max(seq, e.ModSeq)
				if (e.UID >= m.UIDNext || e.ModSeq > m.HighestModSeq) && !beyond {
					beyond = true
					w.counts = append(w.counts, w.problem("order", "UID %d, MODSEQ %d: UIDNEXT is %d, HIGHESTMODSEQ %d", e.UID, e.ModSeq, m.UIDNext, m.HighestModSeq))
				}
				last = e.UID
			}
			chunks = append(chunks, mailbox.Chunk{UIDs: c.UIDs, Emails: c.Emails, Sizes: c.Sizes})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !broken && (sum.Messages != m.Messages || sum.Unseen != m.Unseen || sum.Deleted != m.Deleted || sum.Size != m.Size) {
		w.counts = append(w.counts, w.problem("counters", "%d messages, %d unseen, %d deleted, %d octets are counted; there are %d, %d, %d, %d",
			m.Messages, m.Unseen, m.Deleted, m.Size, sum.Messages, sum.Unseen, sum.Deleted, sum.Size))
	}
	if !beyond && (m.UIDNext < given.UIDNext || m.HighestModSeq < given.ModSeq) {
		w.counts = append(w.counts, w.problem("order", "UIDNEXT is %d, HIGHESTMODSEQ %d: of what was removed it is known that they were %d and %d", m.UIDNext, m.HighestModSeq, given.UIDNext, given.ModSeq))
	}
	w.lacking = w.lacking || broken || sum.Messages != m.Messages
	if err := w.tell(problems, ""); err != nil {
		return err
	}
	for i := range chunks {
		missing, err := w.emails(ctx, chunks[i].Emails, chunks[i].Sizes)
		if err != nil {
			return err
		}
		if err := w.missing(ctx, id, &chunks[i], missing); err != nil {
			return err
		}
		w.at.Messages += uint64(chunks[i].Len())
	}
	return nil
}

func (w *checking) tell(problems []problem, repaired string) error {
	folder := w.folder
	defer func() { w.folder = folder }()
	for _, p := range problems {
		w.folder = p.folder
		if err := w.found(p.what, p.detail, repaired); err != nil {
			return err
		}
	}
	return nil
}

// emails looks at the emails of entries, and tells which have no row; sizes are what the entries say, nil where that is of no
// concern.
func (w *checking) emails(ctx context.Context, ids []mailbox.EmailID, sizes []int64) (missing []mailbox.EmailID, err error) {
	list, err := w.deps.Mailboxes.Emails(ctx, w.id, ids, true)
	if err != nil {
		return nil, err
	}
	byID := make(map[mailbox.EmailID]*index.Email, len(list))
	for i := range list {
		byID[list[i].ID] = &list[i]
	}
	for i, id := range ids {
		e := byID[id]
		if e == nil {
			missing = append(missing, id)
			continue
		}
		if size := e.VisibleSize(); sizes != nil && size != sizes[i] {
			if err := w.found("size", fmt.Sprintf("message %s has %d octets, its entry says %d", objectID(id), size, sizes[i]), ""); err != nil {
				return nil, err
			}
		}
		if err := w.email(ctx, e); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// missing tells of entries without email, unless they went with the entry since it was read. A reader who asks for them is told
// each time that they are gone, and finds them there: they are taken out of the folder, which loses no more.
func (w *checking) missing(ctx context.Context, box mailbox.ID, c *mailbox.Chunk, ids []mailbox.EmailID) error {
	if len(ids) == 0 {
		return nil
	}
	placed, err := w.retention.Placed(ctx, w.id, ids)
	if err != nil {
		return err
	}
	var lost mailbox.UIDSet
	if w.req.GetRepair() {
		r, err := w.check.Lose(ctx, w.id, box, ids)
		if err != nil && !errors.Is(err, index.ErrNoMailbox) {
			return err
		}
		if lost = r.Expunged; len(lost) > 0 {
			w.changed(w.id, r.ModSeq, box)
		}
	}
	for i, id := range c.Emails {
		if !placed[id] {
			continue
		}
		repaired := ""
		if lost.Contains(c.UIDs[i]) {
			repaired = "removed from the folder: the message is lost"
		}
		if err := w.found("email", fmt.Sprintf("message %s, UID %d, has an entry and no row", objectID(id), c.UIDs[i]), repaired); err != nil {
			return err
		}
	}
	return nil
}

func objectID(id mailbox.EmailID) string { return mailbox.ObjectID('M', uint64(id)) }

// email looks at a message's part index, frame and, where that is asked for, body.
func (w *checking) email(ctx context.Context, e *index.Email) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, bad := message.Decode(e.PartIndex)
	f, err := w.deps.Blobs.Open(ctx, e.Blob)
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
		return w.found("blob", fmt.Sprintf("message %s: frame %s: %v", objectID(e.ID), e.Blob, err), "")
	case err != nil:
		return err // the blob store is away: nothing is known
	}
	defer f.Close()
	if f.Size != e.Size {
		if err := w.found("size", fmt.Sprintf("message %s has %d octets, its frame %d", objectID(e.ID), e.Size, f.Size), ""); err != nil {
			return err
		}
	}
	if bad != nil {
		if err := w.reindexed(ctx, e, bad); err != nil {
			return err
		}
	}
	if !w.req.GetBodies() {
		return nil
	}
	return w.body(ctx, e, f)
}

// reindexed tells of a part index that cannot be read, and makes it anew.
func (w *checking) reindexed(ctx context.Context, e *index.Email, bad error) error {
	if errors.Is(bad, message.ErrVersion) && !w.req.GetRepair() && (len(e.PartIndex) == 0 || e.PartIndex[0] != 0) {
		return nil // of another version, which there is none of that is 0: readers make it anew when they need it
	}
	repaired := ""
	if w.req.GetRepair() {
		err := w.makeIndex(ctx, e)
		if err == nil {
			err = w.setPartIndex(ctx, e.ID, e.PartIndex)
		}
		if repaired = "made anew"; err != nil {
			repaired, bad = "", errors.Join(bad, err)
		}
	}
	return w.found("part_index", fmt.Sprintf("message %s: %v", objectID(e.ID), bad), repaired)
}

// body reads a body, no faster than it may, and compares its digest, and its part index with the one that is stored.
func (w *checking) body(ctx context.Context, e *index.Email, f *blob.Frame) error {
	began := time.Now()
	h := blake3.New()
	var x message.Indexer
	n, err := io.CopyBuffer(io.MultiWriter(h, &x), struct{ io.Reader }{f.Reader()}, make([]byte, bodyPiece))
	w.at.Bodies, w.at.Octets = w.at.Bodies+1, w.at.Octets+uint64(n)
	switch {
	case errors.Is(err, blob.ErrCorrupt), errors.Is(err, blob.ErrNotFound):
		return w.found("body", fmt.Sprintf("message %s: frame %s: %v", objectID(e.ID), e.Blob, err), "")
	case err != nil:
		return err
	case [32]byte(h.Sum(nil)) != f.Digest:
		return w.found("body", fmt.Sprintf("message %s: frame %s: its digest is another", objectID(e.ID), e.Blob), "")
	}
	if err := w.sameIndex(ctx, e, f, &x); err != nil {
		return err
	}
	rest := time.NewTimer(time.Duration(float64(n)/float64(w.rate)*float64(time.Second)) - time.Since(began))
	defer rest.Stop()
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sameIndex compares the part index that is stored with the one of the body, which x has read. Where they differ, either is
// another message's, and the message ids of both are told. The one of the body is written, so that what readers see is whole,
// unless the frame itself tells that it is another message's: then it is kept for what it says of the right one.
func (w *checking) sameIndex(ctx context.Context, e *index.Email, f *blob.Frame, x *message.Indexer) error {
	ix, err := x.Finish()
	if err != nil {
		return fmt.Errorf("index body of message %s: %w", objectID(e.ID), err)
	}
	stored, err := message.Decode(e.PartIndex)
	if err != nil {
		return nil // told already, or of another version
	}
	made := ix.Encode(nil)
	if bytes.Equal(made, e.PartIndex) {
		return nil
	}
	detail := fmt.Sprintf("message %s: the body in frame %s is not that of its index: message-id %q, in the index %q", objectID(e.ID), e.Blob, ix.MessageID(), stored.MessageID())
	if anothers(e, f) {
		return w.found("body", detail+"; it came at another time than the message", "")
	}
	repaired := ""
	if w.req.GetRepair() {
		if err := w.setPartIndex(ctx, e.ID, made); err != nil {
			return err
		}
		repaired = "index made anew of the body"
	}
	return w.found("part_index", detail, repaired)
}

// setPartIndex stores a part index that was made anew, which readers of this process see at once.
func (w *checking) setPartIndex(ctx context.Context, id mailbox.EmailID, partIndex []byte) error {
	// Also where it failed: it may be stored all the same.
	defer w.Service.emails.drop(w.id, id)
	return w.deps.Mailboxes.SetPartIndex(ctx, w.id, id, partIndex)
}

// anothers tells whether a frame was accepted at another time than an email came, which its tail tells where it came by SMTP.
// Nothing is known of others.
func anothers(e *index.Email, f *blob.Frame) bool {
	var tail mailv1.FrameTail
	if f.Meta.QueueID.IsZero() || proto.Unmarshal(f.Meta.Tail, &tail) != nil {
		return false
	}
	accepted := tail.GetEnvelope().GetAcceptedNs()
	return accepted != 0 && accepted != e.Received.UnixNano()
}

// kept looks at what can be brought back.
func (w *checking) kept(ctx context.Context) error {
	q := index.RemovedQuery{Account: w.id, Limit: removedPage}
	for {
		rows, err := w.retention.Removed(ctx, q)
		if err != nil {
			return err
		}
		for i := range rows {
			var c mailbox.Chunk
			if err := c.Unpack(&rows[i].Entries); err != nil {
				if err := w.found("kept", fmt.Sprintf("removed from %q: %v", rows[i].Name, err), ""); err != nil {
					return err
				}
				continue
			}
			// Without a row an email is gone, and cannot be asked for: nothing is brought back of it.
			if _, err := w.emails(ctx, c.Emails, nil); err != nil {
				return err
			}
			w.at.Messages += uint64(c.Len())
		}
		if len(rows) < removedPage {
			return nil
		}
		q.After = rows[len(rows)-1].RowID
	}
}

// sums looks at what sums up the account.
func (w *checking) sums(ctx context.Context) error {
	sums, err := w.check.Sums(ctx, w.id)
	if err != nil {
		return err
	}
	if !index.NearModSeq(sums.ModSeq, sums.Highest) {
		if err := w.found("counters", fmt.Sprintf("MODSEQ is %d, and of a folder %d, to which it is not raised", sums.ModSeq, sums.Highest), ""); err != nil {
			return err
		}
		sums.Highest = sums.ModSeq
	}
	if !sums.Right() {
		w.counts = append(w.counts, w.problem("counters", "the account counts %d messages of %d octets, its folders %d of %d; %d of %d octets are kept, counted as %d of %d; MODSEQ %d, of a folder %d",
			sums.Messages, sums.Size, sums.WantMessages, sums.WantSize, sums.WantKept.Entries, sums.WantKept.Octets, sums.Kept.Entries, sums.Kept.Octets,
			sums.ModSeq, sums.Highest))
	}
	if sums.ModSeq < w.given.ModSeq && sums.Highest <= sums.ModSeq {
		w.counts = append(w.counts, w.problem("counters", "MODSEQ is %d, and %d was given", sums.ModSeq, w.given.ModSeq))
	}
	w.lacking = w.lacking || sums.Messages != sums.WantMessages
	return nil
}

// recount has all counters counted anew where any is wrong.
func (w *checking) recount(ctx context.Context) error {
	if len(w.counts) == 0 || !w.req.GetRepair() {
		return w.tell(w.counts, "")
	}
	mended, err := w.check.Recount(ctx, w.id)
	if errors.Is(err, mailbox.ErrColumn) {
		return w.tell(w.counts, "") // what cannot be read cannot be counted
	}
	if err != nil {
		return err
	}
	_, seq, err := w.deps.Mailboxes.List(ctx, w.id)
	if err != nil {
		return err
	}
	w.changed(w.id, seq)
	return w.tell(w.counts, "counted anew: "+strings.Join(mended, "; "))
}

// strays looks for entries of folders that are not there, and files them where they are seen.
func (w *checking) strays(ctx context.Context) error {
	list, err := w.check.Strays(ctx, w.id)
	if err != nil || len(list) == 0 {
		return err
	}
	w.lacking = true
	repaired, bad := "", ""
	if w.req.GetRepair() {
		filed, gone, err := w.refile(ctx)
		switch {
		case beyond(err):
			bad = ": " + err.Error()
		case err != nil:
			return err
		default:
			repaired = fmt.Sprintf("%d messages of such folders are filed in %s, without keywords", filed, recovered)
			if gone > 0 {
				repaired += fmt.Sprintf("; %d have no row and are lost", gone)
			}
		}
	}
	for _, s := range list {
		mended := repaired
		if s.Broken > 0 {
			mended = "" // a part of it stays
		}
		if err := w.found("stray", fmt.Sprintf("folder %d is not there; it has %d messages, and %d chunks that cannot be read%s", s.Mailbox, s.Messages, s.Broken, bad), mended); err != nil {
			return err
		}
	}
	return nil
}

// refile tells how many messages were filed, or lay there already, and how many have an entry alone.
func (w *checking) refile(ctx context.Context) (filed, gone int, err error) {
	var after index.ChunkID
	for {
		r, err := w.check.Refile(ctx, w.id, recovered, after, checkStrays)
		if err != nil {
			return filed, gone, err
		}
		if len(r.Restored) > 0 {
			w.changed(w.id, r.ModSeq, r.Mailbox)
		}
		filed, gone = filed+len(r.Restored)+len(r.Present), gone+len(r.Gone)
		if after = r.Last; !r.More {
			return filed, gone, nil
		}
	}
}

// beyond tells whether there is a reason why nothing can be filed that somebody may take away.
func beyond(err error) bool {
	return errors.Is(err, index.ErrMailboxes) || errors.Is(err, index.ErrCondemned) || errors.Is(err, index.ErrUIDs)
}

// orphans looks for messages that nothing names, and files them where they are seen. Where entries are missing, having been
// moved counts for nothing: it may be that they are those.
func (w *checking) orphans(ctx context.Context) error {
	var after mailbox.EmailID
	for {
		list, last, more, err := w.check.Orphans(ctx, w.id, after, checkOrphans, !w.lacking)
		if err != nil {
			return err
		}
		for i := range list {
			repaired, bad := "", ""
			if w.req.GetRepair() {
				r, err := w.retention.Retention.Restore(ctx, index.Restore{Account: w.id, Target: recovered, Subscribed: true, Anyway: true, Entries: []index.RestoreEntry{
					{Email: list[i].ID, Size: list[i].VisibleSize(), Received: list[i].Received.Unix()}}})
				switch {
				case beyond(err):
					bad = ": " + err.Error()
				case err != nil:
					return err
				case len(r.Restored) == 0:
					continue // it was filed or purged since
				default:
					w.changed(w.id, r.ModSeq, r.Mailbox)
					repaired = "filed in " + recovered
				}
			}
			if err := w.found("orphan", fmt.Sprintf("message %s of %d octets: nothing names it%s", objectID(list[i].ID), list[i].VisibleSize(), bad), repaired); err != nil {
				return err
			}
		}
		if after = last; !more {
			return nil
		}
	}
}
