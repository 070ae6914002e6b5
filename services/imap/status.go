package imap

import (
	"slices"
	"strconv"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// statusItems are the items of a STATUS, in the order asked.
type statusItems struct {
	names []string
}

// status tells a mailbox's counters (RFC 9051 §6.3.11).
func (s *session) status(l *wire.Lexer) (reply, error) {
	l.Space()
	name := s.mailboxName(l)
	l.Space()
	items := s.parseStatusItems(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	n, err := s.mailbox(name)
	if err == nil && !s.rights(n).Has(acl.Read) {
		err = no("NOPERM", "not permitted")
	}
	if err != nil {
		return reply{}, err
	}
	if err := s.countUnseen(n, items); err != nil {
		return reply{}, err
	}
	return reply{}, s.writeStatus(n, items)
}

func (s *session) parseStatusItems(l *wire.Lexer) *statusItems {
	items := &statusItems{}
	l.List(func() {
		switch name := string(l.Word()); name {
		case "HIGHESTMODSEQ":
			s.enableCondstore()
			items.names = append(items.names, name)
		case "MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "DELETED-STORAGE", "SIZE", "RECENT", "MAILBOXID", "APPENDLIMIT":
			items.names = append(items.names, name)
		default:
			l.Fail("unknown status item")
		}
		if len(items.names) > 32 {
			l.Fail("too many status items")
		}
	})
	return items
}

// writeStatus writes one STATUS response.
func (s *session) writeStatus(n *node, items *statusItems) error {
	var deleted int64
	if slices.Contains(items.names, "DELETED-STORAGE") {
		var err error
		if deleted, err = s.deletedSize(n); err != nil {
			return err
		}
	}
	b := append(s.out.Take(), "* STATUS "...)
	b = wire.AppendMailbox(b, n.GetName(), s.utf8OK())
	b = append(b, " ("...)
	for i, name := range items.names {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, name...), ' ')
		switch name {
		case "MESSAGES":
			b = strconv.AppendUint(b, uint64(n.GetMessages()), 10)
		case "UIDNEXT":
			b = strconv.AppendUint(b, uint64(n.GetUidNext()), 10)
		case "UIDVALIDITY":
			b = strconv.AppendUint(b, uint64(n.GetUidValidity()), 10)
		case "UNSEEN":
			b = strconv.AppendUint(b, uint64(n.GetUnseen()), 10)
		case "DELETED":
			b = strconv.AppendUint(b, uint64(n.GetDeleted()), 10)
		case "DELETED-STORAGE":
			b = strconv.AppendInt(b, kibi(deleted), 10)
		case "SIZE":
			b = strconv.AppendInt(b, n.GetSize(), 10)
		case "HIGHESTMODSEQ":
			b = strconv.AppendUint(b, n.GetHighestModSeq(), 10)
		case "RECENT":
			b = strconv.AppendUint(b, uint64(recentOf(n)), 10)
		case "MAILBOXID":
			b = append(append(append(b, '('), mailbox.ObjectID('F', n.GetId())...), ')')
		case "APPENDLIMIT":
			b = strconv.AppendInt(b, s.svc.cfg.MaxAppend, 10)
		}
	}
	s.out.Give(append(b, ")\r\n"...))
	return nil
}

// recentOf is how many messages no session has seen: those from the mark on, of which some may be expunged again.
func recentOf(n *node) uint32 {
	if n.GetRecentUid() == 0 || n.GetRecentUid() >= n.GetUidNext() {
		return 0
	}
	return min(n.GetMessages(), n.GetUidNext()-n.GetRecentUid())
}
