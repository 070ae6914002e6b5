package rpc_test

import (
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/certs"
	"github.com/mailfarm/mailfarm/internal/pki"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// preface begins HTTP/2 (RFC 9113 §3.4), with empty settings.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// most is the longest thing that a stranger may be told: alerts of TLS (RFC 8446 §6).
const most = 64

// saying connects, says something, and returns what it hears until the server hangs up.
func saying(t *testing.T, at string, say []byte, over *tls.Config) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if over != nil {
		conn = tls.Client(conn, over)
	}
	go conn.Write(say) // fails where the server hangs up before it has read all
	heard, err := io.ReadAll(conn)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("the server did not hang up on a client that began with %.20q", say)
	}
	return heard
}

// TestStrangersGetNothing: who is no process of the farm hears nothing, whatever it says, and the server goes on serving.
func TestStrangersGetNothing(t *testing.T) {
	good := load(t, config(t, pki.Peer, "127.0.0.1"))
	d, at, _ := process(t, good, "127.0.0.1:0")
	c := connect(t, at, good)
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	trusting := func(cert ...tls.Certificate) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: cert}
	}
	other := config(t, pki.Peer, "127.0.0.1")
	stranger, err := tls.LoadX509KeyPair(other.CertificateFile, other.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	calls := int64(0)
	for _, tt := range []struct {
		name string
		say  []byte
		over *tls.Config
	}{
		{"noise", noise, nil},
		{"HTTP/1.1", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), nil},
		{"HTTP/2 without TLS", []byte(preface), nil},
		{"a record that claims to be long", append([]byte{22, 3, 1, 0xff, 0xff}, noise[:70_000]...), nil},
		{"a hello that claims to be long", append([]byte{22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff}, noise[:70_000]...), nil},
		{"no certificate", []byte(preface), trusting()},
		{"another authority's certificate", []byte(preface), trusting(stranger)},
		{"noise within TLS", noise, trusting()},
	} {
		if heard := saying(t, at, tt.say, tt.over); len(heard) > most || tt.over != nil && len(heard) > 0 {
			t.Errorf("%s: heard %d octets: %.100q", tt.name, len(heard), heard)
		}
		if _, err := c.Resolve(t.Context(), &directoryv1.ResolveRequest{}); err != nil {
			t.Errorf("after %s a process of the farm: %v", tt.name, err)
		}
		calls++
	}
	plain, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := directoryv1.NewDirectoryClient(plain).Resolve(t.Context(), &directoryv1.ResolveRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("gRPC without TLS: got %v, want Unavailable", err)
	}
	if got := d.asked.Load(); got != calls {
		t.Errorf("asked %d times, want the %d of the farm's own process", got, calls)
	}
}

// TestBoundedMemory: many connections that say nothing, and peers of the farm that claim or send more than a message may have,
// take little memory and keep nobody from being served.
func TestBoundedMemory(t *testing.T) {
	cfg := config(t, pki.Peer, "127.0.0.1")
	good := load(t, cfg)
	_, at, _ := process(t, good, "127.0.0.1:0")
	c := connect(t, at, good)
	before := heap()
	for range 200 {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	pair, err := tls.LoadX509KeyPair(cfg.CertificateFile, cfg.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	over := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair}}
	for range 20 {
		// A DATA frame of 16 MiB, which the server never said that it takes.
		saying(t, at, []byte(preface+"\xff\xff\xff\x00\x00\x00\x00\x00\x01more"), over)
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("the heap grew by %d octets", grown)
	}
	tooLong := &directoryv1.ResolveRequest{Addresses: []string{string(make([]byte, rpc.MaxMessage+1))}}
	if _, err := far(t, at, good).Resolve(t.Context(), tooLong); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message that is too long: got %v, want ResourceExhausted", err)
	}
	if _, err := c.Resolve(t.Context(), &directoryv1.ResolveRequest{}); err != nil {
		t.Errorf("a process of the farm: %v", err)
	}
}

// far is a client that sends what no process of the farm does.
func far(t *testing.T, at string, creds *certs.Reloader) directoryv1.DirectoryClient {
	t.Helper()
	conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(creds.Credentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(2*rpc.MaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return directoryv1.NewDirectoryClient(conn)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
