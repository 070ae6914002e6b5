package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// capability tells what the server can (RFC 9051 §6.1.1).
func (s *session) capability(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.untagged("CAPABILITY " + s.capabilities())
	return reply{}, nil
}

// capabilities differ before and after login: a mechanism is of no use afterwards, and what needs an account tells
// strangers nothing.
func (s *session) capabilities() string {
	const always = "IMAP4rev2 IMAP4rev1 SASL-IR LITERAL+ ID ENABLE"
	if s.account != 0 {
		return always + " IDLE NAMESPACE CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE UIDPLUS MOVE UNSELECT" +
			" ESEARCH SEARCHRES WITHIN CONDSTORE BINARY MULTIAPPEND UTF8=ACCEPT STATUS=SIZE OBJECTID" +
			" APPENDLIMIT=" + strconv.FormatInt(s.svc.cfg.MaxAppend, 10)
	}
	c := always
	if !s.secure && s.svc.deps.TLS != nil {
		c += " STARTTLS"
	}
	if !s.mayLogin() {
		return c + " LOGINDISABLED"
	}
	c += " AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256"
	if s.channelBinding() != nil {
		c += " AUTH=SCRAM-SHA-256-PLUS"
	}
	return c
}

// greet opens the dialogue (RFC 9051 §7.1.1).
func (s *session) greet() {
	s.untagged("OK [CAPABILITY " + s.capabilities() + "] mailfarm ready")
}
