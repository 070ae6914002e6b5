package kept

import (
	"context"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	// The first are of the account, the others of its mailboxes.
	givenValidity = `SELECT COALESCE(MAX(uid_validity), 0) FROM (SELECT uid_validity FROM mailbox WHERE account = $1
		UNION ALL SELECT uid_validity FROM removed_mailbox WHERE account = $2
		UNION ALL SELECT uid_validity FROM spent_validity WHERE account = $3
		UNION ALL SELECT uid_validity FROM account WHERE account = $4) v WHERE uid_validity <= $5`
	givenModSeqs    = `SELECT highest_mod_seq FROM removed_mailbox WHERE account = $1`
	givenAccount    = `SELECT mod_seq FROM account WHERE account = $1`
	givenBoxes      = `SELECT mailbox, uid_next, highest_mod_seq, purged_mod_seq FROM mailbox WHERE account = $1`
	givenChunks     = `SELECT mailbox, first_uid + 1, max_mod_seq FROM chunk WHERE account = $1`
	givenMarks      = `SELECT mailbox, MAX(uid_next), 0 FROM uid_mark WHERE account = $1 GROUP BY mailbox`
	givenImports    = `SELECT mailbox, MAX(uid) + 1, 0 FROM imported WHERE account = $1 GROUP BY mailbox`
	givenSeen       = `SELECT mailbox, 0, MAX(max_mod_seq) FROM seen WHERE account = $1 GROUP BY mailbox`
	givenTombstones = `SELECT mailbox, mod_seq, uids FROM tombstone WHERE account = $1`
	givenRemoved    = `SELECT mailbox, mod_seq, uid_next, uids FROM removed WHERE account = $1`

	spendValidity = `INSERT INTO spent_validity (account, uid_validity) VALUES ($1, $2) ON CONFLICT (account, uid_validity) DO NOTHING`
)

// Given is index.Check's.
func (s *Store) Given(ctx context.Context, account mailbox.AccountID) (g *index.Given, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) (err error) {
		g, err = readGiven(tx, account)
		return err
	})
	return g, wrap(fmt.Sprintf("read what account %d gave", account), err)
}

// given gathers what is known of mailboxes.
type given struct {
	boxes map[mailbox.ID]*givenBox
}

// givenBox is what is known of one.
type givenBox struct {
	index.BoxGiven
	// nexts and seqs are the numbers behind those that its row has.
	nexts []mailbox.UID
	seqs  []mailbox.ModSeq
	// purged is up to which MODSEQ tombstones may be gone, and removed the last MODSEQ that tells UIDNEXT.
	purged, removed mailbox.ModSeq
	imported        bool
}

func (g *given) box(id int64) *givenBox {
	b := g.boxes[mailbox.ID(id)]
	if b == nil {
		b = &givenBox{}
		g.boxes[mailbox.ID(id)] = b
	}
	return b
}

func (g *given) add(box, next, seq int64) {
	b := g.box(box)
	if mailbox.UID(next) > b.UIDNext {
		b.nexts = append(b.nexts, mailbox.UID(next))
	}
	if mailbox.ModSeq(seq) > b.ModSeq {
		b.seqs = append(b.seqs, mailbox.ModSeq(seq))
	}
}

// reach goes up to the last number that is near the one before it, and tells how many are beyond.
func reach[N mailbox.UID | mailbox.ModSeq](known N, list []N, near func(known, n N) bool) (last N, far int) {
	slices.Sort(list)
	for i, n := range list {
		if !near(known, n) {
			return known, len(list) - i
		}
		known = max(known, n)
	}
	return known, 0
}

// settle tells what is to be believed.
func (b *givenBox) settle() index.BoxGiven {
	var uids, seqs int
	b.UIDNext, uids = reach(b.UIDNext, b.nexts, index.NearUID)
	b.ModSeq, seqs = reach(b.ModSeq, b.seqs, index.NearModSeq)
	b.Far = max(uids, seqs)
	// UIDNEXT is known as of a removal, and of whatever was given and removed since there is a tombstone: none of after
	// it is gone. An import may have set it higher.
	b.All = b.removed > b.purged && !b.imported && b.Far == 0
	return b.BoxGiven
}

func readGiven(tx SQL, account mailbox.AccountID) (*index.Given, error) {
	id := int64(account)
	all := &index.Given{Boxes: map[mailbox.ID]index.BoxGiven{}}
	if err := tx.Each(givenValidity, func(row unit.Scanner) error { return row.Scan(&all.UIDValidity) }, id, id, id, id, int64(index.MaxKeptValidity)); err != nil {
		return nil, err
	}
	var seqs []mailbox.ModSeq
	for _, query := range []string{givenAccount, givenModSeqs} {
		if err := tx.Each(query, func(row unit.Scanner) error {
			var seq int64
			err := row.Scan(&seq)
			if query == givenAccount {
				all.ModSeq = mailbox.ModSeq(seq)
			} else {
				seqs = append(seqs, mailbox.ModSeq(seq))
			}
			return err
		}, id); err != nil {
			return nil, err
		}
	}
	g := &given{map[mailbox.ID]*givenBox{}}
	if err := tx.Each(givenBoxes, func(row unit.Scanner) error {
		var box, next, seq, purged int64
		err := row.Scan(&box, &next, &seq, &purged)
		b := g.box(box)
		b.UIDNext, b.ModSeq, b.purged = mailbox.UID(next), mailbox.ModSeq(seq), mailbox.ModSeq(purged)
		g.add(box, 0, purged)
		return err
	}, id); err != nil {
		return nil, err
	}
	for _, query := range []string{givenChunks, givenMarks, givenImports, givenSeen} {
		if err := tx.Each(query, func(row unit.Scanner) error {
			var box, next, seq int64
			err := row.Scan(&box, &next, &seq)
			g.add(box, next, seq)
			g.box(box).imported = g.box(box).imported || query == givenImports
			return err
		}, id); err != nil {
			return nil, err
		}
	}
	if err := g.expunged(tx, id); err != nil {
		return nil, err
	}
	for box, b := range g.boxes {
		all.Boxes[box] = b.settle()
		seqs = append(seqs, b.ModSeq)
	}
	all.ModSeq, _ = reach(all.ModSeq, seqs, index.NearModSeq)
	return all, nil
}

// expunged reads what was taken out of mailboxes. What cannot be read says nothing.
func (g *given) expunged(tx SQL, account int64) error {
	if err := tx.Each(givenTombstones, func(row unit.Scanner) error {
		var box, seq int64
		var b []byte
		err := row.Scan(&box, &seq, &b)
		next := int64(0)
		if set, bad := mailbox.DecodeUIDSet(b); bad == nil && len(set) > 0 {
			next = int64(set[len(set)-1].Last) + 1
		}
		g.add(box, next, seq)
		return err
	}, account); err != nil {
		return err
	}
	var uids []mailbox.UID
	return tx.Each(givenRemoved, func(row unit.Scanner) error {
		var box, seq, next int64
		var b []byte
		err := row.Scan(&box, &seq, &next, &b)
		list, bad := mailbox.DecodeUIDs(uids[:0], b, mailbox.ChunkSize)
		if uids = list; bad == nil && len(list) > 0 {
			next = max(next, int64(list[len(list)-1])+1)
		}
		g.add(box, next, seq)
		g.box(box).removed = max(g.box(box).removed, mailbox.ModSeq(seq))
		return err
	}, account)
}
