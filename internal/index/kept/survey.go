package kept

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

var _ index.Survey = (*Store)(nil)

// ModSeqs is index.Survey's.
func (s *Store) ModSeqs(ctx context.Context, after mailbox.AccountID, limit int) (list []index.SurveyedAccount, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		list = nil
		return tx.Each("SELECT account, mod_seq FROM account WHERE account > $1 ORDER BY account LIMIT $2", func(row unit.Scanner) error {
			var id, seq int64
			err := row.Scan(&id, &seq)
			list = append(list, index.SurveyedAccount{Account: mailbox.AccountID(id), ModSeq: mailbox.ModSeq(seq)})
			return err
		}, int64(after), int64(limit))
	})
	return list, wrap("list accounts", err)
}

// EmailIDs is index.Survey's.
func (s *Store) EmailIDs(ctx context.Context, account mailbox.AccountID, after mailbox.EmailID, limit int) (ids []mailbox.EmailID, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		ids = nil
		return tx.Each(emailsBehind, func(row unit.Scanner) error {
			var id int64
			err := row.Scan(&id)
			ids = append(ids, mailbox.EmailID(id))
			return err
		}, int64(account), int64(after), int64(limit))
	})
	return ids, wrap(fmt.Sprintf("list emails of account %d", account), err)
}

// CountEmails is index.Survey's.
func (s *Store) CountEmails(ctx context.Context, account mailbox.AccountID) (n int64, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		return tx.Each("SELECT COUNT(*) FROM email WHERE account = $1", func(row unit.Scanner) error { return row.Scan(&n) }, int64(account))
	})
	return n, wrap(fmt.Sprintf("count emails of account %d", account), err)
}
