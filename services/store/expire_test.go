package store_test

import (
	"io"
	"testing"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// TestExpirePassesOver has an account fail that comes before another.
func TestExpirePassesOver(t *testing.T) {
	r := start(t, store.Config{Expire: []store.ExpireRule{{Folder: "INBOX", LargerThan: 100}}})
	for account := uint64(1); account <= 2; account++ {
		b := body(500)
		if _, err := r.append(t.Context(), startPart(account, "INBOX", len(b)), dataPart(b), endPart); err != nil {
			t.Fatal(err)
		}
	}
	r.spoil(t, "UPDATE chunk SET uids = x'ff' WHERE account = 1")
	stream, err := r.retention.Expire(t.Context(), &storev1.ExpireRequest{})
	var done []uint64
	for err == nil {
		var resp *storev1.ExpireResponse
		if resp, err = stream.Recv(); err == nil {
			done = append(done, resp.GetAccount())
		}
	}
	if err == io.EOF || len(done) != 1 || done[0] != 2 {
		t.Errorf("expired accounts %v, %v; want 2, and what failed of 1", done, err)
	}
	if n := r.list(t, 2)["INBOX"].GetMessages(); n != 0 {
		t.Errorf("account 2 has %d messages", n)
	}
}
