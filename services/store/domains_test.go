package store_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// roleAliases has postmaster@example.org as an alias of an alias of account 9.
type roleAliases struct{}

func (roleAliases) Resolve(_ context.Context, in *directoryv1.ResolveRequest, _ ...grpc.CallOption) (*directoryv1.ResolveResponse, error) {
	resp := &directoryv1.ResolveResponse{}
	for _, address := range in.GetAddresses() {
		r := &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_UNKNOWN}
		switch address {
		case "postmaster@example.org":
			r = &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_ALIAS, Targets: []string{"far@elsewhere.example", "admin@example.org"}}
		case "admin@example.org":
			r = &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_ALIAS, Targets: []string{"user9@example.org"}}
		case "user9@example.org":
			r = &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_ACCOUNT, Account: 9}
		}
		resp.Resolutions = append(resp.Resolutions, r)
	}
	return resp, nil
}

// TestDomainQuota fills a domain from each door of the store, and has its postmaster told.
func TestDomainQuota(t *testing.T) {
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	folder := t.TempDir()
	db, err := sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{QuotaLevels: []int{80, 95}})
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
	s, err := store.New(store.Config{}, store.Deps{Mailboxes: db.Mailboxes(), Quotas: db.Mailboxes(), Domains: db.Domains(), Imports: db.Imports(), Leases: db.Leases(),
		Blobs: blobs, Notify: woken, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now, Sharing: db.Sharing(), Directory: &fakePeople{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddQuotaNotices(store.QuotaDeps{Leases: db.Leases(), Log: log, Hostname: "mx.example.org", Holder: "test", Resolve: roleAliases{}}); err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(log)
	s.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	r := &role{MailboxesClient: storev1.NewMailboxesClient(conn), bodies: storev1.NewBodiesClient(conn), sharing: storev1.NewSharingClient(conn), db: db, blobs: blobs}
	q := storev1.NewQuotasClient(conn)
	text := body(500)
	put := func(account uint64, n int) error {
		var parts []*storev1.AppendRequest
		for range n {
			parts = append(parts, startPart(account, "INBOX", len(text)), dataPart(text), endPart)
		}
		_, err := r.append(ctx, parts...)
		return err
	}
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	domain := func() *storev1.DomainQuota {
		t.Helper()
		resp, err := q.ListDomainQuotas(ctx, &storev1.ListDomainQuotasRequest{})
		if err != nil || len(resp.GetDomains()) != 1 {
			t.Fatalf("ListDomainQuotas: %v, %v", resp, err)
		}
		return resp.GetDomains()[0]
	}

	fine(put(7, 3)) // before there are limits
	_, err = q.SetDomainQuota(ctx, &storev1.SetDomainQuotaRequest{Domain: "a@example.org"})
	wantCode(t, "limits of an address", err, codes.InvalidArgument)
	_, err = q.SetDomainQuota(ctx, &storev1.SetDomainQuotaRequest{Domain: "example.org", Limits: &storev1.QuotaLimits{Size: -2}})
	wantCode(t, "a negative limit", err, codes.InvalidArgument)
	set, err := q.SetDomainQuota(ctx, &storev1.SetDomainQuotaRequest{Domain: "Example.org", Limits: &storev1.QuotaLimits{Messages: 10, Size: -1},
		Each: &storev1.QuotaLimits{Messages: 6}})
	fine(err)
	if d := domain(); set.GetPlaced() != 1 || d.GetDomain() != "example.org" || d.GetAccounts() != 1 || d.GetMessages() != 3 || d.GetLimits().GetSize() != 0 {
		t.Errorf("placed %d; %v", set.GetPlaced(), d)
	}
	// An account that is new counts from its first message on; one that the directory does not know does not.
	fine(put(8, 6))
	fine(put(13, 20))
	wantCode(t, "more than each account may have", put(8, 1), codes.ResourceExhausted)
	fine(put(7, 1))
	if d := domain(); d.GetAccounts() != 2 || d.GetMessages() != 10 {
		t.Errorf("%v", d)
	}
	full, err := q.Full(ctx, &storev1.FullRequest{Accounts: []uint64{7, 13, 20}})
	if err != nil || len(full.GetFull()) != 3 || !full.GetFull()[0] || full.GetFull()[1] || !full.GetFull()[2] {
		t.Errorf("Full of one that has room, one of no domain, and one that is new: %v, %v", full, err)
	}
	wantCode(t, "APPEND", put(7, 1), codes.ResourceExhausted)
	inbox := r.list(t, 7)["INBOX"]
	_, err = r.Copy(ctx, &storev1.CopyRequest{Account: 7, Mailbox: inbox.GetId(), Uids: everyUID, Target: "Sent"})
	wantCode(t, "COPY", err, codes.ResourceExhausted)

	// Its postmaster reads of it.
	for len(woken) > 0 {
		<-woken
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	for r.list(t, 9)["INBOX"].GetMessages() == 0 {
		<-woken
	}
	cancel()
	fine(<-done)
	box := r.list(t, 9)["INBOX"]
	entries := r.entries(t, 9, box.GetId())
	e := r.emails(t, 9, uint64(entries[0].Email))[0]
	got, err := r.read(ctx, &storev1.BodyRange{BlobId: e.GetBlobId(), Length: -1})
	fine(err)
	for _, want := range []string{"Subject: The accounts of example.org use 95 % of their room\r\n", "Messages: 10 of 10\r\n"} {
		if len(entries) != 1 || !strings.Contains(string(got[0]), want) {
			t.Errorf("%d letters, no %q in\n%s", len(entries), want, got[0])
		}
	}
	if d := domain(); d.GetLevel() != 95 {
		t.Errorf("%v", d)
	}
	placed, err := q.PlaceAccounts(ctx, &storev1.PlaceAccountsRequest{})
	if err != nil || placed.GetAccounts() < 4 {
		t.Errorf("PlaceAccounts: %v, %v", placed, err)
	}
	if _, err := q.SetDomainQuota(ctx, &storev1.SetDomainQuotaRequest{Domain: "example.org"}); err != nil {
		t.Error(err)
	}
	fine(put(7, 1))
}
