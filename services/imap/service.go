package imap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/keys"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
)

// Service is the imap role.
type Service struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	metrics   *metrics
	verbs     map[string]*boundVerb
	plaintext front.Networks
	cache     *view.Cache
	keys      *keys.Cache
	sorts     chan struct{} // see enterSort
	hub       *hub
	broken    brokenBodies
	owners    owners
	front     *front.Server
	pushes    sync.WaitGroup // begun by sessions that have not ended
}

// boundVerb is a verb of the command table with its metrics.
type boundVerb struct {
	verb
	name    string
	metrics verbMetrics
}

// New checks cfg and builds the role; it starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("imap: %w", err)
	}
	cfg = cfg.withDefaults()
	switch {
	case deps.Mailboxes == nil, deps.Bodies == nil, deps.Directory == nil, deps.Notices == nil:
		return nil, errors.New("imap: Mailboxes, Bodies, Directory and Notices are needed")
	case deps.Log == nil:
		return nil, errors.New("imap: Log is needed")
	}
	if err := front.CheckTLS("listeners", cfg.Listeners, deps.TLS); err != nil {
		return nil, fmt.Errorf("imap: %w", err)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Guarded != nil {
		deps.Mailboxes = guarded{deps.Mailboxes, deps.Guarded}
	}
	s := &Service{cfg: cfg, deps: deps, log: deps.Log.With(obs.Role("imap")),
		cache: view.NewCache(deps.Mailboxes, cfg.MailboxesMemory, deps.Now), keys: keys.NewCache(cfg.KeysMemory), sorts: make(chan struct{}, sortsMax)}
	var err error
	if s.plaintext, err = cfg.plaintext(); err != nil {
		return nil, fmt.Errorf("imap: %w", err)
	}
	if s.metrics, err = newMetrics(deps.Metrics, s.cache, s.keys.Size); err != nil {
		return nil, fmt.Errorf("imap: metrics: %w", err)
	}
	s.verbs = map[string]*boundVerb{}
	for name, v := range commands {
		s.verbs[name] = &boundVerb{verb: v, name: name, metrics: s.metrics.verb(name)}
	}
	s.hub = newHub(s)
	s.front, err = front.New(front.Config{
		Service: "imap", MaxConnections: cfg.MaxConnections, MaxPerAddress: cfg.MaxPerAddress, Gate: deps.Gate, Drain: cfg.Drain,
		Begin: s.begin, Refuse: s.refuse, Log: s.log, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("imap: %w", err)
	}
	return s, nil
}

// Ready is closed once all listeners are open.
func (s *Service) Ready() <-chan struct{} { return s.front.Ready() }

// Sessions is how many clients are connected.
func (s *Service) Sessions() int { return s.front.Sessions() }

// Run serves until ctx ends, then drains: it takes no more connections, lets the command in progress of each session end,
// and answers BYE (RFC 9051 §7.1.5). It returns once all sessions have ended, of which those that
// Config.Drain is too short for are cut.
func (s *Service) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var helpers sync.WaitGroup
	helpers.Go(func() { s.hub.compare(background) })
	helpers.Go(func() { s.cache.Freshen(background, s.listen) })
	err := s.front.Run(ctx, s.deps.Listen, s.cfg.Listeners)
	s.pushes.Wait()
	stop()
	helpers.Wait()
	if err != nil {
		return fmt.Errorf("imap: %w", err)
	}
	return nil
}

// listen tells the cache what changed in an account.
func (s *Service) listen(account mailbox.AccountID, hear func(boxes []uint64, seq uint64)) (stop func()) {
	return s.deps.Notices.Subscribe(uint64(account), func(n *mailv1.MailboxChanged) { hear(n.GetMailboxes(), n.GetModSeq()) })
}

// begin makes the session of a connection that was let in.
func (s *Service) begin(nc net.Conn, peer front.Peer) front.Session {
	return newSession(s, nc, peer)
}

// refuse is what a connection is told that is not let in.
func (s *Service) refuse(limit front.Limit) string {
	switch limit {
	case front.LimitDraining:
		return "* BYE [UNAVAILABLE] server shutting down\r\n"
	case front.LimitConnections:
		return "* BYE [UNAVAILABLE] too many connections\r\n"
	case front.LimitAddress:
		return "* BYE [LIMIT] too many connections from your address\r\n"
	}
	return "* BYE [UNAVAILABLE] not now from your address, try again later\r\n"
}
