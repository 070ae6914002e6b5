package kept

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	strays = ` FROM chunk c WHERE account = $1 AND (mailbox > $2 OR mailbox = $3 AND first_uid > $4)
		AND NOT EXISTS (SELECT 1 FROM mailbox m WHERE m.account = c.account AND m.mailbox = c.mailbox) ORDER BY mailbox, first_uid LIMIT $5`
	strayChunks = `SELECT mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved` + strays
	dropStray   = `DELETE FROM chunk WHERE account = $1 AND mailbox = $2 AND first_uid = $3`
	dropUnseen  = `DELETE FROM seen WHERE account = $1 AND mailbox = $2 AND first_uid = $3`

	// strayPage is how many chunks are read in one go.
	strayPage = 256
)

// strayChunk is a chunk whose mailbox is not there.
type strayChunk struct {
	index.ChunkID
	packed mailbox.Packed
}

func readStrays(tx SQL, account mailbox.AccountID, after index.ChunkID, limit int) (list []strayChunk, err error) {
	err = tx.Each(strayChunks, func(row unit.Scanner) error {
		var box, first, seq int64
		var c strayChunk
		p := &c.packed
		err := row.Scan(&box, &first, &seq, &p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received, &p.Saved)
		c.ChunkID = index.ChunkID{Mailbox: mailbox.ID(box), FirstUID: mailbox.UID(first)}
		p.FirstUID, p.MaxModSeq = c.FirstUID, mailbox.ModSeq(seq)
		list = append(list, c)
		return err
	}, int64(account), int64(after.Mailbox), int64(after.Mailbox), int64(after.FirstUID), int64(limit))
	return list, wrap("read chunks without mailbox", err)
}

// Strays is index.Check's.
func (s *Store) Strays(ctx context.Context, account mailbox.AccountID) (list []index.Stray, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		list = nil
		var after index.ChunkID
		for {
			page, err := readStrays(tx, account, after, strayPage)
			if err != nil {
				return err
			}
			for i := range page {
				if n := len(list); n == 0 || list[n-1].Mailbox != page[i].Mailbox {
					list = append(list, index.Stray{Mailbox: page[i].Mailbox})
				}
				stray := &list[len(list)-1]
				var c mailbox.Chunk
				if c.Unpack(&page[i].packed) == nil {
					stray.Messages += c.Len()
				} else {
					stray.Broken++
				}
			}
			if len(page) < strayPage {
				return nil
			}
			after = page[len(page)-1].ChunkID
		}
	})
	return list, wrap(fmt.Sprintf("look for strays of account %d", account), err)
}

// Refile is index.Check's. The rows go in the step that files what they have, and what the account counted of them is counted once.
func (s *Store) Refile(ctx context.Context, account mailbox.AccountID, target string, after index.ChunkID, limit int) (r index.Refiled, err error) {
	err = s.db.WriteAccount(ctx, account, func(u *unit.Unit, tx SQL) error {
		r = index.Refiled{Last: after}
		page, err := readStrays(tx, account, after, limit)
		if err != nil || len(page) == 0 {
			return err
		}
		r.Last, r.More = page[len(page)-1].ChunkID, len(page) == limit
		q := index.Restore{Account: account, Target: target, Subscribed: true, Anyway: true}
		var gone [][]any
		var octets int64
		for i := range page {
			var c mailbox.Chunk
			if err := c.Unpack(&page[i].packed); errors.Is(err, mailbox.ErrColumn) {
				continue
			} else if err != nil {
				return err
			}
			for j := range c.Len() {
				e := c.At(j)
				octets += e.Size
				// Which keywords the other bits were was told by the mailbox.
				q.Entries = append(q.Entries, index.RestoreEntry{Email: e.Email, Beside: true, Flags: e.Flags.Names(nil), Size: e.Size, Received: e.Received})
			}
			gone = append(gone, []any{int64(account), int64(page[i].Mailbox), int64(page[i].FirstUID)})
		}
		if len(gone) == 0 {
			return nil
		}
		for _, query := range []string{dropUnseen, dropStray} {
			if _, err := tx.ExecMany(query, gone); err != nil {
				return fmt.Errorf("remove chunks without mailbox: %w", err)
			}
		}
		if err := u.Uncount(account, int64(len(q.Entries)), octets); err != nil {
			return err
		}
		r.RestoreResult, err = u.Restore(&q)
		return err
	})
	if err != nil {
		return index.Refiled{}, fmt.Errorf("refile strays of account %d into %q: %w", account, target, err)
	}
	return r, nil
}
