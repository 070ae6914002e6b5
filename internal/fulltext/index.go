package fulltext

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Index is the index of all accounts in a database. Its methods may be called at once from many goroutines.
type Index struct {
	db    DB
	cache emails
}

// New is the index in a database.
func New(db DB) *Index { return &Index{db: db} }

// cacheEmails bounds the emails of the segments that are kept in memory: 8 octets each.
const cacheEmails = 4 << 20

// emails keeps what is in segments, which changes seldom.
type emails struct {
	mu   sync.Mutex
	held map[SegmentID]*heldSegment // guarded by mu
	size int                        // guarded by mu
}

type heldSegment struct {
	changed int64
	seg     *Segment
}

func (c *emails) get(h *head) *Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held := c.held[h.id]; held != nil && held.changed == h.changed {
		return held.seg
	}
	return nil
}

func (c *emails) put(h *head, s *Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil || c.size+len(s.Emails) > cacheEmails {
		c.held, c.size = map[SegmentID]*heldSegment{}, 0
	}
	if was := c.held[h.id]; was != nil {
		c.size -= len(was.seg.Emails)
	}
	c.held[h.id] = &heldSegment{h.changed, s}
	c.size += len(s.Emails)
}

// opened is a segment as it is in a snapshot. The segment is shared and not to be changed.
type opened struct {
	head
	*Segment
}

// open gives an account's segments.
func (x *Index) open(tx SQL, account mailbox.AccountID) ([]opened, error) {
	heads, err := readHeads(tx, account)
	if err != nil {
		return nil, err
	}
	all := make([]opened, 0, len(heads))
	for _, h := range heads {
		s := x.cache.get(&h)
		if s == nil {
			s = &h.seg
			if err := readEmails(tx, account, s); err != nil {
				return nil, err
			}
			x.cache.put(&h, s)
		}
		all = append(all, opened{h, s})
	}
	return all, nil
}

