package servers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Server is a versitygw with a folder behind it.
type S3Server struct {
	// Endpoint is its address with the scheme.
	Endpoint string
	// AccessKey and SecretKey are its only account's.
	AccessKey, SecretKey string
	// CAFile is PEM: who signed its certificate; "" without TLS.
	CAFile string
	// Root is the folder that holds a folder for each bucket, and in it a file for each object.
	Root string

	t       testing.TB
	addr    string
	args    []string
	log     output
	client  *http.Client
	process *process // nil where it does not run
	buckets atomic.Int32
}

// S3 starts a server.
func S3(t testing.TB) *S3Server { return startS3(t, false) }

// S3WithTLS starts one whose certificate for 127.0.0.1 comes from an authority of its own.
func S3WithTLS(t testing.TB) *S3Server { return startS3(t, true) }

func startS3(t testing.TB, tls bool) *S3Server {
	t.Helper()
	dir := t.TempDir()
	s := &S3Server{
		AccessKey: "mailfarm", SecretKey: "mailfarm-secret", Root: filepath.Join(dir, "root"),
		t: t, addr: fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0]), client: &http.Client{Transport: &http.Transport{}},
	}
	if err := os.Mkdir(s.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Endpoint = "http://" + s.addr
	s.args = []string{"--port", s.addr, "--access", s.AccessKey, "--secret", s.SecretKey, "--keep-alive", "--quiet"}
	if tls {
		cert := newCertificate(t, dir)
		s.Endpoint, s.CAFile = "https://"+s.addr, cert.caFile
		s.args = append(s.args, "--cert", cert.certFile, "--key", cert.keyFile)
		s.client.Transport = &http.Transport{TLSClientConfig: cert.client}
	}
	s.args = append(s.args, "posix", s.Root)
	t.Cleanup(func() {
		s.Stop()
		s.client.CloseIdleConnections()
		if t.Failed() {
			t.Logf("versitygw:\n%s", s.log.tail())
		}
	})
	s.Start()
	return s
}

// Start starts the server, again under its address and with what it had stored, and returns once it answers.
func (s *S3Server) Start() {
	s.t.Helper()
	p, err := start(&s.log, Binary(s.t, "versitygw"), s.args...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = p
	if err := p.ready(s.answers); err != nil {
		s.t.Fatalf("%v\n%s", err, s.log.tail())
	}
}

func (s *S3Server) answers() bool {
	resp, err := s.client.Get(s.Endpoint)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// Stop kills the server. What it stored stays.
func (s *S3Server) Stop() {
	if s.process != nil {
		s.process.end(syscall.SIGKILL)
		s.process = nil
	}
}

// Client speaks to the server as its account.
func (s *S3Server) Client(t testing.TB) *minio.Client {
	t.Helper()
	c, err := minio.New(s.addr, &minio.Options{
		Creds:  credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Secure: strings.HasPrefix(s.Endpoint, "https:"), Region: "us-east-1", Transport: s.client.Transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Bucket makes a bucket that nobody else has, and returns its name.
func (s *S3Server) Bucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	if err := s.Client(t).MakeBucket(context.Background(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}
