package imap

import (
	"strings"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// events of NOTIFY, as bits (RFC 5465 §5).
type events uint8

const (
	messageNew events = 1 << iota
	messageExpunge
	flagChange
	mailboxName
	subscriptionChange
	mailboxMetadata
	serverMetadata
)

var eventNames = map[string]events{
	"MESSAGENEW": messageNew, "MESSAGEEXPUNGE": messageExpunge, "FLAGCHANGE": flagChange,
	"MAILBOXNAME": mailboxName, "SUBSCRIPTIONCHANGE": subscriptionChange,
	"MAILBOXMETADATACHANGE": mailboxMetadata, "SERVERMETADATACHANGE": serverMetadata,
}

// errBadEvent names the events there are (RFC 5465 §5).
var errBadEvent = no("BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)", "no such event here")

// Limits of one NOTIFY; more is too much to watch (RFC 5465 §5.8).
const (
	groupsMax       = 100
	notifyNamesMax  = 1000
	errOverflowCode = "NOTIFICATIONOVERFLOW"
)

// filter is which mailboxes a group is about (RFC 5465 §6).
type filter uint8

const (
	filterSelected filter = iota
	filterSelectedDelayed
	filterInboxes
	filterPersonal
	filterSubscribed
	filterSubtree
	filterMailboxes
)

var filterNames = map[string]filter{
	"SELECTED": filterSelected, "SELECTED-DELAYED": filterSelectedDelayed, "INBOXES": filterInboxes,
	"PERSONAL": filterPersonal, "SUBSCRIBED": filterSubscribed, "SUBTREE": filterSubtree, "MAILBOXES": filterMailboxes,
}

// eventGroup is a filter with the events wanted of what it matches.
type eventGroup struct {
	filter filter
	names  []string
	events events
	// items are fetched of new messages in the selected mailbox.
	items []item
}

// matches tells whether the group is about a mailbox that is not selected; own are the session's.
func (g *eventGroup) matches(name string, subscribed, own bool) bool {
	switch g.filter {
	case filterInboxes:
		return name == "INBOX" && own
	case filterPersonal:
		return own
	case filterSubscribed:
		return subscribed
	case filterSubtree, filterMailboxes:
		for _, n := range g.names {
			if name == n || g.filter == filterSubtree && strings.HasPrefix(name, n+separator) {
				return true
			}
		}
	}
	return false
}

// notifyCommand chooses what is told unasked, of the selected mailbox and of others (RFC 5465).
func (s *session) notifyCommand(l *wire.Lexer) (reply, error) {
	l.Space()
	var groups []eventGroup
	status := false
	var refused error
	switch string(l.Word()) {
	case "NONE":
	case "SET":
		l.Space()
		if status = l.AcceptWord("STATUS"); status {
			l.Space()
		}
		groups, refused = s.parseGroups(l)
	default:
		l.Fail("expected SET or NONE")
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if refused != nil {
		return reply{}, refused
	}
	return reply{}, s.follow(groups, status)
}

// parseGroups reads groups in parentheses. The second error is for what is well written and not to be had.
func (s *session) parseGroups(l *wire.Lexer) (groups []eventGroup, refused error) {
	names, selected := 0, false
	for first := true; l.Err() == nil && (first || l.Accept(' ')); first = false {
		g, bad := s.parseGroup(l)
		if bad || g.events&(mailboxMetadata|serverMetadata) != 0 && s.svc.deps.Annotations == nil {
			refused = errBadEvent
		}
		if g.filter <= filterSelectedDelayed {
			if selected {
				l.Fail("selected twice")
			}
			selected = true
			if g.events&^(messageNew|messageExpunge|flagChange) != 0 {
				l.Fail("of the selected mailbox there are message events only") // RFC 5465 §6.1
			}
		}
		if names += len(g.names); names > notifyNamesMax || len(groups) >= groupsMax {
			refused = no(errOverflowCode, "too much to watch")
			g, names = eventGroup{}, 0
			groups = groups[:0]
		}
		groups = append(groups, g)
	}
	return groups, refused
}

func (s *session) parseGroup(l *wire.Lexer) (g eventGroup, bad bool) {
	l.Open()
	f, ok := filterNames[string(l.Word())]
	if !ok {
		l.Fail("unknown mailboxes to watch")
	}
	g.filter = f
	l.Space()
	if f >= filterSubtree {
		name := func() {
			if n := s.mailboxName(l); l.Err() == nil {
				g.names = append(g.names, n)
			}
		}
		if l.Peek() == '(' {
			l.List(name)
		} else {
			name()
		}
		if len(g.names) == 0 {
			l.Fail("no mailboxes")
		}
		l.Space()
	}
	if l.Peek() == '(' {
		l.List(func() { bad = !g.parseEvent(l) || bad })
	} else if string(l.Word()) != "NONE" {
		l.Fail("expected events or NONE")
	}
	if l.Err() == nil && !l.Close() {
		l.Fail("expected )")
	}
	// RFC 5465 §5: new and expunged messages come together, and flags with them only.
	both := messageNew | messageExpunge
	if m := g.events & both; m != 0 && m != both || m == 0 && g.events&flagChange != 0 {
		l.Fail("MessageNew and MessageExpunge go together, and FlagChange needs them")
	}
	return g, bad
}

// parseEvent is false for an event that is not told here.
func (g *eventGroup) parseEvent(l *wire.Lexer) bool {
	e, ok := eventNames[string(l.Word())]
	g.events |= e
	if e == messageNew && l.Peek() == ' ' && l.PeekAt(1) == '(' {
		l.Space()
		l.List(func() { g.items = addItem(g.items, parseItem(l, string(l.Letters())), l) })
	}
	return ok || l.Err() != nil
}
