package kept

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	// The first are of the account, the others of its mailboxes.
	givenValidity = `SELECT MAX(uid_validity) FROM (SELECT uid_validity FROM mailbox WHERE account = $1
		UNION ALL SELECT uid_validity FROM removed_mailbox WHERE account = $2
		UNION ALL SELECT uid_validity FROM spent_validity WHERE account = $3
		UNION ALL SELECT uid_validity FROM account WHERE account = $4) v`
	givenModSeq     = `SELECT COALESCE(MAX(highest_mod_seq), 0) FROM removed_mailbox WHERE account = $1`
	givenPurged     = `SELECT mailbox, 0, purged_mod_seq FROM mailbox WHERE account = $1`
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
	boxes map[mailbox.ID]index.BoxGiven
	// purged is up to which MODSEQ tombstones may be gone, and removed the last MODSEQ that tells UIDNEXT.
	purged, removed map[mailbox.ID]mailbox.ModSeq
}

func (g *given) add(box, next, seq int64) {
	b := g.boxes[mailbox.ID(box)]
	b.UIDNext, b.ModSeq = max(b.UIDNext, mailbox.UID(next)), max(b.ModSeq, mailbox.ModSeq(seq))
	g.boxes[mailbox.ID(box)] = b
}

func readGiven(tx SQL, account mailbox.AccountID) (*index.Given, error) {
	id := int64(account)
	all := &index.Given{}
	if err := tx.Each(givenValidity, func(row unit.Scanner) error { return row.Scan(&all.UIDValidity) }, id, id, id, id); err != nil {
		return nil, err
	}
	if err := tx.Each(givenModSeq, func(row unit.Scanner) error { return row.Scan(&all.ModSeq) }, id); err != nil {
		return nil, err
	}
	g := &given{map[mailbox.ID]index.BoxGiven{}, map[mailbox.ID]mailbox.ModSeq{}, map[mailbox.ID]mailbox.ModSeq{}}
	imported := map[mailbox.ID]bool{}
	for _, query := range []string{givenPurged, givenMarks, givenImports, givenSeen} {
		if err := tx.Each(query, func(row unit.Scanner) error {
			var box, next, seq int64
			err := row.Scan(&box, &next, &seq)
			g.add(box, next, seq)
			switch query {
			case givenPurged:
				g.purged[mailbox.ID(box)] = mailbox.ModSeq(seq)
			case givenImports:
				imported[mailbox.ID(box)] = true
			}
			return err
		}, id); err != nil {
			return nil, err
		}
	}
	if err := g.expunged(tx, id); err != nil {
		return nil, err
	}
	for box, b := range g.boxes {
		// UIDNEXT is known as of a removal, and of whatever was given and removed since there is a tombstone: none of after
		// it is gone. An import may have set it higher.
		b.All = g.removed[box] > g.purged[box] && !imported[box]
		g.boxes[box] = b
		all.ModSeq = max(all.ModSeq, b.ModSeq)
	}
	all.Boxes = g.boxes
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
		g.removed[mailbox.ID(box)] = max(g.removed[mailbox.ID(box)], mailbox.ModSeq(seq))
		return err
	}, account)
}
