package importer_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// account is whom messages are brought to.
const account = 7

type deaf struct{}

func (deaf) Notify(string, []byte) error { return nil }

// farm is a real store, spoken to by gRPC.
type farm struct {
	conn      *grpc.ClientConn
	mailboxes storev1.MailboxesClient
	imports   storev1.ImportsClient
	bodies    storev1.BodiesClient
}

func startFarm(t testing.TB, opts sqlite.Options) *farm {
	t.Helper()
	ctx, log, folder := context.Background(), slog.New(slog.DiscardHandler), t.TempDir()
	db, err := sqlite.Open(ctx, filepath.Join(folder, "index.db"), opts)
	check(t, err)
	t.Cleanup(func() { db.Close() })
	blobs, err := dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	check(t, err)
	t.Cleanup(func() { blobs.Close() })
	s, err := store.New(store.Config{MaxMessageBytes: 3 << 19}, store.Deps{Mailboxes: db.Mailboxes(), Imports: db.Imports(), Leases: db.Leases(), Blobs: blobs,
		Notify: deaf{}, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	check(t, err)
	srv := rpc.NewServer(log)
	s.Register(srv)
	conn, stop, err := rpc.Local(srv)
	check(t, err)
	t.Cleanup(stop)
	return &farm{conn, storev1.NewMailboxesClient(conn), storev1.NewImportsClient(conn), storev1.NewBodiesClient(conn)}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// importAt brings what lies at a path.
func (f *farm) importAt(t testing.TB, path string, run importer.Run) *importer.Report {
	t.Helper()
	a, err := archive.Open(path, archive.Options{})
	check(t, err)
	defer a.Close()
	run.Imports, run.Mailboxes, run.Bodies, run.Account = f.imports, f.mailboxes, f.bodies, account
	r, err := run.Import(t.Context(), a)
	check(t, err)
	r.Sum()
	return r
}

// kept is a message as the farm has it.
type kept struct {
	UID             uint32
	Flags           []string
	Received, Saved int64
	Text            string
}

// box is a mailbox as the farm has it.
type box struct {
	*storev1.Mailbox
	messages []kept
}

// boxes are all mailboxes that have messages or are not standard.
func (f *farm) boxes(t testing.TB) map[string]box {
	t.Helper()
	list, err := f.mailboxes.List(t.Context(), &storev1.ListRequest{Account: account})
	check(t, err)
	out := map[string]box{}
	for _, m := range list.Mailboxes {
		if m.Exists {
			out[m.Name] = box{m, f.messages(t, m)}
		}
	}
	return out
}

func (f *farm) messages(t testing.TB, m *storev1.Mailbox) (list []kept) {
	t.Helper()
	stream, err := f.mailboxes.Snapshot(t.Context(), &storev1.SnapshotRequest{Account: account, Mailbox: m.Id})
	check(t, err)
	var ids []uint64
	for {
		page, err := stream.Recv()
		if err == io.EOF {
			break
		}
		check(t, err)
		for _, c := range page.Chunks {
			var chunk mailbox.Chunk
			check(t, chunk.Unpack(&mailbox.Packed{FirstUID: mailbox.UID(c.FirstUid), UIDs: c.Uids, Flags: c.Flags, ModSeqs: c.ModSeqs, Emails: c.Emails, Sizes: c.Sizes,
				Received: c.Received, Saved: c.Saved}))
			for i := range chunk.Len() {
				e := chunk.At(i)
				ids = append(ids, uint64(e.Email))
				list = append(list, kept{UID: uint32(e.UID), Flags: e.Flags.Names(m.Keywords), Received: e.Received, Saved: e.Saved})
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	emails, err := f.mailboxes.Emails(t.Context(), &storev1.EmailsRequest{Account: account, Emails: ids, WithoutPartIndex: true})
	check(t, err)
	req := &storev1.OpenRequest{}
	for {
		page, err := emails.Recv()
		if err == io.EOF {
			break
		}
		check(t, err)
		for _, e := range page.Emails {
			req.Ranges = append(req.Ranges, &storev1.BodyRange{BlobId: e.BlobId, Overlay: e.Overlay, Length: -1})
		}
	}
	for len(req.Ranges) > 0 {
		n := min(len(req.Ranges), 5000)
		bodies, err := f.bodies.Open(t.Context(), &storev1.OpenRequest{Ranges: req.Ranges[:n]})
		check(t, err)
		at := len(list) - len(req.Ranges)
		for {
			p, err := bodies.Recv()
			if err == io.EOF {
				break
			}
			check(t, err)
			list[at+int(p.Range)].Text += string(p.Data)
		}
		req.Ranges = req.Ranges[n:]
	}
	return list
}
