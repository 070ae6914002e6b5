package pop3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// fake stands for directory and store where time stands still, calls must fail, or millions of inputs are tried. There is one
// account, alice with the password "pass word".
type fake struct {
	bodies []string

	mu       sync.Mutex
	holder   string
	removed  mailbox.UIDSet
	flagged  mailbox.UIDSet
	expunges int

	fail func(call string) error // guarded by mu; see failBy
}

// failBy has fn asked before each call, by its name.
func (f *fake) failBy(fn func(call string) error) {
	f.mu.Lock()
	f.fail = fn
	f.mu.Unlock()
}

func (f *fake) before(call string) error {
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(call)
}

// lockedBy is who has the maildrop.
func (f *fake) lockedBy() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holder
}

// expunged is how often messages were removed.
func (f *fake) expunged() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expunges
}

func (f *fake) Login(_ context.Context, in *directoryv1.LoginRequest, _ ...grpc.CallOption) (*directoryv1.LoginResponse, error) {
	if err := f.before("Login"); err != nil {
		return nil, err
	}
	if in.User != "alice" || in.Password != "pass word" {
		return nil, status.Error(codes.Unauthenticated, "no")
	}
	return &directoryv1.LoginResponse{Account: 7, Address: "alice@example.org"}, nil
}

func (f *fake) Authenticate(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse], error) {
	return nil, status.Error(codes.Unauthenticated, "no")
}

func (f *fake) Acquire(_ context.Context, in *storev1.AcquireRequest, _ ...grpc.CallOption) (*storev1.AcquireResponse, error) {
	if err := f.before("Acquire"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder != "" && f.holder != in.Holder {
		return &storev1.AcquireResponse{Holder: f.holder}, nil
	}
	f.holder = in.Holder
	return &storev1.AcquireResponse{Taken: true}, nil
}

func (f *fake) Release(_ context.Context, in *storev1.ReleaseRequest, _ ...grpc.CallOption) (*storev1.ReleaseResponse, error) {
	err := f.before("Release")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder == in.Holder {
		f.holder = ""
	}
	return &storev1.ReleaseResponse{}, err
}

func (f *fake) List(context.Context, *storev1.ListRequest, ...grpc.CallOption) (*storev1.ListResponse, error) {
	return &storev1.ListResponse{Mailboxes: []*storev1.Mailbox{
		{Id: 1, Name: "Sent", Exists: true, UidValidity: 3}, {Id: 2, Name: "INBOX", Exists: true, UidValidity: 4},
	}}, f.before("List")
}

// errPanics at the end of a stream makes it panic.
var errPanics = errors.New("panics")

// stream is a stream of what is known beforehand.
type stream[T any] struct {
	grpc.ClientStream
	left []*T
	err  error // at its end; nil is io.EOF
}

func (s *stream[T]) Recv() (*T, error) {
	if len(s.left) == 0 {
		if s.err == errPanics {
			panic("boom")
		}
		if s.err != nil {
			return nil, s.err
		}
		return nil, io.EOF
	}
	m := s.left[0]
	s.left = s.left[1:]
	return m, nil
}

func (f *fake) Snapshot(context.Context, *storev1.SnapshotRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	if err := f.before("Snapshot"); err != nil {
		return nil, err
	}
	chunk := mailbox.Chunk{FirstUID: 1}
	for i, b := range f.bodies {
		chunk.Add(mailbox.Entry{UID: mailbox.UID(10 * (i + 1)), Email: mailbox.EmailID(100 + i), Size: int64(len(b))})
	}
	p := chunk.Pack()
	return &stream[storev1.SnapshotResponse]{left: []*storev1.SnapshotResponse{
		{Mailbox: &storev1.Mailbox{Id: 2, UidValidity: 4, Messages: uint32(len(f.bodies))}},
		{Chunks: []*storev1.Chunk{{FirstUid: 1, Uids: p.UIDs, Flags: p.Flags, ModSeqs: p.ModSeqs, Emails: p.Emails, Sizes: p.Sizes, Received: p.Received}}, Done: true},
	}}, nil
}

func (f *fake) Emails(_ context.Context, in *storev1.EmailsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.EmailsResponse], error) {
	if err := f.before("Emails"); err != nil {
		return nil, err
	}
	resp := &storev1.EmailsResponse{}
	for _, id := range in.Emails {
		resp.Emails = append(resp.Emails, &storev1.Email{Id: id, BlobId: []byte{byte(id - 100)}})
	}
	return &stream[storev1.EmailsResponse]{left: []*storev1.EmailsResponse{resp}}, nil
}

func (f *fake) Open(_ context.Context, in *storev1.OpenRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.OpenResponse], error) {
	if err := f.before("Open"); err != nil {
		return nil, err
	}
	r := in.Ranges[0]
	body := f.bodies[r.BlobId[0]]
	body = body[min(int(r.Offset), len(body)):]
	if r.Length >= 0 {
		body = body[:min(int(r.Length), len(body))]
	}
	s := &stream[storev1.OpenResponse]{err: f.before("Open end")}
	for first := true; first || len(body) > 0; first = false {
		n := min(len(body), 1000)
		s.left = append(s.left, &storev1.OpenResponse{Data: []byte(body[:n])})
		body = body[n:]
	}
	return s, nil
}

func (f *fake) Flag(_ context.Context, in *storev1.FlagRequest, _ ...grpc.CallOption) (*storev1.FlagResponse, error) {
	if err := f.before("Flag"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	f.flagged, err = mailbox.DecodeUIDSet(in.Uids)
	return &storev1.FlagResponse{}, err
}

func (f *fake) Expunge(_ context.Context, in *storev1.ExpungeRequest, _ ...grpc.CallOption) (*storev1.ExpungeResponse, error) {
	if err := f.before("Expunge"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expunges++
	if !in.Force || len(in.Uids) == 0 {
		return nil, status.Error(codes.InvalidArgument, "that would remove everything")
	}
	var err error
	f.removed, err = mailbox.DecodeUIDSet(in.Uids)
	return &storev1.ExpungeResponse{}, err
}

// role is a pop3 role over a fake, with the default configuration changed by change.
func role(t testing.TB, f *fake, change func(*Config, *Deps)) *Service {
	t.Helper()
	cfg := Config{PlaintextNetworks: []string{"127.0.0.0/8"}}
	deps := Deps{Mailboxes: f, Bodies: f, Leases: f, Directory: f, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg, &deps)
	}
	s, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// loopback is a pipe that says it comes from 127.0.0.1; it counts writes.
type loopback struct {
	net.Conn
	writes *int
}

func (loopback) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 12345}
}

func (l loopback) Write(b []byte) (int, error) {
	if l.writes != nil {
		*l.writes++
	}
	return l.Conn.Write(b)
}

// testTLS is a certificate for "localhost" with its own pool.
var testTLS = sync.OnceValues(func() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
})
