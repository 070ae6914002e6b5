package store_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// wakes tells of every notice.
type wakes chan struct{}

func (w wakes) Notify(string, []byte) error {
	select {
	case w <- struct{}{}:
	default:
	}
	return nil
}

// TestQuotaIsTold has an account pass a level, and reads the message about it.
func TestQuotaIsTold(t *testing.T) {
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	folder := t.TempDir()
	db, err := sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{QuotaMessages: 10, QuotaLevels: []int{80, 95}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	blobs, err := dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	woken := make(wakes, 1)
	s, err := store.New(store.Config{}, store.Deps{Mailboxes: db.Mailboxes(), Quotas: db.Mailboxes(), Leases: db.Leases(), Blobs: blobs,
		Notify: woken, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddQuotaNotices(store.QuotaDeps{Leases: db.Leases(), Log: log, Hostname: "mx.example.org", Holder: "test"}); err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(log)
	s.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	r := &role{MailboxesClient: storev1.NewMailboxesClient(conn), bodies: storev1.NewBodiesClient(conn), db: db, blobs: blobs}
	q := storev1.NewQuotasClient(conn)

	text := body(500)
	var parts []*storev1.AppendRequest
	for range 8 {
		parts = append(parts, startPart(7, "INBOX", len(text)), dataPart(text), endPart)
	}
	if _, err := r.append(ctx, parts...); err != nil {
		t.Fatal(err)
	}
	<-woken
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	<-woken // the message was filed
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	inbox := r.list(t, 7)["INBOX"]
	entries := r.entries(t, 7, inbox.GetId())
	if len(entries) != 9 {
		t.Fatalf("%d messages", len(entries))
	}
	e := r.emails(t, 7, uint64(entries[8].Email))[0]
	got, err := r.read(ctx, &storev1.BodyRange{BlobId: e.GetBlobId(), Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Subject: Your mailbox is 80 % full\r\n", "From: Mail system <postmaster@mx.example.org>\r\n",
		"Auto-Submitted: auto-generated\r\n", "Messages: 8 of 10\r\n"} {
		if !strings.Contains(string(got[0]), want) {
			t.Errorf("no %q in\n%s", want, got[0])
		}
	}

	// A full account is told of at RCPT, and another is not.
	if _, err := r.append(ctx, parts[:3]...); err != nil {
		t.Fatal(err)
	}
	full, err := q.Full(ctx, &storev1.FullRequest{Accounts: []uint64{9, 7}})
	if err != nil || len(full.GetFull()) != 2 || full.GetFull()[0] || !full.GetFull()[1] {
		t.Errorf("Full: %v, %v", full, err)
	}
	_, err = r.append(ctx, parts[:3]...)
	wantCode(t, "Append to a full account", err, codes.ResourceExhausted)
	_, err = q.SetQuota(ctx, &storev1.SetQuotaRequest{Account: 7, Limits: &storev1.QuotaLimits{Messages: -2}})
	wantCode(t, "Set of a negative limit", err, codes.InvalidArgument)
	_, err = q.GetQuota(ctx, &storev1.GetQuotaRequest{Account: 7, Actor: 8})
	wantCode(t, "Get by another", err, codes.NotFound)
	if _, err := q.SetQuota(ctx, &storev1.SetQuotaRequest{Account: 7, Limits: &storev1.QuotaLimits{Messages: 20}}); err != nil {
		t.Fatal(err)
	}
	if resp, err := q.GetQuota(ctx, &storev1.GetQuotaRequest{Account: 7}); err != nil || resp.GetRoots()[0].GetLimits().GetMessages() != 20 || resp.GetRoots()[0].GetMessages() != 10 {
		t.Errorf("Get: %v, %v", resp, err)
	}
	page, err := q.ListQuotas(ctx, &storev1.ListQuotasRequest{})
	if err != nil || len(page.GetAccounts()) != 1 || page.GetAccounts()[0].GetAccount() != 7 {
		t.Errorf("ListQuotas: %v, %v", page, err)
	}
}
