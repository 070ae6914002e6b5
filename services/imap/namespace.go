package imap

import "github.com/mailfarm/mailfarm/services/imap/internal/wire"

// namespace tells where the session's own mailboxes are, those of other users, and those of shared accounts, with "/" between
// levels (RFC 9051 §6.3.10).
func (s *session) namespace(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if s.svc.deps.Sharing == nil {
		s.untagged(`NAMESPACE (("" "/")) NIL NIL`)
		return reply{}, nil
	}
	b := append(s.out.Take(), `* NAMESPACE (("" "/")) ((`...)
	b = s.appendPrefix(b, s.svc.cfg.OtherUsersPrefix)
	b = s.appendPrefix(append(b, ` "/")) ((`...), s.svc.cfg.SharedPrefix)
	s.out.Give(append(b, " \"/\"))\r\n"...))
	return reply{}, nil
}

// appendPrefix writes the prefix of a namespace, which is a string and never an atom (RFC 9051 §9 namespace-descr).
func (s *session) appendPrefix(b []byte, prefix string) []byte {
	if s.utf8OK() {
		return wire.AppendString(b, prefix+separator, true)
	}
	return wire.AppendString(b, wire.AppendUTF7(nil, prefix+separator), false)
}
