package store_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func BenchmarkDeliverCall(b *testing.B) {
	r := start(b, store.Config{})
	msg := body(4000)
	for b.Loop() {
		b.StopTimer()
		var req storev1.DeliverRequest
		for i := range 64 {
			d := r.accept(b, uint64(1+i), msg)
			d.PartIndex = bytes.Repeat([]byte{1, 40}, 400)
			req.Deliveries = append(req.Deliveries, d)
		}
		b.StartTimer()
		if resp, err := r.Deliver(b.Context(), &req); err != nil || resp.GetResults()[63].GetStatus() != storev1.DeliverStatus_DELIVER_STATUS_DELIVERED {
			b.Fatal(resp, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*64), "µs/message")
}

func BenchmarkOpen64SmallBodies(b *testing.B) {
	r := start(b, store.Config{MaxAppend: 100})
	msg := body(4000)
	var parts []*storev1.AppendRequest
	for range 64 {
		parts = append(parts, startPart(7, "INBOX", len(msg)), dataPart(msg), endPart)
	}
	if _, err := r.append(b.Context(), parts...); err != nil {
		b.Fatal(err)
	}
	var ids []uint64
	for _, e := range r.entries(b, 7, r.list(b, 7)["INBOX"].GetId()) {
		ids = append(ids, uint64(e.Email))
	}
	var ranges []*storev1.BodyRange
	for _, e := range r.emails(b, 7, ids...) {
		ranges = append(ranges, &storev1.BodyRange{BlobId: e.GetBlobId(), Length: -1})
	}
	for b.Loop() {
		if got, err := r.read(b.Context(), ranges...); err != nil || len(got) != 64 {
			b.Fatal(len(got), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*64), "µs/body")
}

func BenchmarkSnapshotCall100000(b *testing.B) {
	r := startWith(b, store.Config{}, sqlite.Options{})
	inbox := fill(b, r.db, 100_000)
	for b.Loop() {
		stream, err := r.Snapshot(b.Context(), &storev1.SnapshotRequest{Account: 70, Mailbox: uint64(inbox)})
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := stream.Recv(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
