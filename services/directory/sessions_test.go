package directory_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	"github.com/mailfarm/mailfarm/services/directory"
)

// ended notes whose sessions are to end.
type ended struct {
	told []string
	err  error
}

func (e *ended) Removed(ids ...mailbox.AccountID) error {
	e.told = append(e.told, fmt.Sprint("removed ", ids))
	return e.err
}

func (e *ended) PasswordChanged(ids ...mailbox.AccountID) error {
	e.told = append(e.told, fmt.Sprint("password ", ids))
	return e.err
}

// TestSessionsEnd: who is removed or gets another password loses what it has open, who is imported as it was does not; a bus
// that is away changes nothing else.
func TestSessionsEnd(t *testing.T) {
	told := &ended{}
	svc, err := directory.New(cheap, directory.Deps{Store: openStore(t), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Sessions: told})
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(slog.New(slog.DiscardHandler))
	svc.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	f := &farm{DirectoryClient: directoryv1.NewDirectoryClient(conn), AccountsClient: directoryv1.NewAccountsClient(conn)}
	f.domain(t, "example.org")
	alice, bob := f.account(t, "alice@example.org", "alice's password"), f.account(t, "bob@example.org", "bob's password")
	want := func(lines ...string) {
		t.Helper()
		if fmt.Sprint(told.told) != fmt.Sprint(lines) {
			t.Errorf("told %q, want %q", told.told, lines)
		}
		told.told = nil
	}
	want()
	if _, err := f.SetPassword(t.Context(), &directoryv1.SetPasswordRequest{Address: "alice@example.org", Password: "another password"}); err != nil {
		t.Fatal(err)
	}
	want(fmt.Sprintf("password [%d]", alice))
	hash, err := credential.NewSCRAM("a password of bob", credential.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	file := [][2]string{{"bob@example.org", hash.String()}, {"new@example.org", "somebody's password"}}
	f.importAll(t, file)
	want(fmt.Sprintf("password [%d]", bob))
	f.importAll(t, file[:1])
	want()
	told.err = errors.New("the bus is away")
	if _, err := f.RemoveAccount(t.Context(), &directoryv1.RemoveAccountRequest{Address: "bob@example.org"}); err != nil {
		t.Fatal(err)
	}
	want(fmt.Sprintf("removed [%d]", bob))
}
