package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// defaultEvery is how often files are looked at.
const defaultEvery = 5 * time.Second

// Reloader has certificates that change with their files.
type Reloader struct {
	cfg    Config
	server *tls.Config // one for all connections: session tickets are of it
	state  atomic.Pointer[state]

	mu     sync.Mutex
	files  []file  // guarded by mu: of each pair, then of CAFile
	warned []error // guarded by mu: what is wrong now, per file; told once
}

// state is what handshakes use; it never changes.
type state struct {
	certificates []*tls.Certificate // with their Leaf, in the order of Config.Pairs
	pool         *x509.CertPool     // nil: not mutual
	mutual       *tls.Config        // nil: not mutual
}

// file is something that is loaded as one: a pair, or the authorities.
type file struct {
	paths []string
	// used are the stamps of what was tried last; seen are those of the last look.
	used, seen []stamp
}

// Open loads everything, or tells what cannot be loaded. Run keeps it so.
func Open(cfg Config) (*Reloader, error) {
	if len(cfg.Pairs) == 0 {
		return nil, errors.New("certificates: none is named")
	}
	if cfg.Every <= 0 {
		cfg.Every = defaultEvery
	}
	r := &Reloader{cfg: cfg}
	for _, p := range cfg.Pairs {
		r.files = append(r.files, file{paths: []string{p.CertificateFile, p.KeyFile}})
	}
	if cfg.CAFile != "" {
		r.files = append(r.files, file{paths: []string{cfg.CAFile}})
	}
	r.warned = make([]error, len(r.files))
	first := &state{certificates: make([]*tls.Certificate, len(cfg.Pairs))}
	for i := range r.files {
		r.files[i].look()
		r.files[i].used = r.files[i].seen
		if err := r.load(i, first); err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
	}
	r.use(first)
	r.server = r.serverConfig()
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(collector{r}); err != nil {
			return nil, fmt.Errorf("certificates: register metrics: %w", err)
		}
	}
	return r, nil
}

// Run looks at the files until ctx ends. What cannot be used is logged once, and what was loaded
// before stays in use.
func (r *Reloader) Run(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	if r.cfg.Hangup {
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
	}
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			r.Reload()
		case <-tick.C:
			r.poll(false)
		}
	}
}

// Reload loads what has changed now, also what is still being written.
func (r *Reloader) Reload() { r.poll(true) }

// poll loads what has changed, once it looks the same twice: a file that is being written is let alone.
func (r *Reloader) poll(now bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, changed := *r.state.Load(), false
	next.certificates = slices.Clone(next.certificates)
	for i := range r.files {
		f := &r.files[i]
		settled := f.look()
		if slices.Equal(f.seen, f.used) || !settled && !now {
			continue
		}
		f.used = f.seen
		if err := r.load(i, &next); err != nil {
			r.warn(i, err)
			continue
		}
		changed, r.warned[i] = true, nil
	}
	if changed {
		r.use(&next)
	}
}

// look takes the stamps and tells whether they are those of the last look.
func (f *file) look() bool {
	before := f.seen
	f.seen = make([]stamp, 0, len(f.paths))
	for _, p := range f.paths {
		f.seen = append(f.seen, look(p))
	}
	return slices.Equal(before, f.seen)
}

// load puts file i into a state.
func (r *Reloader) load(i int, into *state) (err error) {
	if i == len(r.cfg.Pairs) {
		pool, err := loadPool(r.cfg.CAFile)
		if err != nil {
			return fmt.Errorf("authorities: %w", err)
		}
		into.pool = pool
		r.log(slog.LevelInfo, "authorities loaded", r.cfg.CAFile)
		return nil
	}
	c, err := r.cfg.Pairs[i].load(time.Now(), into.certificates[i])
	if err != nil {
		return err
	}
	into.certificates[i] = c
	what, level := "certificate loaded", slog.LevelInfo
	if time.Now().After(c.Leaf.NotAfter) {
		what, level = "certificate loaded that is over: who checks it refuses it", slog.LevelWarn
	}
	r.log(level, what, r.cfg.Pairs[i].CertificateFile, slog.Time("ends", c.Leaf.NotAfter))
	return nil
}

func (r *Reloader) log(level slog.Level, what, path string, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.String("name", r.cfg.Name), obs.Path(path)}, attrs...)
	r.cfg.Log.LogAttrs(context.Background(), level, what, attrs...)
}

// warn tells of a file that cannot be used, unless that was told already. Callers hold mu.
func (r *Reloader) warn(i int, err error) {
	if r.warned[i] != nil && r.warned[i].Error() == err.Error() {
		return
	}
	r.warned[i] = err
	r.cfg.Log.LogAttrs(context.Background(), slog.LevelWarn, "certificate not loaded, the one before stays in use",
		slog.String("name", r.cfg.Name), obs.Error(err))
}

// use lets handshakes use a state from here on.
func (r *Reloader) use(s *state) {
	if s.pool != nil {
		s.mutual = &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, GetCertificate: s.certificate,
			ClientCAs: s.pool, ClientAuth: tls.RequireAndVerifyClientCert,
			// A ticket would let in who was held against authorities that are not trusted any more.
			SessionTicketsDisabled: true,
		}
	}
	r.state.Store(s)
}
