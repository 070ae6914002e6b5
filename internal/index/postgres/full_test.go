package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestFullDisk has the server say of every new version of a row that its disk is full, and then no longer.
func TestFullDisk(t *testing.T) {
	pg := servers.Postgres(t)
	d := connect(t, pg, postgres.Options{})
	ctx := t.Context()
	local := ledgertest.Message(time.Now(), 1, ledgertest.Local("a@example.org", 1))
	remote := ledgertest.Message(time.Now(), 2, ledgertest.Remote("b@far.example"))
	remote.Recipients[0].DueNs = 1
	remote.Children = []*mailv1.Accepted{ledgertest.Child(remote, 0)}
	recordAll(t, d.Ledger(), []*storev1.Routed{local, remote})
	pg.Admin(t, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''could not extend file''; END'`)
	tables := []string{"recipient", "message", "outbox", "chunk", "checkpoint"}
	for _, table := range tables {
		pg.Admin(t, "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON "+table+" FOR EACH ROW EXECUTE FUNCTION full_disk()")
	}
	delivery := []index.Delivery{{QueueID: envelope.QueueID(local.Message.QueueId), Account: 1, Message: message(1)}}
	calls := []struct {
		name string
		call func() error
		want error
	}{
		{"deliver", func() error { _, err := d.Mailboxes().Deliver(ctx, delivery); return err }, index.ErrFull},
		{"append", func() error {
			_, err := d.Mailboxes().Append(ctx, 1, index.Inbox, []index.Message{message(2)})
			return err
		}, index.ErrFull},
		{"record", func() error {
			_, err := d.Ledger().Record(ctx, []*storev1.Routed{ledgertest.Message(time.Now(), 3, ledgertest.Local("a@example.org", 1))})
			return err
		}, ledger.ErrFull},
		{"sweep", func() error { _, err := d.Ledger().Sweep(ctx, ledger.SweepAll, 10, time.Minute); return err }, ledger.ErrFull},
		{"claim", func() error {
			_, err := d.Ledger().Claim(ctx, &storev1.ClaimRequest{Owner: "one", Work: []*mailv1.RemoteWork{{QueueId: remote.Message.QueueId, Group: "far.example"}}})
			return err
		}, ledger.ErrFull},
		{"report", func() error {
			_, err := d.Ledger().Report(ctx, []*storev1.Report{{QueueId: remote.Message.QueueId, Owner: "one",
				Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_RELAYED, Reply: "250 ok"}}}})
			return err
		}, ledger.ErrFull},
		{"act", func() error {
			_, err := d.Ledger().Act(ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_DELETE, All: true})
			return err
		}, ledger.ErrFull},
		{"outbox", func() error { _, err := d.Ledger().TakeOutbox(ctx, 10, time.Minute); return err }, ledger.ErrFull},
		{"checkpoint", func() error {
			return d.Ledger().SaveCheckpoint(ctx, ledger.Checkpoint{Position: blob.Position{Incarnation: 1, Segment: 1}})
		}, ledger.ErrFull},
	}
	for _, tt := range calls {
		if tt.name == "report" {
			continue // it has nothing to report on before the claim
		}
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, table := range tables {
		pg.Admin(t, "DROP TRIGGER full_disk ON "+table)
	}
	for _, tt := range calls {
		if err := tt.call(); err != nil {
			t.Errorf("%s, with room again: %v", tt.name, err)
		}
	}
	state, err := stateOf(side(t, pg), delivery[0].QueueID, 0)
	if err != nil || state != storev1.State_STATE_DELIVERED {
		t.Errorf("state %v, %v; want it delivered once there is room", state, err)
	}
}
