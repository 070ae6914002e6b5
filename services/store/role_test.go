package store_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/rpc"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// quota is how many messages an account has at most.
const quota = 10_000

// notices takes what is published.
type notices struct {
	mu   sync.Mutex
	list []*mailv1.MailboxChanged
	fail error
}

func (n *notices) Notify(subject string, payload []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var c mailv1.MailboxChanged
	if err := proto.Unmarshal(payload, &c); err != nil {
		return err
	}
	if want := fmt.Sprintf("mailbox.changed.%d", c.GetAccount()); subject != want {
		return fmt.Errorf("subject %s, want %s", subject, want)
	}
	n.list = append(n.list, &c)
	return n.fail
}

// take gives what came since the last call.
func (n *notices) take() []*mailv1.MailboxChanged {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// role is the store over a real database and blob directory, spoken to by gRPC.
type role struct {
	storev1.MailboxesClient
	bodies  storev1.BodiesClient
	leases  storev1.LeasesClient
	sharing storev1.SharingClient
	notes   storev1.AnnotationsClient
	imports storev1.ImportsClient
	people  *fakePeople
	// Of AddRetention.
	retention storev1.RetentionClient
	checks    storev1.ChecksClient
	db        *sqlite.DB
	blobs     blob.Store
	notices   *notices
}

func start(t testing.TB, cfg store.Config) *role {
	t.Helper()
	return startWith(t, cfg, sqlite.Options{QuotaMessages: quota})
}

func startWith(t testing.TB, cfg store.Config, opts sqlite.Options) *role {
	t.Helper()
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	folder := t.TempDir()
	db, err := sqlite.Open(ctx, filepath.Join(folder, "index.db"), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	blobs, err := dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	r := &role{db: db, blobs: blobs, notices: &notices{}, people: &fakePeople{}}
	s, err := store.New(cfg, store.Deps{Mailboxes: db.Mailboxes(), Quotas: db.Mailboxes(), Annotations: db.Annotations(), Imports: db.Imports(), Leases: db.Leases(), Blobs: blobs, Notify: r.notices, Log: log,
		Sharing: db.Sharing(), Directory: r.people,
		Metrics: prometheus.NewRegistry(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddRetention(store.RetentionDeps{Retention: db.Retention(), Check: db.Retention(), Leases: db.Leases(), Log: log, Now: time.Now, Holder: "a"}); err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(log)
	s.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	r.retention, r.checks = storev1.NewRetentionClient(conn), storev1.NewChecksClient(conn)
	r.sharing, r.notes = storev1.NewSharingClient(conn), storev1.NewAnnotationsClient(conn)
	r.imports = storev1.NewImportsClient(conn)
	r.MailboxesClient, r.bodies, r.leases = storev1.NewMailboxesClient(conn), storev1.NewBodiesClient(conn), storev1.NewLeasesClient(conn)
	return r
}

// body is a message of about size octets.
func body(size int) []byte {
	b := []byte("Subject: test\r\nMessage-ID: <1@example.org>\r\n\r\n")
	for len(b) < size {
		b = fmt.Appendf(b, "line %d of the text of this message\r\n", rand.Uint32())
	}
	return b
}

// part is what Append streams.
func startPart(account uint64, mailbox string, size int, flags ...string) *storev1.AppendRequest {
	return &storev1.AppendRequest{Part: &storev1.AppendRequest_Start{Start: &storev1.AppendStart{
		Account: account, Mailbox: mailbox, Size: int64(size), Flags: flags, ReceivedNs: 1_700_000_000_000_000_000}}}
}

func dataPart(b []byte) *storev1.AppendRequest {
	return &storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: b}}
}

var endPart = &storev1.AppendRequest{Part: &storev1.AppendRequest_End{End: true}}

func (r *role) append(ctx context.Context, parts ...*storev1.AppendRequest) (*storev1.AppendResponse, error) {
	stream, err := r.Append(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if err := stream.Send(p); err != nil {
			break // CloseAndRecv tells why
		}
	}
	return stream.CloseAndRecv()
}

func (r *role) list(t testing.TB, account uint64) map[string]*storev1.Mailbox {
	t.Helper()
	resp, err := r.List(t.Context(), &storev1.ListRequest{Account: account})
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]*storev1.Mailbox{}
	for _, m := range resp.GetMailboxes() {
		list[m.GetName()] = m
	}
	return list
}

// entries takes a whole snapshot.
func (r *role) entries(t testing.TB, account, box uint64) (list []mailbox.Entry) {
	t.Helper()
	stream, err := r.Snapshot(t.Context(), &storev1.SnapshotRequest{Account: account, Mailbox: box})
	if err != nil {
		t.Fatal(err)
	}
	for {
		page, err := stream.Recv()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.GetChunks() {
			var chunk mailbox.Chunk
			if err := chunk.Unpack(&mailbox.Packed{FirstUID: mailbox.UID(c.GetFirstUid()), MaxModSeq: mailbox.ModSeq(c.GetMaxModSeq()), UIDs: c.GetUids(),
				Flags: c.GetFlags(), ModSeqs: c.GetModSeqs(), Emails: c.GetEmails(), Sizes: c.GetSizes(), Received: c.GetReceived(), Saved: c.GetSaved()}); err != nil {
				t.Fatal(err)
			}
			for i := range chunk.Len() {
				list = append(list, chunk.At(i))
			}
		}
	}
}

func (r *role) emails(t testing.TB, account uint64, ids ...uint64) (list []*storev1.Email) {
	t.Helper()
	stream, err := r.Emails(t.Context(), &storev1.EmailsRequest{Account: account, Emails: ids})
	if err != nil {
		t.Fatal(err)
	}
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, resp.GetEmails()...)
	}
}

