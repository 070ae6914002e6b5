package kept

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

var _ index.Check = (*Store)(nil)

const (
	sumsOfAccount = `SELECT messages, size, mod_seq FROM account WHERE account = $1`
	sumsOfBoxes   = `SELECT COALESCE(SUM(messages), 0), COALESCE(SUM(size), 0), COALESCE(MAX(highest_mod_seq), 0) FROM mailbox WHERE account = $1`
	sumsOfRemoved = `SELECT COALESCE(SUM(entries), 0), COALESCE(SUM(octets), 0) FROM removed WHERE account = $1`
	fixKept       = `UPDATE kept SET entries = $2, octets = $3 WHERE account = $1`
	emailsBehind  = `SELECT email FROM email WHERE account = $1 AND email > $2 ORDER BY email LIMIT $3`
	// The kind is that of what counts for nothing.
	namedByRemoved = `SELECT emails FROM removed WHERE account = $1 AND kind <> $2`
	importedKeys   = `SELECT key, uid FROM imported WHERE account = $1 AND mailbox = $2`
	dropImported   = `DELETE FROM imported WHERE account = $1 AND mailbox = $2 AND key = $3`
	emailRow       = `SELECT email, size, received_ns, blob_id, overlay FROM email WHERE account = $1 AND email = $2`
)

// Sums is index.Check's.
func (s *Store) Sums(ctx context.Context, account mailbox.AccountID) (sums index.Sums, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) (err error) {
		sums, err = readSums(tx, account)
		return err
	})
	return sums, wrap(fmt.Sprintf("sum up account %d", account), err)
}

func readSums(tx SQL, account mailbox.AccountID) (s index.Sums, err error) {
	var seq, highest int64
	for _, q := range []struct {
		query string
		into  []any
	}{
		{sumsOfAccount, []any{&s.Messages, &s.Size, &seq}},
		{sumsOfBoxes, []any{&s.WantMessages, &s.WantSize, &highest}},
		{keptOf, []any{&s.Kept.Entries, &s.Kept.Octets}},
		{sumsOfRemoved, []any{&s.WantKept.Entries, &s.WantKept.Octets}},
	} {
		if err := tx.Each(q.query, func(row unit.Scanner) error { return row.Scan(q.into...) }, int64(account)); err != nil {
			return s, err
		}
	}
	s.ModSeq, s.Highest = mailbox.ModSeq(seq), mailbox.ModSeq(highest)
	return s, nil
}

// Recount is index.Check's.
func (s *Store) Recount(ctx context.Context, account mailbox.AccountID) (mended []string, err error) {
	err = s.db.WriteAccount(ctx, account, func(u *unit.Unit, tx SQL) (err error) {
		given, err := readGiven(tx, account)
		if err != nil {
			return err
		}
		var spent []mailbox.UIDValidity
		if mended, spent, err = u.Mend(account, given); err != nil {
			return err
		}
		for _, v := range spent {
			if _, err := tx.Exec(spendValidity, int64(account), int64(v)); err != nil {
				return err
			}
		}
		sums, err := readSums(tx, account)
		if err != nil || sums.Kept == sums.WantKept {
			return err
		}
		mended = append(mended, fmt.Sprintf("kept: %d messages, %d octets; was %d, %d", sums.WantKept.Entries, sums.WantKept.Octets, sums.Kept.Entries, sums.Kept.Octets))
		_, err = tx.Exec(fixKept, int64(account), sums.WantKept.Entries, sums.WantKept.Octets)
		return err
	})
	return mended, wrap(fmt.Sprintf("recount account %d", account), err)
}

// Lose is index.Check's.
func (s *Store) Lose(ctx context.Context, account mailbox.AccountID, box mailbox.ID, emails []mailbox.EmailID) (r index.ExpungeResult, err error) {
	err = s.db.WriteAccount(ctx, account, func(u *unit.Unit, tx SQL) (err error) {
		if r, err = u.Lose(account, box, emails); err != nil || len(r.Expunged) == 0 {
			return err
		}
		return forget(tx, account, box, r.Expunged)
	})
	if err != nil {
		return index.ExpungeResult{}, fmt.Errorf("remove entries of lost emails from mailbox %d of account %d: %w", box, account, err)
	}
	return r, nil
}

// forget drops the keys that messages were imported with which are lost: an import brings them again.
func forget(tx SQL, account mailbox.AccountID, box mailbox.ID, uids mailbox.UIDSet) error {
	var keys [][]any
	if err := tx.Each(importedKeys, func(row unit.Scanner) error {
		var key []byte
		var uid int64
		err := row.Scan(&key, &uid)
		if uids.Contains(mailbox.UID(uid)) {
			keys = append(keys, []any{int64(account), int64(box), key})
		}
		return err
	}, int64(account), int64(box)); err != nil {
		return fmt.Errorf("look for what was imported: %w", err)
	}
	if len(keys) == 0 {
		return nil
	}
	_, err := tx.ExecMany(dropImported, keys)
	return wrap("drop keys of imports", err)
}

// Orphans is index.Check's.
func (s *Store) Orphans(ctx context.Context, account mailbox.AccountID, after mailbox.EmailID, limit int, moved bool) (orphans []index.Email, last mailbox.EmailID, more bool, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		orphans, last, more = nil, after, false
		set := map[mailbox.EmailID]bool{}
		if err := tx.Each(emailsBehind, func(row unit.Scanner) error {
			var id int64
			err := row.Scan(&id)
			last = mailbox.EmailID(id)
			set[last] = true
			return err
		}, int64(account), int64(after), int64(limit)); err != nil {
			return err
		}
		more = len(set) == limit
		if len(set) == 0 {
			return nil
		}
		if err := dropNamed(tx, account, set, moved); err != nil {
			return err
		}
		var args [][]any
		for id := range set {
			args = append(args, []any{int64(account), int64(id)})
		}
		return tx.EachMany(emailRow, func(row unit.Scanner) error {
			var e index.Email
			var id, received int64
			var place, overlay []byte
			err := row.Scan(&id, &e.Size, &received, &place, &overlay)
			if err == nil {
				e.Blob, err = blob.IDFrom(place)
			}
			if err == nil && len(overlay) > 0 {
				e.Overlay = &mailv1.Overlay{}
				err = wrap(fmt.Sprintf("email %d: decode overlay", id), proto.Unmarshal(overlay, e.Overlay))
			}
			e.ID, e.Received = mailbox.EmailID(id), time.Unix(0, received)
			orphans = append(orphans, e)
			return err
		}, args)
	})
	slices.SortFunc(orphans, func(a, b index.Email) int { return cmp.Compare(a.ID, b.ID) })
	return orphans, last, more, wrap(fmt.Sprintf("look for orphans of account %d", account), err)
}

// dropNamed takes those emails out of a set that something of an account names.
func dropNamed(tx SQL, account mailbox.AccountID, set map[mailbox.EmailID]bool, moved bool) error {
	kind := int64(index.Moved)
	if moved {
		kind = 0 // none is
	}
	for _, q := range []struct {
		query string
		args  []any
	}{
		{namedByRemoved, []any{int64(account), kind}},
		{namedByTombstones, []any{int64(account)}},
		{seenEmails, []any{int64(account)}},
	} {
		if err := eachEmails(tx, func(ids []mailbox.EmailID) {
			for _, e := range ids {
				delete(set, e)
			}
		}, q.query, q.args...); err != nil {
			return fmt.Errorf("read what names emails: %w", err)
		}
	}
	return nil
}
