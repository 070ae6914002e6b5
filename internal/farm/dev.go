package farm

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/front"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// What `mailfarm dev` makes at its first start.
const (
	DevDomain   = "example.org"
	DevPassword = "mailfarm-dev"
)

// devAccounts have DevPassword.
var devAccounts = []string{"alice@" + DevDomain, "bob@" + DevDomain}

// loopback is where dev listens.
const loopback = "127.0.0.1"

// Ports of `mailfarm dev`.
type Ports struct{ SMTP, Submission, SubmissionTLS, LMTP, IMAP, IMAPTLS, POP3, POP3TLS, HTTP, Admin int }

// DevPorts are the ports, each moved by offset.
func DevPorts(offset int) Ports {
	return Ports{
		SMTP: 2525 + offset, Submission: 2587 + offset, SubmissionTLS: 2465 + offset, LMTP: 2424 + offset,
		IMAP: 2143 + offset, IMAPTLS: 2993 + offset, POP3: 2110 + offset, POP3TLS: 2995 + offset, HTTP: 2080 + offset, Admin: 2090 + offset,
	}
}

func at(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// Listen makes cfg listen on the ports, on loopback only.
func (cfg *Config) Listen(p Ports) {
	cfg.HTTP, cfg.Admin.Listen = at(p.HTTP), at(p.Admin)
	cfg.Ingress.Listeners = []front.Listener{{Address: at(p.SMTP)}}
	cfg.Ingress.LMTP = []front.Listener{{Address: at(p.LMTP)}}
	cfg.Submission.Listeners = []front.Listener{{Address: at(p.Submission)}, {Address: at(p.SubmissionTLS), ImplicitTLS: true}}
	cfg.IMAP.Listeners = []front.Listener{{Address: at(p.IMAP)}, {Address: at(p.IMAPTLS), ImplicitTLS: true}}
	cfg.POP3.Listeners = []front.Listener{{Address: at(p.POP3)}, {Address: at(p.POP3TLS), ImplicitTLS: true}}
}

// AllowPlaintextLogin accepts passwords without TLS from loopback.
func (cfg *Config) AllowPlaintextLogin() {
	networks := []string{"127.0.0.0/8", "::1/128"}
	cfg.Submission.PlaintextNetworks = networks
	cfg.IMAP.PlaintextNetworks = networks
	cfg.POP3.PlaintextNetworks = networks
}

// Seed makes the domain and accounts of dev, if there are no domains yet, and tells whether it did.
func (f *Farm) Seed(ctx context.Context) (bool, error) {
	c := directoryv1.NewAccountsClient(f.peers.conns["directory"])
	have, err := c.ListDomains(ctx, &directoryv1.ListDomainsRequest{})
	if err != nil || len(have.Domains) > 0 {
		return false, err
	}
	if _, err := c.AddDomain(ctx, &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: DevDomain}}); err != nil {
		return false, err
	}
	for _, address := range devAccounts {
		if _, err := c.AddAccount(ctx, &directoryv1.AddAccountRequest{Address: address, Password: DevPassword}); err != nil {
			return false, err
		}
	}
	for _, role := range []string{"postmaster", "abuse"} {
		alias := &directoryv1.Alias{Address: role, Targets: devAccounts[:1]}
		if _, err := c.SetAlias(ctx, &directoryv1.SetAliasRequest{Alias: alias}); err != nil {
			return false, err
		}
	}
	return true, nil
}

// refuseDevPassword keeps accounts from getting the password that everybody knows, where others than this machine could use it.
func (cfg *Config) refuseDevPassword() {
	if cfg.publicListener() != "" {
		cfg.Directory.RefusedPasswords = []string{DevPassword}
	}
}

// RefuseDevPasswords fails where an account still has the password that everybody knows, and others than this machine
// could use it.
func (f *Farm) RefuseDevPasswords(ctx context.Context) error {
	public := f.cfg.publicListener()
	if public == "" || !f.shape.has("directory") {
		return nil
	}
	c := directoryv1.NewDirectoryClient(f.peers.conns["directory"])
	for _, address := range devAccounts {
		_, err := c.Login(ctx, &directoryv1.LoginRequest{User: address, Password: DevPassword, Client: loopback, Service: "start"})
		switch status.Code(err) {
		case codes.Unauthenticated:
		case codes.OK:
			return fmt.Errorf("%s still has the password of `mailfarm dev`, which everybody knows, and %s can be reached from elsewhere: start on loopback and change it with `mailfarm account passwd %s`", address, public, address)
		default:
			return fmt.Errorf("look whether %s has the password of `mailfarm dev`: %w", address, err)
		}
	}
	return nil
}

// publicListener is a listener that is not on loopback only, or "".
func (cfg *Config) publicListener() string {
	for _, addr := range cfg.listeners() {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return addr
		}
	}
	return ""
}

// listeners are the addresses of all fronts.
func (cfg *Config) listeners() (all []string) {
	for _, l := range slices.Concat(cfg.Ingress.Listeners, cfg.Ingress.LMTP, cfg.Submission.Listeners, cfg.IMAP.Listeners, cfg.POP3.Listeners) {
		all = append(all, l.Address)
	}
	return all
}
