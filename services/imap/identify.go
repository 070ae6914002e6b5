package imap

import (
	"log/slog"
	"strings"

	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// Limits of ID (RFC 2971 §3.3).
const (
	idPairs = 30
	idField = 30
	idValue = 1024
)

// identify exchanges names of programs (ID, RFC 2971). What the client says is for operators and the debug log only.
func (s *session) identify(l *wire.Lexer) (reply, error) {
	l.Space()
	var said []any
	var program string
	if l.Peek() == '(' {
		pairs := 0
		l.List(func() {
			field := l.String()
			l.Space()
			value, _ := l.NString()
			if pairs++; pairs > idPairs || len(field) > idField || len(value) > idValue {
				l.Fail("ID too long")
				return
			}
			switch strings.ToLower(string(field)) {
			case "name":
				program = strings.TrimSpace(string(value) + " " + program)
			case "version":
				program = strings.TrimSpace(program + " " + string(value))
			}
			said = append(said, slog.String(string(field), string(value)))
		})
	} else if _, given := l.NString(); given {
		l.Fail("expected a list or NIL")
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.card.Change(func(c *presence.State) { c.Program = program })
	s.log.Debug("client identified", slog.Group("id", said...))
	s.untagged(`ID ("name" "mailfarm" "vendor" "mailfarm")`)
	return reply{}, nil
}
