package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ReclaimDeps is what giving room back needs.
type ReclaimDeps struct {
	Books   reclaim.Books
	Ledger  reclaim.Ledger
	Blobs   blob.Reclaimer
	Leases  index.Leases
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Holder names this process in leases, unlike any other.
	Holder string
	// Lease is how long a process that died keeps the others from the work. Default 15s.
	Lease time.Duration
}

const (
	// reclaimEvery is how often it is looked whether something is due; a look that finds nothing reads three rows.
	reclaimEvery = 10 * time.Second
	// purgeEvery is how often it is looked for what was expunged long ago, and purgeAccounts for how many accounts at once.
	purgeEvery    = 10 * time.Minute
	purgeAccounts = 32
)

// AddReclaim adds the workers that give room back, and the service that tells about it. It is called before Register and Run.
func (s *Service) AddReclaim(cfg reclaim.Config, deps ReclaimDeps) error {
	if deps.Holder == "" {
		return errors.New("configure store: no name for leases")
	}
	if deps.Lease == 0 {
		deps.Lease = 15 * time.Second
	}
	w, err := reclaim.New(cfg, reclaim.Deps{
		Books: deps.Books, Ledger: deps.Ledger, Blobs: deps.Blobs, Log: deps.Log, Metrics: deps.Metrics, Now: deps.Now,
	})
	if err != nil {
		return fmt.Errorf("configure store: %w", err)
	}
	p := &purger{books: deps.Books, retention: s.cfg.ExpungedRetention, now: deps.Now, log: deps.Log}
	part := &ledgerPart{cfg: LedgerConfig{Lease: deps.Lease}, deps: LedgerDeps{Leases: deps.Leases, Holder: deps.Holder, Log: deps.Log}}
	room := part.task("reclaim", reclaimEvery, w.Step)
	purge := part.task("purge", purgeEvery, p.step)
	meter, _ := deps.Blobs.(blob.Meter)
	s.servers = append(s.servers, func(r grpc.ServiceRegistrar) {
		storev1.RegisterBlobsServer(r, &blobs{worker: w, meter: meter, wake: func() { s.wakeRetention(); purge.wakeUp(); room.wakeUp() }})
	})
	s.workers = append(s.workers, func(ctx context.Context) error {
		var wg sync.WaitGroup
		wg.Go(func() { room.run(ctx) })
		wg.Go(func() { purge.run(ctx) })
		wg.Wait()
		return nil
	})
	return nil
}

// purger ends the retention of what was expunged.
type purger struct {
	books     reclaim.Books
	retention time.Duration
	now       func() time.Time
	log       *slog.Logger
}

// step purges some accounts. One is due when its oldest tombstone is a fourteenth older than it need be, and then all of
// its tombstones go that may: it is looked through once a day, not for every message.
func (p *purger) step(ctx context.Context) (more bool, err error) {
	before := p.now().Add(-p.retention)
	purged, more, err := p.books.Purge(ctx, before.Add(-p.retention/14), before, purgeAccounts)
	if purged.Emails > 0 {
		p.log.DebugContext(ctx, "expunged messages purged", slog.Int("accounts", purged.Accounts), slog.Int("emails", purged.Emails))
	}
	if more {
		return true, nil // the last step tells of what fails
	}
	return false, err
}

// blobs serves storev1.Blobs.
type blobs struct {
	storev1.UnimplementedBlobsServer
	worker *reclaim.Worker
	meter  blob.Meter // nil where the store counts no traffic
	wake   func()
}

func spaceOf(t reclaim.Totals) *storev1.BlobSpace {
	return &storev1.BlobSpace{Incarnations: t.Incarnations, Segments: t.Segments, Open: t.Open, Live: t.Live, Dead: t.Dead,
		LiveBodies: t.LiveBodies, DeadBodies: t.DeadBodies}
}

// Stat tells what is known of the room of the blob store.
func (b *blobs) Stat(ctx context.Context, _ *storev1.BlobsStatRequest) (*storev1.BlobsStatResponse, error) {
	s, err := b.worker.Stat(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	var traffic *storev1.BlobTraffic
	if b.meter != nil {
		t, err := b.meter.Traffic(ctx)
		if err != nil {
			return nil, toStatus(err)
		}
		traffic = &storev1.BlobTraffic{Processes: int64(t.Processes), Messages: t.Messages, Requests: t.Requests, Errors: t.Errors,
			Sent: t.Sent, Received: t.Received}
	}
	return &storev1.BlobsStatResponse{
		Traffic: traffic,
		Space:   spaceOf(s.Last), BeganNs: nanos(s.Began), EndedNs: nanos(s.Ended), Freed: s.Ever.Freed, Rewritten: s.Ever.Rewritten,
		RemovedSegments: s.Ever.Segments, RemovedBodies: s.Ever.Bodies, MovedFrames: s.Ever.Moved, CondemnedFrames: s.Ever.Condemned,
		PardonedFrames: s.Ever.Pardon, WaitingBodies: int64(s.InHand[reclaim.Bodies]), WaitingDead: int64(s.InHand[reclaim.Dead]),
		WaitingEmpty: int64(s.InHand[reclaim.Empty]), Stuck: int64(s.InHand[reclaim.Stuck]), Gaps: int64(s.Gaps),
	}, nil
}

// Reclaim asks for a round, and for what was expunged long ago to be purged, or with dry_run tells what one would do.
func (b *blobs) Reclaim(ctx context.Context, req *storev1.ReclaimRequest) (*storev1.ReclaimResponse, error) {
	if !req.GetDryRun() {
		if err := b.worker.Ask(ctx); err != nil {
			return nil, toStatus(err)
		}
		b.wake()
		return &storev1.ReclaimResponse{}, nil
	}
	s, err := b.worker.Survey(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &storev1.ReclaimResponse{Space: spaceOf(s.Totals), Dying: s.Dying, DeadBodies: s.Bodies, Freed: s.Freed, Rewritten: s.Rewritten}, nil
}

// nanos is a time as the contract has it: 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// maxLocate is how many frames one Locate may ask for.
const maxLocate = 1000

// Locate tells where frames lie that were moved.
func (s *bodies) Locate(ctx context.Context, req *storev1.LocateRequest) (*storev1.LocateResponse, error) {
	if len(req.GetBlobIds()) > maxLocate {
		return nil, invalid("%d frames, more than %d", len(req.GetBlobIds()), maxLocate)
	}
	resp := &storev1.LocateResponse{Places: make([][]byte, len(req.GetBlobIds()))}
	if s.deps.Locate == nil {
		return resp, nil
	}
	ids := make([]blob.ID, len(req.GetBlobIds()))
	for i, b := range req.GetBlobIds() {
		var err error
		if ids[i], err = blob.IDFrom(b); err != nil {
			return nil, invalid("frame %d: %v", i, err)
		}
	}
	places, err := s.deps.Locate.Locate(ctx, ids)
	if err != nil {
		return nil, toStatus(err)
	}
	for i, p := range places {
		if !p.IsZero() {
			resp.Places[i] = p.Bytes()
		}
	}
	return resp, nil
}
