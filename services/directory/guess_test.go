package directory_test

import (
	"net/netip"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// guesses notes what is told of failed logins.
type guesses struct {
	mu  sync.Mutex
	got []guess // guarded by mu
}

type guess struct {
	client netip.Addr
	user   string
	mark   uint32
}

func (g *guesses) LoginFailed(client netip.Addr, user string, mark uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got = append(g.got, guess{client, user, mark})
}

// last is what was told last, and how many were.
func (g *guesses) last() (guess, int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.got) == 0 {
		return guess{}, 0
	}
	return g.got[len(g.got)-1], len(g.got)
}

// TestFailuresAreTold: the same wrong password is known again, in another process too; a right one is not told of.
func TestFailuresAreTold(t *testing.T) {
	store, told := openStore(t), &guesses{}
	f, other := serveWith(t, cheap, store, told), serveWith(t, cheap, store, told)
	f.domain(t, "example.org")
	f.account(t, "alice@example.org", "correct horse")
	fail := func(d *farm, user, password string) guess {
		t.Helper()
		_, before := told.last()
		_, err := d.login(t.Context(), user, password, "::ffff:192.0.2.1")
		wantCode(t, "login", err, codes.Unauthenticated)
		last, n := told.last()
		if n != before+1 || last.client != netip.MustParseAddr("192.0.2.1") {
			t.Fatalf("told %d times of %v", n-before, last)
		}
		return last
	}
	if _, err := f.login(t.Context(), "alice@example.org", "correct horse", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if _, n := told.last(); n != 0 {
		t.Error("a login that was right is told of")
	}
	first := fail(f, "alice@example.org", "old password")
	if first.user != "alice@example.org" {
		t.Errorf("told of %q", first.user)
	}
	for name, again := range map[string]guess{"again": fail(f, "Alice@Example.org", "old password"), "elsewhere": fail(other, "alice", "old password")} {
		if again != first {
			t.Errorf("%s: told %v, want %v", name, again, first)
		}
	}
	for name, another := range map[string]guess{
		"another password": fail(f, "alice@example.org", "older password"), "another user": fail(f, "bob@example.org", "old password"),
	} {
		if another.mark == first.mark {
			t.Errorf("%s: the same mark", name)
		}
	}
	marks := map[uint32]bool{}
	for range 3 {
		_, before := told.last()
		if _, err := f.scram(t.Context(), "SCRAM-SHA-256", nil, newClient(t, "alice@example.org", "old password", "").NewConversation()); err == nil {
			t.Fatal("SCRAM with a wrong password succeeded")
		}
		last, n := told.last()
		if n != before+1 {
			t.Fatalf("SCRAM told %d times", n-before)
		}
		marks[last.mark] = true
	}
	if len(marks) != 3 {
		t.Error("failures by SCRAM are taken for the same password")
	}
	// Acting for another with a right password is no guess.
	_, before := told.last()
	stream, err := f.Authenticate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req := &directoryv1.AuthenticateRequest{Mechanism: "PLAIN", Client: "192.0.2.1", Data: []byte("bob@example.org\x00alice@example.org\x00correct horse")}
	if err := stream.Send(req); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("alice acts for bob")
	}
	if _, n := told.last(); n != before {
		t.Error("a right password is told of")
	}
}
