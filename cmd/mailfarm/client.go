package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/admin"
)

// callTime bounds an operator's call that does not stream.
const callTime = 2 * time.Minute

// door says how to reach a running farm.
type door struct {
	target, data  string
	ca, cert, key string
	json          bool
}

// flags gives a verb the flags that every verb on a running farm has.
func (d *door) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&d.target, "admin", os.Getenv("MAILFARM_ADMIN"), `the farm's admin door: "unix:PATH" or "HOST:PORT" (MAILFARM_ADMIN); default: the socket in --data`)
	f.StringVar(&d.data, "data", cmp.Or(os.Getenv("MAILFARM_DATA"), "./data"), "the data folder of a mailfarm running on this machine (MAILFARM_DATA)")
	f.StringVar(&d.ca, "ca", "", "file with the CA certificate of the admin port (HOST:PORT only)")
	f.StringVar(&d.cert, "cert", "", "file with the client certificate for the admin port")
	f.StringVar(&d.key, "key", "", "file with the key of --cert")
	f.BoolVar(&d.json, "json", false, "print JSON")
}

// dial connects; the caller closes the connection.
func (d *door) dial() (*grpc.ClientConn, error) {
	var creds credentials.TransportCredentials
	if d.cert != "" || d.key != "" || d.ca != "" {
		cfg, err := clientTLS(d.ca, d.cert, d.key)
		if err != nil {
			return nil, err
		}
		creds = credentials.NewTLS(cfg)
	}
	return admin.Dial(d.target, d.data, creds)
}

// call connects and runs f within callTime.
func (d *door) call(ctx context.Context, f func(ctx context.Context, conn *grpc.ClientConn) error) error {
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return f(ctx, conn)
}

func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	if caFile == "" || certFile == "" || keyFile == "" {
		return nil, errors.New("the admin port wants all of --ca, --cert and --key")
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read --cert and --key: %w", err)
	}
	if time.Now().After(cert.Leaf.NotAfter) {
		return nil, fmt.Errorf("--cert %s is over since %s: make a new one with `mailfarm ca issue`", certFile, cert.Leaf.NotAfter.Local().Format("2006-01-02 15:04"))
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read --ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read --ca: %s holds no certificate", caFile)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

// tell says what went wrong with a command: only those that knock at a running farm's door have flags to say where it is.
func tell(c *cobra.Command, err error) string {
	if c.Flag("admin") == nil {
		return err.Error()
	}
	text := explain(err)
	if f := c.Flag("cert"); f != nil && f.Changed && status.Code(err) == codes.Unavailable {
		text += "; it may not take --cert: an operator's certificate (mailfarm ca issue NAME --use operator) of the door's own authority opens it"
	}
	return text
}

// explain turns an error of a call into a sentence that says what to do.
func explain(err error) string {
	s, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	switch s.Code() {
	case codes.Unavailable:
		return "the farm cannot be reached or is not ready: " + s.Message() + " (is it running? see --admin and --data)"
	case codes.DeadlineExceeded:
		return "the farm did not answer in time; what was asked may still happen"
	case codes.Unimplemented:
		return "this mailfarm does not serve that here: " + s.Message()
	}
	return s.Message()
}
