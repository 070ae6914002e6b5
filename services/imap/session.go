package imap

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// session is one connection's dialogue.
type session struct {
	conn
	// farewell is why an operator, or who changed the account, ends the session; nil: nobody does.
	farewell atomic.Pointer[presence.Farewell]
	implicit bool
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc
	log      *slog.Logger
	stranger *slog.Logger // log before the login

	// mu is held while a command runs, and by a push while the session idles; IDLE lets go of it to wait for DONE. It guards
	// everything below but the atomics.
	mu      sync.Mutex
	lex     wire.Lexer
	tag     []byte
	verb    *boundVerb
	refused reply // why decide refused a literal
	over    bool
	bad     int   // bad commands in a row
	taken   int64 // octets of commands before the one in progress
	failed  int   // failed logins

	account mailbox.AccountID // 0: not logged in
	user    string
	enabled enabled
	sel     *selected // nil: none
	// following is what NOTIFY asked for; nil: what is told without it.
	following *following
	inIdle    bool // IDLE is in progress
	// numbered tells that the command in progress has message numbers among its search keys, whatever its name.
	numbered bool

	// dirty tells that a notice came for the selected mailbox; pushing that a push is on its way.
	dirty   stale
	pushing atomic.Bool
	// idle tells that notices are to be told at once.
	idle atomic.Bool
}

// enabled is what the client asked to know of (RFC 9051 §6.3.1).
type enabled struct {
	condstore, qresync, utf8, rev2, uidonly bool
}

func newSession(svc *Service, nc net.Conn, peer front.Peer) *session {
	s := &session{implicit: peer.ImplicitTLS}
	s.conn = conn{svc: svc, client: peer.Client, nc: nc, raw: nc, loginBy: time.Now().Add(svc.cfg.LoginTimeout)}
	s.id = envelope.NewQueueID(svc.deps.Now()).String()
	s.card.Begin("imap", s.id, peer.Client.String(), svc.deps.Now())
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.log = obs.Late(peer.Log(svc.log)).With(obs.ConnID(s.id), obs.Client(s.client.String()))
	s.stranger = s.log
	s.in = wire.NewReader(&s.conn, wire.Limits{
		Line: svc.cfg.MaxLine, Command: svc.cfg.MaxCommand, Drop: svc.cfg.MaxAppend + dropMax,
	}, s.goAhead)
	s.out = wire.NewWriter(&s.conn)
	return s
}

// lastWords is how long a session that is cut may take to say BYE and to end.
const lastWords = 500 * time.Millisecond

// Cut ends the session now, with the calls of other roles that it waits for. A client whose octets are awaited, as those of
// a literal of APPEND, is told BYE (RFC 9051 §7.1.5); one that does not read is closed after lastWords.
func (s *session) Cut() {
	if s.cut.Swap(true) {
		return
	}
	s.cancel()
	s.raw.SetReadDeadline(time.Unix(1, 0))
	s.lastly.Store(time.AfterFunc(lastWords, s.sever))
}

// sever ends the session now, without a word.
func (s *session) sever() {
	s.cancel()
	s.conn.sever()
}

// utf8OK tells that the client takes UTF-8 in quoted strings and mailbox names (RFC 6855 §3, RFC 9051 §5.1).
func (s *session) utf8OK() bool { return s.enabled.utf8 || s.enabled.rev2 }

// mayLogin tells whether a password may be sent over this connection.
func (s *session) mayLogin() bool { return s.secure || s.svc.plaintext.Contain(s.client) }

func (s *session) badLimit() int {
	if s.account == 0 {
		return min(badCommandsBeforeLogin, s.svc.cfg.MaxBadCommands)
	}
	return s.svc.cfg.MaxBadCommands
}

// goAhead asks for a synchronising literal (RFC 9051 §7.6).
func (s *session) goAhead() { s.out.Str("+ go ahead\r\n") }

// bye ends the dialogue (RFC 9051 §7.1.5).
func (s *session) bye(text string) {
	s.untagged("BYE " + text)
	s.over = true
}

// untagged writes a whole untagged response.
func (s *session) untagged(text string) {
	s.out.Str("* ")
	s.out.Str(text)
	s.out.Str("\r\n")
}

// call is the context of one call of another role.
func (s *session) call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, s.svc.cfg.CallTimeout)
}

// mailboxName reads a mailbox name.
func (s *session) mailboxName(l *wire.Lexer) string {
	raw := l.AString()
	if l.Err() != nil {
		return ""
	}
	name, ok := wire.DecodeMailbox(raw, s.utf8OK())
	if !ok {
		l.Fail("bad mailbox name")
		return ""
	}
	return name
}

// newName reads the name of a mailbox to be made: a trailing separator announces inferiors and is not part of it
// (RFC 9051 §6.3.4).
func (s *session) newName(l *wire.Lexer) string {
	name := s.mailboxName(l)
	if l.Err() == nil && len(name) > 1 {
		name = strings.TrimSuffix(name, "/")
	}
	return name
}

func panicAttr(p any) slog.Attr { return obs.Reason(fmt.Sprint(p)) }
