package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Record enters routed messages; see ledger.Hot.
func (l *Ledger) Record(ctx context.Context, messages []*storev1.Routed) ([]*storev1.RecordResult, error) {
	payloads := make([][]byte, len(messages))
	var words search.Writer
	for i, m := range messages {
		err := checkRouted(m)
		if err == nil {
			payloads[i], err = encodeMessage(m.Message)
		}
		if err != nil {
			return nil, fmt.Errorf("record message %x: %w", m.GetMessage().GetQueueId(), err)
		}
		words.Message(m)
	}
	results := make([]*storev1.RecordResult, len(messages))
	err := l.write(ctx, func(tx *sqlitedb.Tx) (err error) {
		now := l.clock()
		some := false
		var late [][]byte
		for i, m := range messages {
			if results[i], err = recordMessage(tx, m, payloads[i], now); err != nil {
				return fmt.Errorf("record message %x: %w", m.Message.QueueId, err)
			}
			if !results[i].Recorded {
				continue
			}
			some = true
			if _, changed := ledger.ChangedHour(envelope.QueueID(m.Message.QueueId), time.Unix(0, now)); changed {
				late = append(late, m.Message.QueueId)
			}
		}
		if !some {
			return nil
		}
		if err := changeHours(tx, late); err != nil {
			return err
		}
		return putSearch(tx, words.Data(), now)
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// checkRouted refuses what would lose a recipient.
func checkRouted(m *storev1.Routed) error {
	a := m.GetMessage()
	if err := checkIDs([][]byte{a.GetQueueId()}); err != nil {
		return err
	}
	if len(a.BlobId) != blob.IDLen || a.Envelope == nil || len(m.Recipients) == 0 {
		return fmt.Errorf("%w: blob id of %d octets, %d recipients, envelope %t", ledger.ErrInvalid, len(a.BlobId), len(m.Recipients), a.Envelope != nil)
	}
	if p := a.Envelope.Parent; len(p) != 0 && len(p) != 16 {
		return fmt.Errorf("%w: parent id of %d octets", ledger.ErrInvalid, len(p))
	}
	have := make(map[uint32]bool, len(m.Recipients))
	for _, r := range m.Recipients {
		if have[r.Number] {
			return fmt.Errorf("%w: recipient %d twice", ledger.ErrInvalid, r.Number)
		}
		have[r.Number] = true
		if err := checkRecipient(r); err != nil {
			return err
		}
	}
	for _, r := range a.Envelope.Recipients {
		if !have[r.Number] {
			return fmt.Errorf("%w: no row for recipient %d", ledger.ErrInvalid, r.Number)
		}
	}
	for _, c := range m.Children {
		if err := checkIDs([][]byte{c.GetQueueId()}); err != nil {
			return err
		}
	}
	return nil
}

func checkRecipient(r *storev1.RecipientRow) error {
	if r.State <= storev1.State_STATE_UNSPECIFIED || r.State > storev1.State_STATE_DEAD {
		return fmt.Errorf("%w: recipient %d in state %d", ledger.ErrInvalid, r.Number, r.State)
	}
	if (r.State == storev1.State_STATE_QUEUED || r.State == storev1.State_STATE_HELD) && !hasPlace(r) {
		return fmt.Errorf("%w: recipient %d waits for delivery to nowhere", ledger.ErrInvalid, r.Number)
	}
	return nil
}

// hasPlace tells whether a sweep could hint the row.
func hasPlace(r *storev1.RecipientRow) bool {
	return r.Destination == storev1.Destination_DESTINATION_LOCAL && r.Account != 0 ||
		r.Destination == storev1.Destination_DESTINATION_REMOTE && r.Group != ""
}

func recordMessage(tx *sqlitedb.Tx, m *storev1.Routed, payload []byte, now int64) (*storev1.RecordResult, error) {
	a, env := m.Message, m.Message.Envelope
	kind := env.Kind
	if kind == mailv1.Kind_KIND_UNSPECIFIED {
		kind = mailv1.Kind_KIND_ACCEPTED // what is audited most strictly
	}
	var parent any
	if len(env.Parent) > 0 {
		parent = env.Parent
	}
	n, err := tx.Exec(`INSERT INTO message (queue_id, blob_id, kind, parent, accepted_ns, recorded_ns, reverse_path, message_id, recipients)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		a.QueueId, a.BlobId, int64(kind), parent, env.AcceptedNs, now, env.ReversePath, env.MessageId, len(env.Recipients))
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return standing(tx, a, kind)
	}
	if _, err := tx.Exec("INSERT INTO payload (queue_id, data) VALUES (?, ?)", a.QueueId, payload); err != nil {
		return nil, err
	}
	for _, r := range m.Recipients {
		if err := insertRecipient(tx, a.QueueId, r, now); err != nil {
			return nil, fmt.Errorf("recipient %d: %w", r.Number, err)
		}
	}
	if err := putOutbox(tx, a.QueueId, m.Children, now); err != nil {
		return nil, err
	}
	return &storev1.RecordResult{Recorded: true, Recipients: m.Recipients}, nil
}

// standing is the result for a message that is there already.
func standing(tx *sqlitedb.Tx, a *mailv1.Accepted, kind mailv1.Kind) (*storev1.RecordResult, error) {
	var blobID []byte
	var stored mailv1.Kind
	if err := tx.QueryRow("SELECT blob_id, kind FROM message WHERE queue_id = ?", a.QueueId).Scan(&blobID, &stored); err != nil {
		return nil, err
	}
	bothMade := kind == mailv1.Kind_KIND_GENERATED && stored == mailv1.Kind_KIND_GENERATED
	if !bytes.Equal(blobID, a.BlobId) && !bothMade {
		return &storev1.RecordResult{Conflict: true}, nil
	}
	entries, err := recipientsOf(tx, [][]byte{a.QueueId})
	if err != nil {
		return nil, err
	}
	return &storev1.RecordResult{Recipients: entries[[16]byte(a.QueueId)]}, nil
}

// insertRecipient adds a row, and completes r to what stands.
func insertRecipient(tx *sqlitedb.Tx, queueID []byte, r *storev1.RecipientRow, now int64) error {
	r.LastReply, r.ChangedNs = cut(r.LastReply), now
	due := dueColumn(r, now+int64(ledger.FirstDue))
	_, err := tx.Exec(`INSERT INTO recipient (queue_id, `+recipientColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		queueID, r.Number, r.ForwardPath, r.Original, r.Notify, r.Orcpt, r.Detail, int64(r.State), int64(r.Destination),
		int64(r.Account), r.Group, r.Generation, r.Attempts, r.LastReply, r.Relay, due, r.ExpiryNs, now, r.DelayNotified)
	return err
}

// dueColumn is the due time of a row in its state, and corrects r.DueNs to it. A queued row is due at its expiry at the
// latest, so that what is to be given up is looked at.
func dueColumn(r *storev1.RecipientRow, unset int64) any {
	switch {
	case ledger.IsFinal(r.State):
		r.DueNs = 0
		return nil
	case r.State != storev1.State_STATE_QUEUED:
		r.DueNs = 0
		return int64(neverDue)
	}
	if r.DueNs <= 0 {
		r.DueNs = unset
	}
	if r.ExpiryNs > 0 {
		r.DueNs = min(r.DueNs, r.ExpiryNs)
	}
	return r.DueNs
}
