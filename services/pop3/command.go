package pop3

import (
	"bytes"
	"log/slog"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// result tells what became of a command.
type result uint8

const (
	good result = iota
	// failed is -ERR for a reason that is not the client's syntax.
	failed
	// bad is -ERR for what the client did wrong; it counts.
	bad
	// silent was answered already, or cannot be.
	silent
)

// state is where a session stands (RFC 1939 §3), as bits.
type state uint8

const (
	authorization state = 1 << iota
	transaction
)

// command is one verb.
type command struct {
	name    string
	states  state
	run     func(c *session, args []byte) result
	metrics verbMetrics
}

// commandTable lists the verbs. An argument is what follows the first space, as it came.
func commandTable(m *metrics) map[string]*command {
	table := map[string]*command{
		"CAPA": {states: authorization | transaction, run: (*session).capa},
		"STLS": {states: authorization, run: (*session).stls},
		"LANG": {states: authorization | transaction, run: (*session).lang},
		"UTF8": {states: authorization, run: (*session).utf8On},
		"USER": {states: authorization, run: (*session).userName},
		"PASS": {states: authorization, run: (*session).pass},
		"AUTH": {states: authorization, run: (*session).auth},
		"STAT": {states: transaction, run: (*session).stat},
		"LIST": {states: transaction, run: (*session).list},
		"UIDL": {states: transaction, run: (*session).uidl},
		"RETR": {states: transaction, run: (*session).retr},
		"TOP":  {states: transaction, run: (*session).top},
		"DELE": {states: transaction, run: (*session).dele},
		"RSET": {states: transaction, run: (*session).rset},
		"NOOP": {states: transaction, run: (*session).noop},
		"QUIT": {states: authorization | transaction, run: (*session).quit},
	}
	for name, cmd := range table {
		cmd.name, cmd.metrics = name, m.verb(name)
	}
	return table
}

// parse takes a line apart: the verb in upper case, and what follows the space behind it. ok is false for what cannot be a
// command: an unknown length, or an octet that no command has.
func parse(line []byte) (verb [4]byte, args []byte, ok bool) {
	word, args, _ := bytes.Cut(line, []byte{' '})
	if len(word) < 3 || len(word) > 4 {
		return verb, nil, false
	}
	for i, b := range word {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		if (b < 'A' || b > 'Z') && b != '8' {
			return verb, nil, false
		}
		verb[i] = b
	}
	for _, b := range args {
		if b < ' ' && b != '\t' || b == 0x7f {
			return verb, nil, false
		}
	}
	return verb, args, true
}

// command runs one line.
func (c *session) command(line []byte) {
	verb, args, ok := parse(line)
	var cmd *command
	if ok {
		name := verb[:]
		if verb[3] == 0 {
			name = verb[:3]
		}
		cmd = c.svc.commands[string(name)]
	}
	if cmd == nil {
		c.mistake("unknown command")
		return
	}
	if c.log.Enabled(c.ctx, slog.LevelDebug) {
		c.trace(verb, args)
	}
	now := authorization
	if c.drop != nil {
		now = transaction
	}
	var r result
	began, told := time.Now(), c.out.written()
	c.card.Command(cmd.name, began)
	if cmd.states&now == 0 {
		r = c.out.misused("not in this state")
	} else {
		r = cmd.run(c, args)
	}
	cmd.metrics.seconds.Observe(time.Since(began).Seconds())
	cmd.metrics.out.Add(float64(max(c.out.written()-told, 0)))
	taken := c.in.consumed()
	cmd.metrics.in.Add(float64(max(taken-c.taken, 0)))
	c.taken = taken
	if r == good {
		cmd.metrics.ok.Inc()
	} else {
		cmd.metrics.err.Inc()
	}
	if r == bad {
		c.countBad()
	}
}

// trace logs a command without what is secret in it.
func (c *session) trace(verb [4]byte, args []byte) {
	name, text := strings.TrimRight(string(verb[:]), "\x00"), string(args)
	switch name {
	case "PASS":
		text = "…"
	case "AUTH":
		mechanism, _, _ := strings.Cut(text, " ")
		text = mechanism
	}
	c.log.LogAttrs(c.ctx, slog.LevelDebug, "received", slog.String("command", name), obs.Reason(text))
}

// noArgs answers a command that must come alone.
func (c *session) noArgs(args []byte) (r result, fine bool) {
	if len(bytes.TrimSpace(args)) > 0 {
		return c.out.misused("no argument expected"), false
	}
	return good, true
}

// number reads a decimal number without sign, at most nine digits.
func number(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = 10*n + int(d-'0')
	}
	return n, true
}
