package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"google.golang.org/grpc/credentials"
)

// ServerConfig is the server's side. Without Config.CAFile it is for mail clients: TLS 1.2 at least, and tickets of sessions
// stay good when a certificate changes. With it TLS is mutual: 1.3, who has no certificate of the authorities gets nothing.
// It is the same on every call, and not to be changed; gRPC takes it by credentials.NewTLS.
func (r *Reloader) ServerConfig() *tls.Config { return r.server }

func (r *Reloader) serverConfig() *tls.Config {
	if r.cfg.CAFile == "" {
		return &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				return r.state.Load().certificate(hello)
			},
		}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.state.Load().mutual, nil },
		// Never reached, but a server's side has one.
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return r.state.Load().certificate(hello) },
	}
}

// certificate is the one for a client.
func (s *state) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(s.certificates) > 1 {
		for _, c := range s.certificates {
			if hello.SupportsCertificate(c) == nil {
				return c, nil
			}
		}
	}
	return s.certificates[0], nil
}

// ClientConfig is a client's side as it is now, with the first certificate and the authorities that the server must have one
// of: for one connection, or few. Connections that are made again and again take Credentials.
func (r *Reloader) ClientConfig() *tls.Config {
	s := r.state.Load()
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*s.certificates[0]}, RootCAs: s.pool}
}

// Credentials are a gRPC client's, which show and trust what the files say at each connection.
func (r *Reloader) Credentials() credentials.TransportCredentials { return &client{r: r} }

// client is credentials.TransportCredentials.
type client struct {
	r    *Reloader
	name string // what the server is called, where that is not where it is
}

func (c *client) now() credentials.TransportCredentials {
	cfg := c.r.ClientConfig()
	cfg.ServerName = c.name
	return credentials.NewTLS(cfg)
}

func (c *client) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.now().ClientHandshake(ctx, authority, conn)
}

func (c *client) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(c.r.ServerConfig()).ServerHandshake(conn)
}

func (c *client) Info() credentials.ProtocolInfo          { return c.now().Info() }
func (c *client) Clone() credentials.TransportCredentials { clone := *c; return &clone }
func (c *client) OverrideServerName(name string) error    { c.name = name; return nil }
