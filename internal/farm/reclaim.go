package farm

import (
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// addReclaim has the store give room back, where both database and blob store can.
func (f *Farm) addReclaim(s *store.Service) error {
	blobs, ok := f.infra.Blobs.(blob.Reclaimer)
	if !ok || f.infra.Books == nil {
		f.role("store").Info("room in the blob store is not given back: database or blob store cannot")
		return nil
	}
	return s.AddReclaim(f.cfg.Reclaim, store.ReclaimDeps{
		Books: f.infra.Books, Ledger: f.infra.Ledger, Blobs: blobs, Leases: f.infra.Leases,
		Log: f.role("store"), Metrics: f.infra.Metrics, Now: time.Now, Holder: f.name, Lease: f.cfg.Ledger.Lease,
	})
}

// locator is nil, and not a nil Books, where frames are never moved.
func (in *Infra) locator() blob.Locator {
	if in.Books == nil {
		return nil
	}
	return in.Books
}

func (in *Infra) referred() func(context.Context, []blob.ID) ([]bool, error) {
	if in.Books == nil {
		return nil
	}
	return in.Books.InUse
}

// useLocator tells the blob store whom to ask about frames that were moved: the database, or the store role.
func (f *Farm) useLocator() {
	blobs, ok := f.infra.Blobs.(blob.Reclaimer)
	if !ok {
		return
	}
	if f.infra.Books != nil {
		blobs.UseLocator(f.infra.Books)
	} else if c := f.peers.clients().bodies; c != nil {
		blobs.UseLocator(remoteLocator{c})
	}
}

// remoteLocator asks the store role.
type remoteLocator struct{ bodies storev1.BodiesClient }

// Locate is blob.Locator's.
func (l remoteLocator) Locate(ctx context.Context, ids []blob.ID) ([]blob.ID, error) {
	req := &storev1.LocateRequest{BlobIds: make([][]byte, len(ids))}
	for i, id := range ids {
		req.BlobIds[i] = id.Bytes()
	}
	resp, err := l.bodies.Locate(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(resp.GetPlaces()) != len(ids) {
		return nil, fmt.Errorf("%d places for %d frames", len(resp.GetPlaces()), len(ids))
	}
	places := make([]blob.ID, len(ids))
	for i, b := range resp.GetPlaces() {
		if len(b) == 0 {
			continue
		}
		if places[i], err = blob.IDFrom(b); err != nil {
			return nil, err
		}
	}
	return places, nil
}
