package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/rpc"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestLedgerOverTheWire walks one remote message through both services as router, delivery and an operator do.
func TestLedgerOverTheWire(t *testing.T) {
	w := newWorld(t)
	s := &Service{deps: Deps{Mailboxes: w.db.Mailboxes()}}
	if err := s.AddLedger(LedgerConfig{}, w.part.deps); err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(slog.New(slog.DiscardHandler))
	s.Register(srv)
	lis := bufconn.Listen(1 << 20)
	go srv.Serve(lis)
	defer srv.Stop()
	conn, err := rpc.Dial("passthrough:local", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l, q := storev1.NewLedgerClient(conn), storev1.NewQueueClient(conn)

	m := w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "a@far.example")
	row := ledgertest.Remote("a@far.example")
	rec, err := l.Record(w.ctx, &storev1.RecordRequest{Messages: []*storev1.Routed{{Message: m, Recipients: []*storev1.RecipientRow{row}}}})
	if err != nil || !rec.Results[0].Recorded || len(rec.Results[0].Recipients) != 1 {
		t.Fatalf("record: got %v, %v", rec, err)
	}
	work := []*mailv1.RemoteWork{{QueueId: m.QueueId, Group: "far.example"}}
	claim, err := l.Claim(w.ctx, &storev1.ClaimRequest{Work: work, Owner: "me"})
	m.PartIndex = nil
	if err != nil || !claim.Claims[0].Claimed || !proto.Equal(claim.Claims[0].Message, m) {
		t.Fatalf("claim: got %v, %v", claim, err)
	}
	acted, err := q.Act(w.ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_HOLD, QueueIds: [][]byte{m.QueueId}})
	if err != nil || acted.Recipients != 0 {
		t.Errorf("hold while it is being sent: got %v, %v; want it left alone", acted, err)
	}
	report, err := l.Report(w.ctx, &storev1.ReportRequest{Reports: []*storev1.Report{{QueueId: m.QueueId, Owner: "me",
		Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_RELAYED, Reply: "250 2.0.0 ok", Relay: "mx.far.example"}}}}})
	if err != nil || !report.Results[0].Accepted {
		t.Fatalf("report: got %v, %v", report, err)
	}
	loaded, err := l.Load(w.ctx, &storev1.LoadRequest{QueueIds: [][]byte{m.QueueId}})
	if err != nil || loaded.Entries[0].Recipients[0].Relay != "mx.far.example" {
		t.Errorf("load: got %v, %v", loaded, err)
	}
	stream, err := q.List(w.ctx, &storev1.QueueListRequest{ForwardPath: "a@far.example"})
	if err != nil {
		t.Fatal(err)
	}
	if page, err := stream.Recv(); err != nil || len(page.Entries) != 1 {
		t.Errorf("list: got %v, %v", page, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("list: got %v, want its end", err)
	}
	audit, err := q.Audit(w.ctx, &storev1.AuditRequest{})
	if err != nil || audit.Accepted != 1 || audit.Relayed != 1 || audit.Unaccounted != 0 {
		t.Errorf("audit: got %v, %v", audit, err)
	}

	for name, call := range map[string]func() error{
		"record": func() error {
			_, err := l.Record(w.ctx, &storev1.RecordRequest{Messages: []*storev1.Routed{{}}})
			return err
		},
		"load": func() error {
			_, err := l.Load(w.ctx, &storev1.LoadRequest{QueueIds: [][]byte{{1}}})
			return err
		},
		"load too many": func() error {
			_, err := l.Load(w.ctx, &storev1.LoadRequest{QueueIds: make([][]byte, maxBatch+1)})
			return err
		},
		"claim": func() error {
			_, err := l.Claim(w.ctx, &storev1.ClaimRequest{Work: work})
			return err
		},
		"report": func() error {
			_, err := l.Report(w.ctx, &storev1.ReportRequest{Reports: []*storev1.Report{{QueueId: m.QueueId}}})
			return err
		},
		"act": func() error {
			_, err := q.Act(w.ctx, &storev1.ActRequest{})
			return err
		},
		"list": func() error {
			stream, err := q.List(w.ctx, &storev1.QueueListRequest{QueueId: []byte("short")})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v, want InvalidArgument", name, err)
		}
	}
}

// TestLargeAnswers: what is too large for one call is told in parts.
func TestLargeAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("32,000 rows: in the long suite")
	}
	w := newWorld(t)
	srv := rpc.NewServer(slog.New(slog.DiscardHandler))
	w.part.register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	l, q := storev1.NewLedgerClient(conn), storev1.NewQueueClient(conn)
	const messages, rows = 40, 800
	var ids [][]byte
	var all []*storev1.Routed
	for range messages {
		m := w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "all@example.org")
		routed := &storev1.Routed{Message: m}
		for i := range rows {
			r := ledgertest.Local(fmt.Sprintf("user%d@example.org", i), 7)
			r.Number, r.LastReply = uint32(i), strings.Repeat("x", ledger.ReplyMax)
			routed.Recipients = append(routed.Recipients, r)
		}
		ids, all = append(ids, m.QueueId), append(all, routed)
	}
	parts := 0
	for ; len(all) > 0; parts++ {
		resp, err := l.Record(w.ctx, &storev1.RecordRequest{Messages: all[:rpc.Fits(all, rpc.MaxMessage-1)]})
		if err != nil || len(resp.Results) == 0 {
			t.Fatalf("record: got %d results and %v", len(resp.GetResults()), err)
		}
		for _, r := range resp.Results {
			if len(r.Recipients) != rows {
				t.Fatalf("got %d rows", len(r.Recipients))
			}
		}
		all = all[len(resp.Results):]
	}
	if parts < 3 {
		t.Errorf("%d answers of %d octets at most", parts, maxAnswer)
	}
	got := 0
	for len(ids) > 0 {
		resp, err := l.Load(w.ctx, &storev1.LoadRequest{QueueIds: ids})
		if err != nil || len(resp.Entries) == 0 {
			t.Fatalf("load: got %d entries and %v", len(resp.GetEntries()), err)
		}
		if size := proto.Size(resp); size > maxAnswer {
			t.Errorf("an answer of %d octets", size)
		}
		for i, e := range resp.Entries {
			if string(e.Message.GetQueueId()) != string(ids[i]) || len(e.Recipients) != rows {
				t.Fatalf("entry %d is not that of its id", got+i)
			}
		}
		got, ids = got+len(resp.Entries), ids[len(resp.Entries):]
	}
	list, err := q.List(w.ctx, &storev1.QueueListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	for {
		page, err := list.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		listed += len(page.Entries)
	}
	if got != messages || listed != messages {
		t.Errorf("loaded %d and listed %d, want %d", got, listed, messages)
	}
}