// Emails are those of an account that are indexed, in ascending order.
func (x *Index) Emails(ctx context.Context, account mailbox.AccountID) (ids []mailbox.EmailID, err error) {
	err = x.db.ReadSQL(ctx, func(tx SQL) error {
		segments, err := x.open(tx, account)
		for _, s := range segments {
			if s.Version != Version {
				continue
			}
			for i, id := range s.Emails {
				if !bitmap(s.Dead).has(i) {
					ids = append(ids, id)
				}
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the index of account %d: %w", account, err)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Add indexes emails that are not, at most SegmentDocs, and gives segments of other versions up. ErrChanged.
func (x *Index) Add(ctx context.Context, account mailbox.AccountID, docs []Doc) error {
	err := x.replace(ctx, account, func([]opened) ([]opened, *Segment, error) {
		if len(docs) == 0 {
			return nil, nil, nil
		}
		return nil, Build(docs), nil
	})
	if err != nil {
		return fmt.Errorf("index %d emails of account %d: %w", len(docs), account, err)
	}
	return nil
}

// Tidy merges segments that should be one; more tells that there are others.
func (x *Index) Tidy(ctx context.Context, account mailbox.AccountID) (more bool, err error) {
	err = x.replace(ctx, account, func(all []opened) ([]opened, *Segment, error) {
		var segments []*Segment
		for _, s := range all {
			segments = append(segments, s.Segment)
		}
		merge := mergeable(segments)
		if more = len(merge) > 0; !more {
			return nil, nil, nil
		}
		var old []opened
		for _, s := range all {
			if slices.Contains(merge, s.Segment) {
				old = append(old, s)
			}
		}
		s, err := Merge(merge, x.slices(ctx, account))
		if err == nil && len(s.Emails) == 0 {
			s = nil
		}
		return old, s, err
	})
	if err != nil {
		return false, fmt.Errorf("merge the index of account %d: %w", account, err)
	}
	return more, nil
}

// slices reads slices ahead of who merges, which takes them in order.
func (x *Index) slices(ctx context.Context, account mailbox.AccountID) func(SegmentID, int) ([]byte, error) {
	ahead := map[Place][]byte{}
	return func(id SegmentID, slice int) ([]byte, error) {
		if data, ok := ahead[id.place(slice)]; ok {
			delete(ahead, id.place(slice))
			return data, nil
		}
		var places []Place
		for i := range listsAt {
			places = append(places, id.place(min(slice+i, 1<<sliceBitsMax-1)))
			ahead[places[i]] = nil
		}
		err := x.db.ReadSQL(ctx, func(tx SQL) error {
			return readLists(tx, account, places, func(p Place, data []byte) error {
				ahead[p] = data
				return nil
			})
		})
		data := ahead[places[0]]
		delete(ahead, places[0])
		return data, err
	}
}

// replace writes a segment in the place of others, and takes those of other versions away.
func (x *Index) replace(ctx context.Context, account mailbox.AccountID, make func([]opened) (old []opened, s *Segment, err error)) error {
	var all []opened
	err := x.db.ReadSQL(ctx, func(tx SQL) (err error) {
		all, err = x.open(tx, account)
		return err
	})
	if err != nil {
		return err
	}
	old, s, err := make(all)
	if err != nil {
		return err
	}
	for _, have := range all {
		if have.Version != Version {
			old = append(old, have)
		}
	}
	if len(old) == 0 && s == nil {
		return nil
	}
	return x.db.WriteSQL(ctx, func(tx SQL) error {
		for i := range old {
			if err := removeSegment(tx, account, &old[i].head); err != nil {
				return err
			}
		}
		if s == nil {
			return nil
		}
		return writeSegment(tx, account, s)
	})
}

// Leave takes emails out of the index; those that are not there are passed over. What is left of them in lists has no name,
// and goes when the segment is merged. ErrChanged.
func (x *Index) Leave(ctx context.Context, account mailbox.AccountID, ids []mailbox.EmailID) error {
	gone := make(map[mailbox.EmailID]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	var all []opened
	err := x.db.ReadSQL(ctx, func(tx SQL) (err error) {
		all, err = x.open(tx, account)
		return err
	})
	if err == nil && len(ids) > 0 {
		err = x.db.WriteSQL(ctx, func(tx SQL) error { return leave(tx, account, all, gone) })
	}
	if err != nil {
		return fmt.Errorf("take %d emails out of the index of account %d: %w", len(ids), account, err)
	}
	return nil
}

func leave(tx SQL, account mailbox.AccountID, all []opened, gone map[mailbox.EmailID]bool) error {
	for _, s := range all {
		dead := newBitmap(len(s.Emails))
		dead.or(s.Dead)
		was := dead.count()
		for i, id := range s.Emails {
			if gone[id] {
				dead.set(i)
			}
		}
		n := dead.count()
		if n == was {
			continue
		}
		changed, err := tx.Exec(putDead, []byte(dead), int64(len(s.Emails)-n), int64(account), int64(s.id), s.changed)
		if err == nil && changed != 1 {
			err = ErrChanged
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Save keeps how far an account is indexed.
func (x *Index) Save(ctx context.Context, s State) error {
	err := x.db.WriteSQL(ctx, func(tx SQL) error {
		_, err := tx.Exec(putState, int64(s.Account), int64(s.Version), int64(s.ModSeq), int64(s.Newest), s.Compared.UnixNano())
		return err
	})
	if err != nil {
		return fmt.Errorf("save the state of the index of account %d: %w", s.Account, err)
	}
	return nil
}

// States tells of accounts behind one, in ascending order and at most so many.
func (x *Index) States(ctx context.Context, after mailbox.AccountID, limit int) (states []State, err error) {
	err = x.db.ReadSQL(ctx, func(tx SQL) error {
		return tx.Each("SELECT "+stateColumns+" FROM fulltext_account WHERE account > $1 ORDER BY account LIMIT $2", func(row Scanner) error {
			var s State
			err := scanState(row, &s)
			states = append(states, s)
			return err
		}, int64(after), int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read the states of the index: %w", err)
	}
	return states, nil
}

// State tells of one account; one that was never indexed has no version.
func (x *Index) State(ctx context.Context, account mailbox.AccountID) (State, error) {
	if account == 0 {
		return State{}, errors.New("account 0 is none")
	}
	states, err := x.States(ctx, account-1, 1)
	if err != nil || len(states) == 0 || states[0].Account != account {
		return State{Account: account}, err
	}
	return states[0], nil
}

// Usage is what an account has in the index.
type Usage struct {
	Emails, Segments, Octets int64
}

// Usage tells what an account has in the index.
func (x *Index) Usage(ctx context.Context, account mailbox.AccountID) (u Usage, err error) {
	err = x.db.ReadSQL(ctx, func(tx SQL) error {
		return tx.Each(`SELECT COALESCE(SUM(live), 0), COUNT(*), COALESCE(SUM(octets), 0) FROM fulltext_segment WHERE account = $1 AND version = $2`,
			func(row Scanner) error { return row.Scan(&u.Emails, &u.Segments, &u.Octets) }, int64(account), int64(Version))
	})
	if err != nil {
		return u, fmt.Errorf("read the usage of the index of account %d: %w", account, err)
	}
	return u, nil
}

// Drop takes an account out of the index.
func (x *Index) Drop(ctx context.Context, account mailbox.AccountID) error {
	err := x.db.WriteSQL(ctx, func(tx SQL) error {
		for _, table := range []string{"fulltext_account", "fulltext_segment", "fulltext_lists"} {
			if _, err := tx.Exec("DELETE FROM "+table+" WHERE account = $1", int64(account)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop the index of account %d: %w", account, err)
	}
	return nil
}
