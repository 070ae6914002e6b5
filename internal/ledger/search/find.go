package search

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Key is a row's place: when it was written, nanoseconds since 1970, and a number that tells rows of one moment apart.
type Key struct{ At, Nonce int64 }

// Row is the entries of one batch.
type Row struct {
	Key
	Data []byte
}

// Rows is what a database offers. Each call sees what was committed before it.
type Rows interface {
	// SearchRows reads at most limit rows before a place and written at since or later, newest first, whose data holds all needles.
	SearchRows(ctx context.Context, before Key, since int64, needles [][]byte, limit int) ([]Row, error)
	// Load is that of ledger.Hot.
	Load(ctx context.Context, ids [][]byte) ([]*storev1.LedgerEntry, error)
}

const (
	// slack is by how much the clocks of processes may differ: ids, times of acceptance and rows have theirs from several.
	slack = 5 * time.Minute
	// firstPage and lastPage are how many rows are read at once: few where much matches, more where little does.
	firstPage = 16
	lastPage  = 1024
	// maxSeen bounds what is remembered of messages looked at, maxBoth those that fulfil one half of a query; up to fewIDs
	// are looked up one by one.
	maxSeen = 1 << 20
	maxBoth = 4 << 20
	fewIDs  = 2000
)

// ErrTooMany is a query that nearly everything fulfils in part.
var ErrTooMany = fmt.Errorf("%w: too many messages fulfil a part of the conditions: narrow them by time", ledger.ErrInvalid)

// Find hands over messages that fulfil a query, newest first, in pages of at most ledger.ListPage.
//
// A row is never older than the messages it speaks of, but may be much younger: what is deferred for days has its replies
// in later rows. So the search has found the newest ones only when it has come to rows older than the last of them.
func Find(ctx context.Context, rows Rows, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error {
	f := &finder{rows: rows, q: q, limit: Limit(q), seen: map[envelope.QueueID]bool{}}
	message, reply := messageWords(q), askedReply(q)
	var err error
	switch {
	case len(message) > 0 && len(reply) > 0:
		// Sender and reply stand in different rows.
		err = f.both(ctx, message, reply)
	case len(message) > 0:
		err = f.scan(ctx, message, f.verify)
	default:
		err = f.scan(ctx, reply, f.verify)
	}
	if err != nil {
		return err
	}
	return Pages(ctx, rows, q, f.hits, each)
}

// Limit is how many messages a query may bring.
func Limit(q *storev1.QueueListRequest) int {
	if q.Limit == 0 {
		return ledger.ListDefault
	}
	return int(min(q.Limit, ledger.ListMax))
}

// Pages loads messages and hands over those that match still.
func Pages(ctx context.Context, rows Rows, q *storev1.QueueListRequest, ids []envelope.QueueID, each func([]*storev1.LedgerEntry) error) error {
	for len(ids) > 0 {
		page := ids[:min(ledger.ListPage, len(ids))]
		ids = ids[len(page):]
		found, err := load(ctx, rows, q, page)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		if err := each(found); err != nil {
			return err
		}
	}
	return nil
}

func load(ctx context.Context, rows Rows, q *storev1.QueueListRequest, ids []envelope.QueueID) ([]*storev1.LedgerEntry, error) {
	list := make([][]byte, len(ids))
	for i := range ids {
		list[i] = ids[i][:]
	}
	entries, err := rows.Load(ctx, list)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e *storev1.LedgerEntry) bool { return !Matches(q, e) }), nil
}

// finder is one search.
type finder struct {
	rows  Rows
	q     *storev1.QueueListRequest
	limit int
	// hits fulfil the query, newest first, at most limit.
	hits []envelope.QueueID
	seen map[envelope.QueueID]bool
}

// full tells whether nothing up to an id can be among the newest hits any more.
func (f *finder) full(upTo envelope.QueueID) bool {
	return len(f.hits) == f.limit && bytes.Compare(f.hits[f.limit-1][:], upTo[:]) >= 0
}

// stop is the time before which rows need not be read.
func (f *finder) stop() int64 {
	since := int64(0)
	if f.q.SinceNs != 0 {
		since = f.q.SinceNs - int64(slack)
	}
	if len(f.hits) == f.limit {
		since = max(since, f.hits[f.limit-1].Time().Add(-slack).UnixNano())
	}
	return since
}

