package directory_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/credential"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	"github.com/mailfarm/mailfarm/services/directory"
)

// TestBruteForceIsSlowed runs the whole role on a clock that stands still while it works.
func TestBruteForceIsSlowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.db")
	synctest.Test(t, func(t *testing.T) {
		store, err := sqlite.Open(context.Background(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		svc, err := directory.New(directory.Config{SCRAMIterations: credential.MinIterations},
			directory.Deps{Store: store, Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := svc.AddDomain(t.Context(), &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: "example.org"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := svc.AddAccount(t.Context(), &directoryv1.AddAccountRequest{Address: "alice@example.org", Password: "correct horse"}); err != nil {
			t.Fatal(err)
		}
		login := func(user, password, client string) error {
			_, err := svc.Login(t.Context(), &directoryv1.LoginRequest{User: user, Password: password, Client: client, Service: "smtp"})
			return err
		}
		if err := login("alice@example.org", "correct horse", "203.0.113.1"); err != nil {
			t.Fatal(err)
		}

		// One after another: an account and a name that is none cost the same time.
		spent := map[string]time.Duration{}
		for _, user := range []string{"alice@example.org", "nobody@example.org"} {
			begun := time.Now()
			for range 15 {
				wantCode(t, "a guess", login(user, "wrong guess", "192.0.2.1"+user[:1]), codes.Unauthenticated)
			}
			spent[user] = time.Since(begun)
		}
		if spent["alice@example.org"] < 2*time.Minute {
			t.Errorf("15 guesses took %v, want some minutes", spent["alice@example.org"])
		}
		if spent["alice@example.org"] != spent["nobody@example.org"] {
			t.Errorf("guesses at an account took %v, at none %v: that tells which is one", spent["alice@example.org"], spent["nobody@example.org"])
		}

		// All at once: most are refused, and the owner with the password that was right lately is not even slowed.
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[codes.Code]int{}
		for range 50 {
			wg.Go(func() {
				err := login("alice@example.org", "wrong guess", "192.0.2.7")
				mu.Lock()
				got[status.Code(err)]++
				mu.Unlock()
			})
		}
		begun := time.Now()
		if err := login("alice@example.org", "correct horse", "203.0.113.1"); err != nil || time.Since(begun) > 0 {
			t.Errorf("the owner: %v after %v, want in at once", err, time.Since(begun))
		}
		wg.Wait()
		if got[codes.ResourceExhausted] < 40 || got[codes.ResourceExhausted]+got[codes.Unauthenticated] != 50 {
			t.Errorf("50 guesses at once: %v, want most refused with RESOURCE_EXHAUSTED and the rest wrong", got)
		}
	})
}
