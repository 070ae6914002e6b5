package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// Errors that callers branch on.
var (
	// ErrRunning is a site, or a farm, that is running.
	ErrRunning = errors.New("is running")
	// ErrConflict is a farm that has something else under a name or id of the site.
	ErrConflict = errors.New("the farm has other content there")
	// ErrDamaged is mail of the site that cannot be read.
	ErrDamaged = errors.New("mail cannot be read")
	// ErrDiffers is a copy that is not what it should be.
	ErrDiffers = errors.New("the copy differs from the site")
)

// Config says what goes where.
type Config struct {
	// From is the site's data folder.
	From string
	// Database and S3 are the farm's, as `mailfarm setup` prepared them.
	Database pgdb.Config
	S3       s3.Config
	// Horizon is the age at which recovery withholds a message instead of publishing it: ledger.recover_horizon.
	Horizon time.Duration
	// Damaged goes on where mail cannot be read: it is as unreadable in the farm as it is here. Default: it is told, and
	// nothing of the database is copied.
	Damaged bool
	// OneBodyIn reads one body of that many back. Default 1: all.
	OneBodyIn int
	// VerifyOnly compares a join that is finished.
	VerifyOnly bool
}

// Deps of a join; the zero value is good.
type Deps struct {
	Log *slog.Logger
	// Say is told how far the join is.
	Say func(format string, args ...any)
	Now func() time.Time
	// Fault, where it is set, is asked between two steps; an error ends the run there. For tests.
	Fault func(step string) error
}

// joiner is one run.
type joiner struct {
	cfg  Config
	deps Deps
	src  *source
	book *notebook
	dst  *target
	out  Result
}

// noteFile is kept beside the site from the first step on.
const noteFile = "join.db"

// Begun tells whether a site was joined to a farm, or is about to be: then it must not run by itself any more.
func Begun(data string) bool {
	_, err := os.Stat(filepath.Join(data, noteFile))
	return err == nil
}

// Run joins a site to a farm, or goes on with what an earlier run began, and verifies the copy.
//
// ErrRunning, ErrConflict: nothing was changed. ErrDamaged, ErrDiffers, with a Result that tells more. Any other error: run
// it again.
func Run(ctx context.Context, cfg Config, deps Deps) (_ *Result, err error) {
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Say == nil {
		deps.Say = func(string, ...any) {}
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	cfg.OneBodyIn = max(cfg.OneBodyIn, 1)
	if cfg.Database.URL == "" || cfg.S3.Endpoint == "" {
		return nil, errors.New("join: database.url and blob.s3.endpoint of the farm's configuration say where to")
	}
	j := &joiner{cfg: cfg, deps: deps}
	began := deps.Now()
	defer func() {
		if closing := j.close(); err == nil {
			err = closing
		}
	}()
	err = j.run(ctx)
	j.out.Seconds = deps.Now().Sub(began).Seconds()
	if err != nil {
		return &j.out, fmt.Errorf("join %s: %w", cfg.From, err)
	}
	return &j.out, nil
}

func (j *joiner) run(ctx context.Context) (err error) {
	if j.src, err = openSource(ctx, j.cfg.From, j.cfg.VerifyOnly); err != nil {
		return err
	}
	if j.dst, err = openTarget(ctx, j.cfg, j.deps.Log); err != nil {
		return err
	}
	j.book, err = openNotebook(ctx, j.cfg.From, j.cfg.VerifyOnly)
	if err != nil {
		return err
	}
	if err := j.begin(ctx); err != nil {
		return err
	}
	if j.book.finished && !j.cfg.VerifyOnly {
		j.deps.Say("the site was joined already; --verify-only compares it")
		return nil
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"plan", j.plan}, {"frames", j.frames}, {"directory", j.directory}, {"rows", j.rows}, {"pending", j.pending}, {"verify", j.verify},
		{"finish", j.finish},
	}
	if j.cfg.VerifyOnly {
		steps = steps[len(steps)-2 : len(steps)-1]
	}
	for _, s := range steps {
		if err := j.fault("before-" + s.name); err != nil {
			return err
		}
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (j *joiner) fault(step string) error {
	if j.deps.Fault == nil {
		return nil
	}
	return j.deps.Fault(step)
}

func (j *joiner) close() error {
	var errs []error
	if j.book != nil {
		errs = append(errs, j.book.Close())
	}
	if j.dst != nil {
		j.dst.db.Close()
	}
	if j.src != nil {
		errs = append(errs, j.src.Close())
	}
	return errors.Join(errs...)
}

// finish notes that all is done.
func (j *joiner) finish(ctx context.Context) error {
	now := j.deps.Now().UnixNano()
	if err := j.dst.finish(ctx, j.book.site, now); err != nil {
		return err
	}
	return j.book.finish(ctx, now)
}