// scan goes through the rows that hold words, and gives take the ids whose entries do, page by page.
func (f *finder) scan(ctx context.Context, words []word, take func(context.Context, []envelope.QueueID) error) error {
	needles := make([][]byte, len(words))
	for i, w := range words {
		needles[i] = binary.BigEndian.AppendUint32(nil, uint32(w))
	}
	at := Key{At: 1<<63 - 1}
	for size := firstPage; ; size = min(2*size, lastPage) {
		page, err := f.rows.SearchRows(ctx, at, f.stop(), needles, size)
		if err != nil {
			return fmt.Errorf("search: %w", err)
		}
		var ids []envelope.QueueID
		for _, r := range page {
			at = r.Key
			whole := each(r.Data, func(id envelope.QueueID, has []byte) bool {
				if hasWords(has, words) && f.within(id) {
					ids = append(ids, id)
				}
				return true
			})
			if !whole {
				return fmt.Errorf("search row of %v is damaged", time.Unix(0, r.At))
			}
		}
		if err := take(ctx, ids); err != nil {
			return err
		}
		if len(page) < size {
			return nil
		}
	}
}

func hasWords(entry []byte, words []word) bool {
	for _, w := range words {
		if !has(entry, w) {
			return false
		}
	}
	return true
}

// within tells whether an id alone lets a message fulfil the query.
func (f *finder) within(id envelope.QueueID) bool {
	// An id is made before its message is accepted, and a child's carries its parent's time: only until can be told by it.
	return (len(f.q.Before) == 0 || bytes.Compare(id[:], f.q.Before) < 0) &&
		(f.q.UntilNs == 0 || !id.Time().After(time.Unix(0, f.q.UntilNs).Add(slack)))
}

// verify looks up messages and keeps those that match.
func (f *finder) verify(ctx context.Context, ids []envelope.QueueID) error {
	slices.SortFunc(ids, newestFirst)
	for len(ids) > 0 {
		var page []envelope.QueueID
		for len(ids) > 0 && len(page) < ledger.ListPage {
			if !f.seen[ids[0]] && !f.full(ids[0]) {
				page = append(page, ids[0])
				f.seen[ids[0]] = true
			}
			ids = ids[1:]
		}
		if len(f.seen) > maxSeen {
			clear(f.seen) // what comes again is looked at again
		}
		found, err := load(ctx, f.rows, f.q, page)
		if err != nil {
			return err
		}
		for _, e := range found {
			f.hits = append(f.hits, envelope.QueueID(e.Message.QueueId))
		}
		slices.SortFunc(f.hits, newestFirst)
		f.hits = slices.Compact(f.hits)
		f.hits = f.hits[:min(len(f.hits), f.limit)]
	}
	return nil
}

// newestFirst orders ids; those of one millisecond, in which order is chance, always in the same.
func newestFirst(a, b envelope.QueueID) int { return bytes.Compare(b[:], a[:]) }

// both finds messages of which one row has the words of the message and another those of the reply. Where one half is
// fulfilled by few, these are looked up; else it takes what fulfils both.
func (f *finder) both(ctx context.Context, message, reply []word) error {
	for _, words := range [][]word{reply, message} {
		few, err := f.gather(ctx, words, fewIDs)
		if err == nil {
			return f.verify(ctx, few)
		}
		if !errors.Is(err, ErrTooMany) {
			return err
		}
	}
	one, err := f.gather(ctx, message, maxBoth)
	if err != nil {
		return err
	}
	other, err := f.gather(ctx, reply, maxBoth)
	if err != nil {
		return err
	}
	return f.verify(ctx, intersect(one, other))
}

// gather lists all messages whose entries hold words, newest first; ErrTooMany beyond most.
func (f *finder) gather(ctx context.Context, words []word, most int) (ids []envelope.QueueID, err error) {
	err = f.scan(ctx, words, func(_ context.Context, page []envelope.QueueID) error {
		if ids = append(ids, page...); len(ids) > most {
			return ErrTooMany
		}
		return nil
	})
	slices.SortFunc(ids, newestFirst)
	return slices.Compact(ids), err
}

// intersect keeps in a what is in b, too; both are in order.
func intersect(a, b []envelope.QueueID) []envelope.QueueID {
	kept := a[:0]
	for _, id := range a {
		for len(b) > 0 && newestFirst(b[0], id) < 0 {
			b = b[1:]
		}
		if len(b) > 0 && b[0] == id {
			kept = append(kept, id)
		}
	}
	return kept
}
