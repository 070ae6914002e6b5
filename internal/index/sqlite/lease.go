package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Leases is index.Leases over a DB.
type Leases struct{ d *DB }

// Leases gives the leases of the database.
func (d *DB) Leases() *Leases { return &Leases{d} }

var _ index.Leases = (*Leases)(nil)

// Acquire is index.Leases'.
func (l *Leases) Acquire(ctx context.Context, name, holder string, d time.Duration) (string, error) {
	has, err := write(ctx, l.d, func(_ *unit.Unit, r *rows) (has string, err error) {
		if _, err = r.tx.Exec(`INSERT INTO lease (name, holder, expires_ns) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_ns = excluded.expires_ns
			WHERE lease.holder = excluded.holder OR lease.expires_ns <= ?`, name, holder, r.now+int64(d), r.now); err != nil {
			return "", err
		}
		err = r.tx.QueryRow("SELECT holder FROM lease WHERE name = ?", name).Scan(&has)
		return has, err
	})
	if err != nil {
		return "", fmt.Errorf("acquire lease %s: %w", name, err)
	}
	return has, nil
}

// Release is index.Leases'.
func (l *Leases) Release(ctx context.Context, name, holder string) error {
	err := l.d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("DELETE FROM lease WHERE name = ? AND holder = ?", name, holder)
		return err
	})
	if err != nil {
		return fmt.Errorf("release lease %s: %w", name, err)
	}
	return nil
}
