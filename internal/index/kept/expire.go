package kept

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	setExpire = `INSERT INTO expire_rule (account, domain, folder, name, older_ns, received, larger, flag, no_flag, keep, never)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (account, domain, folder, name) DO UPDATE SET older_ns = excluded.older_ns,
		received = excluded.received, larger = excluded.larger, flag = excluded.flag, no_flag = excluded.no_flag, keep = excluded.keep, never = excluded.never`
	dropExpire  = `DELETE FROM expire_rule WHERE account = $1 AND domain = $2 AND folder = $3 AND name = $4`
	allExpire   = `SELECT account, domain, folder, name, older_ns, received, larger, flag, no_flag, keep, never FROM expire_rule ORDER BY account, domain, folder, name`
	countExpire = `SELECT COUNT(*) FROM expire_rule`
)

// SetExpireRule is index.Retention's.
func (s *Store) SetExpireRule(ctx context.Context, r index.ExpireRule) error {
	set := func(tx SQL) error {
		if _, err := tx.Exec(setExpire, int64(r.Account), r.Domain, r.Folder, r.Name, int64(r.OlderThan), number(r.Received), r.LargerThan,
			r.Flag, r.NoFlag, int64(r.Keep), number(r.Never)); err != nil {
			return err
		}
		n := 0
		err := tx.Each(countExpire, func(row unit.Scanner) error { return row.Scan(&n) })
		if err == nil && n > index.MaxExpireRules {
			err = index.ErrExpireRules
		}
		return err
	}
	if r.Account == 0 {
		return wrap("set rule of expiry", s.db.WriteSQL(ctx, set))
	}
	return wrap("set rule of expiry", s.db.WriteAccount(ctx, r.Account, func(_ *unit.Unit, tx SQL) error { return set(tx) }))
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// DropExpireRule is index.Retention's.
func (s *Store) DropExpireRule(ctx context.Context, k index.ExpireKey) (found bool, err error) {
	err = s.db.WriteSQL(ctx, func(tx SQL) error {
		n, err := tx.Exec(dropExpire, int64(k.Account), k.Domain, k.Folder, k.Name)
		found = n > 0
		return err
	})
	return found, wrap("remove rule of expiry", err)
}

// ExpireRules is index.Retention's.
func (s *Store) ExpireRules(ctx context.Context) (list []index.ExpireRule, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		list = nil
		return tx.Each(allExpire, func(row unit.Scanner) error {
			var r index.ExpireRule
			var account, older, received, keep, never int64
			err := row.Scan(&account, &r.Domain, &r.Folder, &r.Name, &older, &received, &r.LargerThan, &r.Flag, &r.NoFlag, &keep, &never)
			r.Account, r.OlderThan, r.Received = mailbox.AccountID(account), time.Duration(older), received != 0
			r.Keep, r.Never = int(keep), never != 0
			list = append(list, r)
			return err
		})
	})
	return list, wrap("read rules of expiry", err)
}
