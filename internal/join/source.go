package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	accountsqlite "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// source is a site that is stopped; its locks are held.
type source struct {
	lock     *filelock.Lock
	index    *sqlite.DB
	accounts *accountsqlite.Store
	blobs    *dir.Store
	timeline int64
	// state tells whether anything changed since the join was planned.
	state string
}

// fillBatch is how many messages of an older schema get their search rows at once.
const fillBatch = 1000

func openSource(ctx context.Context, folder string, verifyOnly bool) (_ *source, err error) {
	for _, name := range []string{"index.db", "directory.db", "blob"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			return nil, fmt.Errorf("%s is not the data folder of a site in one process: %w", folder, err)
		}
	}
	s := &source{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.lock, err = filelock.Take(filepath.Join(folder, "lock")); errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("the site %w: %w: stop it first; it must not run any more once its mail is in the farm", ErrRunning, err)
	} else if err != nil {
		return nil, err
	}
	if s.index, err = sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{}); err != nil {
		return nil, err
	}
	if s.accounts, err = accountsqlite.Open(ctx, filepath.Join(folder, "directory.db")); err != nil {
		return nil, err
	}
	if s.blobs, err = dir.Open(ctx, filepath.Join(folder, "blob"), dir.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	s.blobs.UseLocator(s.index.Books())
	for more := !verifyOnly; more; {
		if more, err = s.index.Ledger().FillSearch(ctx, fillBatch); err != nil {
			return nil, err
		}
	}
	version, err := s.accounts.Version(ctx)
	if err != nil {
		return nil, err
	}
	err = s.index.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		if err := tx.QueryRow("SELECT MAX(timeline) FROM timeline").Scan(&s.timeline); err != nil {
			return err
		}
		// Whatever a site does is in one of these.
		return tx.QueryRow(`SELECT printf('%d accounts at %d, %d emails, %d messages, %d recipients changed at %d, %d for children',
			(SELECT COUNT(*) FROM account), (SELECT COALESCE(SUM(mod_seq), 0) FROM account), (SELECT COUNT(*) FROM email),
			(SELECT COUNT(*) FROM message), (SELECT COUNT(*) FROM recipient), (SELECT COALESCE(MAX(changed_ns), 0) FROM recipient),
			(SELECT COUNT(*) FROM outbox))`).Scan(&s.state)
	})
	s.state += fmt.Sprintf(", directory at %d", version)
	return s, err
}

// Close gives the site back as it was.
func (s *source) Close() error {
	var errs []error
	if s.blobs != nil {
		errs = append(errs, s.blobs.Close())
	}
	if s.accounts != nil {
		errs = append(errs, s.accounts.Close())
	}
	if s.index != nil {
		errs = append(errs, s.index.Close())
	}
	return errors.Join(append(errs, s.lock.Release())...)
}
