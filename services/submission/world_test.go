package submission_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	"github.com/mailfarm/mailfarm/services/submission"
)

const password = "correct horse"

// directory knows alice@example.org, account 7, who may also send as sales@example.org.
type directory struct {
	directoryv1.UnimplementedDirectoryServer
	mu     sync.Mutex
	fail   error // of every call
	logins []*directoryv1.LoginRequest
	first  []*directoryv1.AuthenticateRequest // of each exchange
	keys   scram.StoredCredentials
}

func newDirectory(t *testing.T) *directory {
	t.Helper()
	client, err := scram.SHA256.NewClient("alice@example.org", password, "")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt of alice", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	return &directory{keys: keys}
}

func (d *directory) failing() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fail
}

func (d *directory) set(err error) {
	d.mu.Lock()
	d.fail = err
	d.mu.Unlock()
}

func (d *directory) Resolve(_ context.Context, in *directoryv1.ResolveRequest) (*directoryv1.ResolveResponse, error) {
	if err := d.failing(); err != nil {
		return nil, err
	}
	out := &directoryv1.ResolveResponse{}
	for _, a := range in.GetAddresses() {
		kind := directoryv1.Kind_KIND_REMOTE
		if envelope.ForwardPath(a).Domain() == "example.org" {
			kind = directoryv1.Kind_KIND_UNKNOWN
			if strings.HasPrefix(a, "alice@") || strings.HasPrefix(a, "bob@") {
				kind = directoryv1.Kind_KIND_ACCOUNT
			}
		}
		out.Resolutions = append(out.Resolutions, &directoryv1.Resolution{Kind: kind})
	}
	return out, nil
}

func (d *directory) Login(_ context.Context, in *directoryv1.LoginRequest) (*directoryv1.LoginResponse, error) {
	if err := d.failing(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.logins = append(d.logins, in)
	d.mu.Unlock()
	if in.GetUser() != "alice@example.org" || in.GetPassword() != password {
		return nil, status.Error(codes.Unauthenticated, "wrong user name or password")
	}
	return &directoryv1.LoginResponse{Account: 7, Address: "alice@example.org"}, nil
}

func (d *directory) Authenticate(stream directoryv1.Directory_AuthenticateServer) error {
	if err := d.failing(); err != nil {
		return err
	}
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		if user != "alice@example.org" {
			return scram.StoredCredentials{}, errors.New("no such user")
		}
		return d.keys, nil
	})
	if err != nil {
		return err
	}
	var conv *scram.ServerConversation
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if conv == nil {
			d.mu.Lock()
			d.first = append(d.first, req)
			d.mu.Unlock()
			conv = server.NewConversation()
			if strings.HasSuffix(req.GetMechanism(), "-PLUS") {
				conv = server.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: req.GetChannelBinding()})
			}
		}
		challenge, err := conv.Step(string(req.GetData()))
		if err != nil {
			return status.Error(codes.Unauthenticated, "wrong user name or password")
		}
		answer := &directoryv1.AuthenticateResponse{Challenge: []byte(challenge)}
		if conv.Valid() {
			answer.Done, answer.Account, answer.Address = true, 7, "alice@example.org"
		}
		if err := stream.Send(answer); err != nil || answer.Done {
			return err
		}
	}
}

func (d *directory) Owns(_ context.Context, in *directoryv1.OwnsRequest) (*directoryv1.OwnsResponse, error) {
	if err := d.failing(); err != nil {
		return nil, err
	}
	out := &directoryv1.OwnsResponse{}
	for _, a := range in.GetAddresses() {
		out.Owns = append(out.Owns, in.GetAccount() == 7 && (a == "alice@example.org" || a == "sales@example.org"))
	}
	return out, nil
}

type busRecorder struct {
	mu  sync.Mutex
	got []*mailv1.Accepted
}

func (b *busRecorder) PublishAll(_ context.Context, _ bus.Subject, _ []uint64, payloads [][]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range payloads {
		msg := &mailv1.Accepted{}
		if err := proto.Unmarshal(p, msg); err != nil {
			return err
		}
		b.got = append(b.got, msg)
	}
	return nil
}

type world struct {
	t               *testing.T
	directory       *directory
	bus             *busRecorder
	store           blob.Store
	limits          limits
	starttls, smtps string
	stop            func()
}

// limits are account 7's: what is left of each. The zero value has none left to count.
type limits struct {
	mu                                sync.Mutex
	limited                           bool
	connections, messages, recipients int // guarded by mu
}

// set sets what is left.
func (l *limits) set(connections, messages, recipients int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited, l.connections, l.messages, l.recipients = true, connections, messages, recipients
}

// left is how many connections there may still be.
func (l *limits) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connections
}

func (l *limits) EnterAccount(client netip.Addr, account uint64) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if account != 7 || !client.IsLoopback() || l.limited && l.connections == 0 {
		return func() {}, false
	}
	l.connections--
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.connections++
	}, true
}

func (l *limits) AccountMessage(client netip.Addr, account uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if account != 7 || l.limited && l.messages == 0 {
		return false
	}
	l.messages--
	return true
}

func (l *limits) AccountRecipients(client netip.Addr, account uint64, n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.limited {
		return n
	}
	n = min(n, l.recipients)
	l.recipients -= n
	return n
}

func start(t *testing.T, cfg submission.Config) *world {
	t.Helper()
	store, err := dir.Open(t.Context(), t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, directory: newDirectory(t), bus: &busRecorder{}, store: store}
	srv := rpc.NewServer(slog.New(slog.DiscardHandler))
	directoryv1.RegisterDirectoryServer(srv, w.directory)
	conn, stopRPC, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	// One listener is given open, the other by its address.
	given, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.starttls = given.Addr().String()
	opened := make(chan string, 1)
	cfg.Hostname = "mail.example.org"
	cfg.Listeners = []front.Listener{{Address: "127.0.0.1:0", ImplicitTLS: true}}
	service, err := submission.New(cfg, submission.Deps{
		Deps: acceptance.Deps{Blobs: store, Bus: w.bus}, Directory: directoryv1.NewDirectoryClient(conn), TLS: serverTLS(), Limits: &w.limits,
		SMTP: []front.Socket{{Listener: given}},
		Listen: func(network, address string) (net.Listener, error) {
			l, err := net.Listen(network, address)
			if err == nil {
				opened <- l.Addr().String()
			}
			return l, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	w.smtps = <-opened
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		w.stop()
		stopRPC()
		if err := store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return w
}

// published stops the role and gives what it published.
func (w *world) published() []*mailv1.Accepted {
	w.stop()
	return slices.Clone(w.bus.got)
}

// seen is a published message as readers see it.
func (w *world) seen(msg *mailv1.Accepted) string {
	w.t.Helper()
	id, err := blob.IDFrom(msg.GetBlobId())
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := w.store.Open(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	r := message.NewReader(message.OverlayFrom(msg.GetOverlay()), f.Body, f.Size)
	text := make([]byte, r.Size())
	if _, err := r.ReadAt(text, 0); err != nil && r.Size() > 0 && !strings.Contains(err.Error(), "EOF") {
		w.t.Fatal(err)
	}
	return string(text)
}

var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})
