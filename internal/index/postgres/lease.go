package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// Leases is index.Leases over a DB.
type Leases struct{ d *DB }

// Leases gives the leases of the database.
func (d *DB) Leases() *Leases { return &Leases{d} }

var _ index.Leases = (*Leases)(nil)

const acquireLease = `INSERT INTO lease AS l (name, holder, expires_ns) VALUES ($2, $3, ` + clockNs + ` + $4)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_ns = excluded.expires_ns
	WHERE l.holder = excluded.holder OR l.expires_ns <= ` + clockNs

// Acquire is index.Leases'.
func (l *Leases) Acquire(ctx context.Context, name, holder string, d time.Duration) (has string, err error) {
	for has == "" && err == nil {
		err = l.d.db.Write(ctx, func(tx *pgdb.Tx) error {
			n, err := tx.Exec(acquireLease, l.d.clock(), name, holder, int64(d))
			if err != nil || n > 0 {
				has = holder
				return err
			}
			has = ""
			err = tx.QueryRow("SELECT holder FROM lease WHERE name = $1", name).Scan(&has)
			if errors.Is(err, pgdb.ErrNoRows) {
				return nil // given back between the two: once more
			}
			return err
		})
	}
	if err != nil {
		return "", fmt.Errorf("acquire lease %s: %w", name, full(err))
	}
	return has, nil
}

// Release is index.Leases'.
func (l *Leases) Release(ctx context.Context, name, holder string) error {
	err := l.d.db.Write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec("DELETE FROM lease WHERE name = $1 AND holder = $2", name, holder)
		return err
	})
	if err != nil {
		return fmt.Errorf("release lease %s: %w", name, full(err))
	}
	return nil
}
