package acceptance_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/rpc"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// memory keeps nothing, so that what is measured is acceptance.
type memory struct{}

func (memory) Create(blob.ID) (blob.Draft, error) { return &memoryDraft{}, nil }

type memoryDraft struct{ size int64 }

func (d *memoryDraft) Write(p []byte) (int, error)       { d.size += int64(len(p)); return len(p), nil }
func (d *memoryDraft) Size() int64                       { return d.size }
func (d *memoryDraft) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (d *memoryDraft) Commit(context.Context, blob.Meta) (blob.ID, error) {
	return blob.ID{Incarnation: 1}, nil
}
func (d *memoryDraft) Discard() {}

type nullBus struct{}

func (nullBus) PublishAll(context.Context, bus.Subject, []uint64, [][]byte) error { return nil }

// BenchmarkMessage: one operation is one message of 4 KiB, from Begin to Commit, with a store and a bus that do nothing.
func BenchmarkMessage(b *testing.B) {
	text := append([]byte(body), bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789abcdef\r\n"), 50)...)
	for _, filtered := range []bool{false, true} {
		name := "alone"
		deps := acceptance.Deps{Blobs: memory{}, Bus: nullBus{}}
		if filtered {
			name = "with a filter"
			srv := rpc.NewServer(slog.New(slog.DiscardHandler))
			filterv1.RegisterFilterServer(srv, verdict(mailv1.Action_ACTION_ACCEPT, ""))
			conn, stop, err := rpc.Local(srv)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(stop)
			deps.Filter = filterv1.NewFilterClient(conn)
		}
		a, err := acceptance.New(acceptance.Ingress, "mx.example.org", acceptance.Config{Backlog: 1 << 40}, deps)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				m, err := a.Begin(ctx, newEnvelope("alice@example.org"), acceptance.Options{})
				if err != nil {
					b.Fatal(err)
				}
				m.Write(text)
				if _, err := m.Commit(ctx); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			<-done
		})
	}
}