// read reads ranges; one result per range, which must come in order and in pieces of at most 64 KiB.
func (r *role) read(ctx context.Context, ranges ...*storev1.BodyRange) ([][]byte, error) {
	stream, err := r.bodies.Open(ctx, &storev1.OpenRequest{Ranges: ranges})
	if err != nil {
		return nil, err
	}
	var got [][]byte
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if len(resp.GetData()) > 64<<10 {
			return nil, fmt.Errorf("piece of %d octets", len(resp.GetData()))
		}
		switch int(resp.GetRange()) {
		case len(got):
			got = append(got, resp.GetData())
		case len(got) - 1:
			got[len(got)-1] = append(got[len(got)-1], resp.GetData()...)
		default:
			return nil, fmt.Errorf("range %d behind %d", resp.GetRange(), len(got)-1)
		}
	}
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: got %v (%v), want %v", what, got, err, want)
	}
}

// accept stores a body as ingress does and routes it to account.
func (r *role) accept(t testing.TB, account uint64, b []byte) *storev1.Delivery {
	t.Helper()
	id := envelope.NewQueueID(time.Now())
	var x message.Indexer
	x.Write(b)
	ix, _ := x.Finish()
	env := &mailv1.Envelope{QueueId: id[:], Kind: mailv1.Kind_KIND_ACCEPTED, Size: int64(len(b)), AcceptedNs: time.Now().UnixNano(),
		Recipients: []*mailv1.Recipient{{ForwardPath: "a@example.org"}}}
	tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: env, PartIndex: ix.Encode(nil)})
	if err != nil {
		t.Fatal(err)
	}
	draft, err := r.blobs.Create(blob.ID{})
	if err != nil {
		t.Fatal(err)
	}
	draft.Write(b)
	at, err := draft.Commit(t.Context(), blob.Meta{Kind: blob.Accepted, QueueID: id, Tail: tail})
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.db.Ledger().Record(t.Context(), []*storev1.Routed{{
		Message: &mailv1.Accepted{QueueId: id[:], BlobId: at.Bytes(), Envelope: env},
		Recipients: []*storev1.RecipientRow{{ForwardPath: "a@example.org", State: storev1.State_STATE_QUEUED,
			Destination: storev1.Destination_DESTINATION_LOCAL, Account: account, ExpiryNs: time.Now().Add(time.Hour).UnixNano()}},
	}})
	if err != nil || !results[0].GetRecorded() {
		t.Fatalf("Record: %v, %v", results, err)
	}
	return &storev1.Delivery{QueueId: id[:], Account: account, BlobId: at.Bytes(), Size: int64(len(b)), ReceivedNs: 1_700_000_000_000_000_000,
		Generation: results[0].GetRecipients()[0].GetGeneration()}
}

// fill puts messages without bodies in the INBOX of account 70.
func fill(b testing.TB, db *sqlite.DB, messages int) mailbox.ID {
	b.Helper()
	var box mailbox.ID
	for range messages / 5000 {
		list := make([]index.Message, 5000)
		for i := range list {
			list[i] = index.Message{Blob: blob.ID{Incarnation: 1, Length: 100}, Size: 4000, Received: time.Unix(1_700_000_000, 0)}
		}
		r, err := db.Mailboxes().Append(b.Context(), 70, "INBOX", list)
		if err != nil {
			b.Fatal(err)
		}
		box = r.Mailbox
	}
	return box
}
