package directory_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/credential"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	"github.com/mailfarm/mailfarm/services/directory"
)

// service is a directory called without gRPC, with the costs of production and n accounts.
func service(b *testing.B, n int) *directory.Service {
	b.Helper()
	svc, err := directory.New(directory.Config{}, directory.Deps{Store: openStore(b), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := svc.AddDomain(b.Context(), &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: "example.org"}}); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if _, err := svc.AddAccount(b.Context(), &directoryv1.AddAccountRequest{Address: fmt.Sprintf("u%d@example.org", i), Password: "correct horse"}); err != nil {
			b.Fatal(err)
		}
	}
	return svc
}

func BenchmarkResolve(b *testing.B) {
	svc := service(b, 1)
	for _, address := range []string{"u0@example.org", "u0+lists@example.org", "nobody@example.org", "someone@example.net"} {
		b.Run(address, func(b *testing.B) {
			req := &directoryv1.ResolveRequest{Addresses: []string{address}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := svc.Resolve(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLogin(b *testing.B) {
	b.Run("warm", func(b *testing.B) {
		svc := service(b, 1)
		req := &directoryv1.LoginRequest{User: "u0@example.org", Password: "correct horse", Client: "192.0.2.1", Service: "imap"}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := svc.Login(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		svc := service(b, 1)
		n := 0
		for b.Loop() {
			// A new password each time, set while the clock stands.
			b.StopTimer()
			n++
			password := fmt.Sprintf("password %d", n)
			if _, err := svc.SetPassword(b.Context(), &directoryv1.SetPasswordRequest{Address: "u0@example.org", Password: password}); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if _, err := svc.Login(b.Context(), &directoryv1.LoginRequest{User: "u0@example.org", Password: password, Client: "192.0.2.1"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkImport1000 imports 1,000 passwords by gRPC, at the production cost of their keys.
func BenchmarkImport1000(b *testing.B) {
	lines := make([][2]string, 1000)
	for i := range lines {
		lines[i] = [2]string{fmt.Sprintf("u%d@example.org", i), fmt.Sprintf("password %d", i)}
	}
	for b.Loop() {
		f := serve(b, directory.Config{SCRAMIterations: credential.DefaultIterations}, openStore(b))
		f.domain(b, "example.org")
		if r := f.importAll(b, lines); r.Added != 1000 {
			b.Fatalf("added %d, want 1000", r.Added)
		}
	}
}
