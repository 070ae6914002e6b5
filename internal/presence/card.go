// Package presence tells operators who is connected to the fronts where mail is read, and ends sessions from outside.
//
//	Service ─question on the bus▶ Desk of each process ▶ Card of each session; Kick
//
// Every process is asked, for any may serve any account. A question that asks to end sessions is acted upon whether or not its
// answer is heard.
package presence

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// textMax bounds what is shown of a text that the client has a say in, octets.
const textMax = 400

// Session is a client's dialogue with a front.
type Session interface {
	Card() *Card
	// Kick tells the client good-bye and ends the session, in a second at most. It comes from another goroutine, perhaps more
	// than once, and does not block.
	Kick(Farewell)
}

// Card is what a session shows of itself. The session writes it, anybody reads it.
type Card struct {
	// In and Out are octets as they cross the network, before TLS.
	In, Out atomic.Uint64

	id, role, client string
	since            time.Time

	mu    sync.Mutex
	state State // guarded by mu
}

// State is what changes in a session's life.
type State struct {
	Account uint64 // 0: nobody has logged in
	User    string
	Login   time.Time
	// Program is what the client says it is.
	Program string
	// TLS as in "TLS 1.3".
	TLS        string
	Compressed bool
	// Folder is the selected mailbox.
	Folder   string
	ReadOnly bool
	Idle     bool

	commands uint64
	command  string
	active   time.Time
}

// Begin fills in what does not change.
func (c *Card) Begin(role, id, client string, since time.Time) {
	c.role, c.id, c.client, c.since = role, id, client, since
}

// Change changes the state.
func (c *Card) Change(f func(*State)) {
	c.mu.Lock()
	f(&c.state)
	c.mu.Unlock()
}

// Command notes that a command begins.
func (c *Card) Command(name string, at time.Time) {
	c.mu.Lock()
	c.state.commands++
	c.state.command, c.state.active = name, at
	c.mu.Unlock()
}

// account is whose session it is; 0: nobody's yet.
func (c *Card) account() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Account
}

// Show writes the card down.
func (c *Card) Show() *adminv1.ClientSession {
	c.mu.Lock()
	s := c.state
	c.mu.Unlock()
	return &adminv1.ClientSession{
		Id: c.id, Role: c.role, Client: c.client, SinceNs: c.since.UnixNano(), OctetsIn: c.In.Load(), OctetsOut: c.Out.Load(),
		Account: s.Account, User: s.User, LoginNs: nanoseconds(s.Login), Program: clean(s.Program), Tls: s.TLS, Compressed: s.Compressed,
		Folder: clean(s.Folder), ReadOnly: s.ReadOnly, Idle: s.Idle, Commands: s.commands, Command: s.command, ActiveNs: nanoseconds(s.active),
	}
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// clean makes a client's text one that a terminal and a message may hold.
func clean(s string) string {
	if len(s) > textMax {
		s = s[:textMax]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
