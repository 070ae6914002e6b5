package reclaimtest

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/reclaim"
)

var errDisk = errors.New("the disk cannot read this")

// badDisk fails at one segment.
type badDisk struct {
	blob.Reclaimer
	at blob.Position
}

func (d *badDisk) Scan(ctx context.Context, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	return d.Reclaimer.Scan(ctx, from, func(f blob.Scanned) error {
		if f.ID.Incarnation == d.at.Incarnation && f.ID.Segment == d.at.Segment {
			return errDisk
		}
		return each(f)
	})
}

// unreadableSegment has one segment that the blob store fails at, the first of many in which nothing lives: all the others
// go, and it does too once it can be read.
func unreadableSegment(t *testing.T, s Subject) {
	w := newWorld(t, s, 17)
	for range 4 {
		for range 8 {
			w.appendOne()
		}
		w.open()
	}
	w.recover()
	incarnations, err := w.blobs.Incarnations(context.Background())
	w.must("Incarnations", err)
	bad := blob.Position{Incarnation: incarnations[0].ID}
	list, err := w.blobs.Segments(context.Background(), bad.Incarnation)
	w.must("Segments", err)
	bad.Segment = list[0].Number
	registry := prometheus.NewRegistry()
	w.worker, err = reclaim.New(config, reclaim.Deps{Books: s.Books, Ledger: s.Ledger, Blobs: &badDisk{w.blobs, bad},
		Log: slog.New(slog.DiscardHandler), Metrics: registry, Now: s.Now})
	w.must("New", err)
	w.expungeAll()
	w.rest(retention + 12*time.Hour)
	w.check("with a segment that cannot be read")
	if segments, _ := w.stored(); segments != list[0].Bytes {
		t.Errorf("%d octets are left in segments, want the %d of the one that cannot be read", segments, list[0].Bytes)
	}
	if n := gauge(t, registry, "mailfarm_reclaim_unreadable_segments"); n != 1 {
		t.Errorf("the metric tells of %v segments, want 1", n)
	}
	w.checkGivenBack()
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric is called %s", name)
	return 0
}
