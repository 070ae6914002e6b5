package farm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/fulltext"
	fulltextpostgres "github.com/mailfarm/mailfarm/internal/fulltext/postgres"
	fulltextsqlite "github.com/mailfarm/mailfarm/internal/fulltext/sqlite"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	imapsvc "github.com/mailfarm/mailfarm/services/imap"
	"github.com/mailfarm/mailfarm/services/store"
)

// SearchConfig is of the full-text index.
type SearchConfig struct {
	// FullText is on, or off: no index is filled or asked, and every search reads the messages. Default on.
	FullText string `yaml:"full_text"`
	// Database is PostgreSQL for the index. Default database, or where that is not set either fulltext.db in the data folder.
	Database pgdb.Config `yaml:"database"`
	// Worker is what fills the index.
	Worker store.FullTextConfig `yaml:"worker"`
}

// fullTextConns is how many connections the index takes where it has no database of its own.
const fullTextConns = 4

// Defaults fills in what is not set.
func (c *SearchConfig) Defaults() {
	def(&c.FullText, "on")
	c.Database.Defaults()
	c.Worker.Default()
}

// Validate tells all faults at once.
func (c *SearchConfig) Validate() error {
	var errs []error
	if c.FullText != "on" && c.FullText != "off" {
		errs = append(errs, fmt.Errorf("full_text: %q is neither on nor off", c.FullText))
	}
	for _, p := range []struct {
		key string
		err error
	}{{"database", c.Database.Validate()}, {"worker", c.Worker.Validate()}} {
		if p.err != nil {
			errs = append(errs, under(p.key, p.err)...)
		}
	}
	return errors.Join(errs...)
}

func (c *SearchConfig) on() bool { return c.FullText != "off" }

// fullTextDatabase is where the index is; its URL is empty where that is a file.
func (c *Config) fullTextDatabase() pgdb.Config {
	if c.Search.Database.URL != "" {
		return c.Search.Database
	}
	db := c.Database
	db.MaxConns = fullTextConns
	return db
}

func (in *Infra) openFullText(ctx context.Context, cfg Config) error {
	if at := cfg.fullTextDatabase(); at.URL != "" {
		if !cfg.shared() {
			// Nobody sets up a site of one process.
			if err := migrateFullText(ctx, cfg); err != nil {
				return err
			}
		}
		db, err := fulltextpostgres.Open(ctx, at, fulltextpostgres.Options{Log: in.Log, Metrics: in.Metrics})
		if err != nil {
			return err
		}
		in.closers = append(in.closers, db.Close)
		in.FullText = fulltext.New(db)
		return nil
	}
	path := filepath.Join(cfg.Data, "fulltext.db")
	db, err := fulltextsqlite.Open(ctx, path)
	if err != nil && !errors.Is(err, sqlitedb.ErrLocked) && !errors.Is(err, sqlitedb.ErrFull) && ctx.Err() == nil {
		return fmt.Errorf("%w: it is made of the mail and nothing else: remove %s* and it is made anew, or start with search.full_text: off", err, path)
	}
	if err != nil {
		return err
	}
	in.closers = append(in.closers, db.Close)
	in.FullText = fulltext.New(db)
	return nil
}

func migrateFullText(ctx context.Context, cfg Config) error {
	return fulltextpostgres.Migrate(ctx, cfg.fullTextDatabase())
}

// addFullText has the store fill and ask the index, where there is one.
func (f *Farm) addFullText(s *store.Service) error {
	if f.infra.FullText == nil {
		return nil
	}
	return s.AddFullText(f.cfg.Search.Worker, store.FullTextDeps{
		Index: f.infra.FullText, Survey: f.infra.Survey, Listen: f.listenToChanges, Leases: f.infra.Leases,
		Log: f.role("store"), Metrics: f.infra.Metrics, Now: time.Now, Holder: f.name, Lease: f.cfg.Ledger.Lease,
	})
}

// listenToChanges hears of the changes in all accounts, of any process.
func (f *Farm) listenToChanges(changed func(account uint64)) (stop func(), err error) {
	return f.infra.Bus.Listen(bus.ChangedAll, func(_ string, payload []byte) {
		m := &mailv1.MailboxChanged{}
		if proto.Unmarshal(payload, m) == nil {
			changed(m.GetAccount())
		}
	})
}

// searchIndex is what the imap role asks; nil where it asks nobody.
func (f *Farm) searchIndex(c clients) imapsvc.FullText {
	if !f.cfg.Search.on() || c.fullText == nil {
		return nil
	}
	return c.fullText
}
