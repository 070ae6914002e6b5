package store_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// TestReclaim has the role's worker compact a segment of which one message in eight lives, asked for by RPC, and reads that
// message from its new place.
func TestReclaim(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	folder := t.TempDir()
	var db *sqlite.DB
	open := func() *dir.Store {
		s, err := dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	db, err := sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	before := open()
	kept := blobtest.NewMessage(1, 3000)
	kept.Meta.Kind = blob.Appended
	id := blobtest.Commit(t, before, kept)
	for i := range uint64(7) {
		blobtest.Commit(t, before, blobtest.NewMessage(2+i, 3000))
	}
	if _, err := db.Mailboxes().Append(ctx, 7, index.Inbox, []index.Message{{Blob: id, PartIndex: []byte{1}, Size: 3000, Received: time.Unix(1, 0)}}); err != nil {
		t.Fatal(err)
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	blobs := open()
	t.Cleanup(func() { blobs.Close() })
	blobs.UseLocator(db.Books())
	if err := db.Ledger().SaveCheckpoint(ctx, ledger.Checkpoint{Position: blob.Position{Incarnation: id.Incarnation, Segment: 1}, Done: true}); err != nil {
		t.Fatal(err)
	}

	s, err := store.New(store.Config{}, store.Deps{Mailboxes: db.Mailboxes(), Leases: db.Leases(), Blobs: blobs, Locate: db.Books(),
		Notify: &notices{}, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	// The role's clock is ahead of the segment by what the waits ask for.
	now := func() time.Time { return time.Now().Add(time.Hour) }
	if err := s.AddReclaim(reclaim.Config{Every: time.Second, Wait: time.Second, RestoreWindow: time.Second}, store.ReclaimDeps{
		Books: db.Books(), Ledger: db.Ledger(), Blobs: blobs, Leases: db.Leases(), Log: log, Metrics: prometheus.NewRegistry(), Now: now, Holder: "test",
	}); err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(log)
	s.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	client := storev1.NewBlobsClient(conn)
	survey, err := client.Reclaim(ctx, &storev1.ReclaimRequest{DryRun: true})
	if err != nil || survey.Dying != 1 || survey.Rewritten != int64(id.Length) || survey.Freed < 7*3000 {
		t.Errorf("dry run: %v, %v; want one dying segment, and %d octets to copy", survey, err, id.Length)
	}
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	var stat *storev1.BlobsStatResponse
	for deadline := time.Now().Add(30 * time.Second); stat.GetRemovedSegments() == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was removed: %v", stat)
		}
		if _, err := client.Reclaim(ctx, &storev1.ReclaimRequest{}); err != nil {
			t.Fatal(err)
		}
		if stat, err = client.Stat(ctx, &storev1.BlobsStatRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if stat.MovedFrames != 1 || stat.Freed < 8*3000 || stat.Rewritten != int64(id.Length) || stat.CondemnedFrames != 7 {
		t.Errorf("stat: %v", stat)
	}
	blobtest.Check(t, blobs, id, kept)
	resp, err := storev1.NewBodiesClient(conn).Locate(ctx, &storev1.LocateRequest{BlobIds: [][]byte{id.Bytes(), blob.ID{Incarnation: 1}.Bytes()}})
	if err != nil || len(resp.GetPlaces()) != 2 || len(resp.Places[0]) != blob.IDLen || len(resp.Places[1]) != 0 {
		t.Fatalf("Locate: %v, %v", resp, err)
	}
	place, err := blob.IDFrom(resp.Places[0])
	if err != nil || place == id || place.Length != id.Length {
		t.Errorf("Locate: %v, %v", place, err)
	}
}
