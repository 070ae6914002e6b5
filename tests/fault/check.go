package fault

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// seen is what the mailboxes hold at the end.
type seen struct {
	inbox map[string][]harness.Message // by account
}

func (w *world) look() *seen {
	s := &seen{inbox: map[string][]harness.Message{}}
	for _, user := range []string{alice, bob} {
		s.inbox[user] = w.Mailbox(user, "INBOX")
	}
	return s
}

// count tells how many messages of a mailbox have the Subject.
func (s *seen) count(user, subject string) (n int) {
	for _, m := range s.inbox[user] {
		if m.Subject == subject {
			n++
		}
	}
	return n
}

func inMailboxes(users ...string) func(*testing.T, *world, *letter, *seen) {
	return func(t *testing.T, w *world, l *letter, s *seen) {
		for _, user := range users {
			if n := s.count(user, l.name); n != 1 {
				t.Errorf("%s got a 250 and is %d times in the mailbox of %s, want once", l.name, n, user)
			}
		}
		for _, m := range s.inbox[users[0]] {
			if m.Subject == l.name && !bytes.Equal(harness.Body(m.Raw, l.body), l.body) {
				t.Errorf("%s: the body is not what was sent", l.name)
			}
		}
	}
}

func nowhere(t *testing.T, w *world, l *letter, s *seen) {
	for user := range s.inbox {
		if n := s.count(user, l.name); n != 0 {
			t.Errorf("%s was refused and is %d times in the mailbox of %s", l.name, n, user)
		}
	}
}

// relayed: at least once, as RFC 5321 §6.1 leaves a window in which the peer has it and we do not know.
func relayed(t *testing.T, w *world, l *letter, _ *seen) {
	if w.peer.Count(l.name) < 1 {
		t.Errorf("%s got a 250 and never reached the peer", l.name)
	}
}

// reported: exactly one DSN with the action came back to alice.
func reported(action string) func(*testing.T, *world, *letter, *seen) {
	return func(t *testing.T, w *world, l *letter, s *seen) {
		n := 0
		for _, m := range s.inbox[alice] {
			if bytes.Contains(m.Raw, []byte("Action: "+action)) && bytes.Contains(m.Raw, []byte("Subject: "+l.name+"\r\n")) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d DSNs with action %s came back, want one", l.name, n, action)
		}
	}
}

func both(a, b func(*testing.T, *world, *letter, *seen)) func(*testing.T, *world, *letter, *seen) {
	return func(t *testing.T, w *world, l *letter, s *seen) {
		a(t, w, l, s)
		b(t, w, l, s)
	}
}

// hand hands in one letter of a kind and notes the answer.
func (w *world) hand(k kind) {
	w.mu.Lock()
	w.next++
	l := &letter{name: fmt.Sprintf("%s-%04d", k.name, w.next), kind: k.name}
	w.letters = append(w.letters, l)
	w.mu.Unlock()
	err := k.send(w, l)
	var refused *smtp.SMTPError
	w.mu.Lock()
	defer w.mu.Unlock()
	l.answered = err == nil
	l.refused = errors.As(err, &refused) && refused.Code >= 500
}

// check waits until all work is done and looks where everything is.
func (w *world) check(t *testing.T) {
	t.Helper()
	a := w.Settle()
	if a.Unaccounted != 0 || a.Dead != 0 {
		t.Errorf("audit: %+v", a)
	}
	s := w.look()
	for _, k := range slices.Concat(kinds, roomKinds) {
		for _, l := range w.letters {
			switch {
			case l.kind != k.name || l.expunged:
			case l.answered:
				k.check(t, w, l, s)
			case l.refused:
				nowhere(t, w, l, s)
			}
		}
	}
	if t.Failed() {
		var names []string
		for _, m := range s.inbox[alice] {
			names = append(names, m.Subject)
		}
		t.Logf("alice holds: %s", strings.Join(names, " | "))
	}
}

// prepare makes the aliases that the kinds use. Its farm runs.
func (w *world) prepare() {
	w.CLI("alias", "set", "both@example.org", alice, bob)
	w.CLI("alias", "set", "broken@example.org", "nobody@example.org")
}
