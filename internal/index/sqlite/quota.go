package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

var _ index.Quotas = (*Mailboxes)(nil)

// The resources of the table quota.
const (
	quotaSize     = 1
	quotaMessages = 2
)

func (r *rows) Quotas(a *unit.Account) (list []unit.QuotaRow, err error) {
	rows, err := r.tx.Query("SELECT root, resource, maximum FROM quota WHERE account = ? ORDER BY root", int64(a.ID))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var root mailbox.ID
		var resource int
		var maximum int64
		if err := rows.Scan(&root, &resource, &maximum); err != nil {
			return nil, err
		}
		if n := len(list); n == 0 || list[n-1].Root != root {
			list = append(list, unit.QuotaRow{Root: root})
		}
		if row := &list[len(list)-1]; resource == quotaSize {
			row.Size = maximum
		} else {
			row.Messages = maximum
		}
	}
	return list, rows.Err()
}

func (r *rows) PutQuota(a *unit.Account, row unit.QuotaRow) error {
	if err := r.exec("DELETE FROM quota WHERE account = ? AND root = ?", int64(a.ID), int64(row.Root)); err != nil {
		return err
	}
	for resource, maximum := range map[int]int64{quotaSize: row.Size, quotaMessages: row.Messages} {
		if maximum <= 0 {
			continue
		}
		if err := r.exec("INSERT INTO quota (account, root, resource, maximum) VALUES (?, ?, ?, ?)",
			int64(a.ID), int64(row.Root), resource, maximum); err != nil {
			return err
		}
	}
	return nil
}

func (r *rows) PutNotice(a *unit.Account, previous int) error {
	if err := r.exec(`INSERT INTO quota_notice (account, level, previous, at_ns) VALUES (?, ?, ?, ?)
		ON CONFLICT (account) DO UPDATE SET level = excluded.level, at_ns = excluded.at_ns`,
		int64(a.ID), a.QuotaLevel, previous, r.now); err != nil {
		return err
	}
	return r.exec("DELETE FROM quota_notice WHERE account = ? AND level = previous", int64(a.ID))
}

func (r *rows) Notice(a *unit.Account) (level int, found bool, err error) {
	err = r.tx.QueryRow("SELECT level FROM quota_notice WHERE account = ?", int64(a.ID)).Scan(&level)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return level, err == nil, err
}

func (r *rows) DropNotice(a *unit.Account) error {
	return r.exec("DELETE FROM quota_notice WHERE account = ?", int64(a.ID))
}

// Quota is index.Quotas'.
func (m *Mailboxes) Quota(ctx context.Context, id mailbox.AccountID, name string) ([]index.QuotaRoot, error) {
	roots, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) ([]index.QuotaRoot, error) { return u.Quota(id, name) })
	if err != nil {
		return nil, fmt.Errorf("read quota of account %d: %w", id, err)
	}
	return roots, nil
}

// SetQuota is index.Quotas'.
func (m *Mailboxes) SetQuota(ctx context.Context, id mailbox.AccountID, name string, limits index.Limits) error {
	_, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (struct{}, error) { return struct{}{}, u.SetQuota(id, name, limits) })
	if err != nil {
		return fmt.Errorf("set quota of account %d: %w", id, err)
	}
	return nil
}

// Recount is index.Quotas'.
func (m *Mailboxes) Recount(ctx context.Context, id mailbox.AccountID) ([]index.Difference, error) {
	list, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) ([]index.Difference, error) { return u.Recount(id) })
	if err != nil {
		return nil, fmt.Errorf("recount account %d: %w", id, err)
	}
	return list, nil
}

type told struct {
	result index.AppendResult
	told   bool
}

// TellQuota is index.Quotas'.
func (m *Mailboxes) TellQuota(ctx context.Context, n index.QuotaNotice, msg index.Message) (index.AppendResult, bool, error) {
	v, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (v told, err error) {
		v.result, v.told, err = u.TellQuota(n, msg)
		return v, err
	})
	if err != nil {
		return index.AppendResult{}, false, fmt.Errorf("tell account %d of its quota: %w", n.Account, err)
	}
	return v.result, v.told, nil
}

const quotaColumns = "SELECT a.account, a.quota_size, a.quota_messages, a.size, a.messages, a.quota_level, " + domainquota.Columns

// AccountQuotas is index.Quotas'.
func (m *Mailboxes) AccountQuotas(ctx context.Context, after mailbox.AccountID, limit int) ([]index.AccountQuota, error) {
	return m.accountQuotas(ctx, quotaColumns+" FROM account a "+domainquota.Join+" WHERE a.account > ? ORDER BY a.account LIMIT ?", int64(after), limit)
}

// AccountQuotasOf is index.Quotas'.
func (m *Mailboxes) AccountQuotasOf(ctx context.Context, accounts []mailbox.AccountID) (list []index.AccountQuota, err error) {
	for part := range slices.Chunk(accounts, countersBatch) {
		args := make([]any, countersBatch)
		for i := range args {
			args[i] = int64(part[min(i, len(part)-1)])
		}
		some, err := m.accountQuotas(ctx, quotaColumns+" FROM account a "+domainquota.Join+" WHERE a.account IN "+places64, args...)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

func (m *Mailboxes) accountQuotas(ctx context.Context, query string, args ...any) (list []index.AccountQuota, err error) {
	err = m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query(query, args...)
		return eachRow(rows, err, func() error {
			q, err := m.scanQuota(rows)
			list = append(list, q)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read quotas: %w", err)
	}
	return list, nil
}

// scanQuota reads quotaColumns, and more behind them.
func (m *Mailboxes) scanQuota(row unit.Scanner, more ...any) (q index.AccountQuota, err error) {
	var d unit.Domain
	fields := append([]any{&q.Account, &q.Own.Size, &q.Own.Messages, &q.Size, &q.Messages, &q.Level}, domainquota.Fields(&d)...)
	err = row.Scan(append(fields, more...)...)
	q.Limits, q.Domain = m.d.shared.Limits(q.Own, d.Each), d.Name
	return q, err
}

// QuotaNotices is index.Quotas'.
func (m *Mailboxes) QuotaNotices(ctx context.Context, limit int) (list []index.QuotaNotice, err error) {
	err = m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query(quotaColumns+`, n.level, n.previous, n.at_ns FROM quota_notice n JOIN account a ON a.account = n.account `+domainquota.Join+`
			ORDER BY n.at_ns LIMIT ?`, limit)
		return eachRow(rows, err, func() error {
			var n index.QuotaNotice
			var level int
			var at int64
			q, err := m.scanQuota(rows, &level, &n.Previous, &at)
			n.AccountQuota, n.Level, n.At = q, level, time.Unix(0, at)
			list = append(list, n)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read quota notices: %w", err)
	}
	return list, nil
}
