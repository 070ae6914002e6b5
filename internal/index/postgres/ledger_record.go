package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// recordMessages enters those messages that are not there, with all that belongs to them, and tells which they were. A due
// time of 0 is one that was not given.
const recordMessages = `WITH made AS (
		INSERT INTO message (queue_id, blob_id, kind, parent, accepted_ns, recorded_ns, reverse_path, message_id, recipients)
		SELECT queue_id, blob_id, kind, parent, accepted_ns, ` + clockNs + `, reverse_path, message_id, recipients
		FROM unnest($2::bytea[], $3::bytea[], $4::integer[], $5::bytea[], $6::bigint[], $7::text[], $8::text[], $9::integer[])
			AS m (queue_id, blob_id, kind, parent, accepted_ns, reverse_path, message_id, recipients)
		ON CONFLICT DO NOTHING
		RETURNING queue_id, recorded_ns
	), payloads AS (
		INSERT INTO payload (queue_id, data)
		SELECT p.queue_id, p.data FROM unnest($2::bytea[], $10::bytea[]) AS p (queue_id, data) JOIN made ON made.queue_id = p.queue_id
	), recipients AS (
		INSERT INTO recipient (queue_id, ` + recipientColumns + `)
		SELECT r.queue_id, r.number, r.forward_path, r.original, r.notify, r.orcpt, r.detail, r.state, r.destination, r.account, r.grp,
			r.generation, r.attempts, r.last_reply, r.relay,
			CASE r.due_ns WHEN 0 THEN least(made.recorded_ns + $11::bigint, nullif(r.expiry_ns, 0)) ELSE r.due_ns END,
			r.expiry_ns, made.recorded_ns, r.delay_notified
		FROM unnest($12::bytea[], $13::bigint[], $14::text[], $15::text[], $16::bigint[], $17::text[], $18::text[], $19::integer[],
			$20::integer[], $21::bigint[], $22::text[], $23::bigint[], $24::bigint[], $25::text[], $26::text[], $27::bigint[],
			$28::bigint[], $29::boolean[])
			AS r (queue_id, number, forward_path, original, notify, orcpt, detail, state, destination, account, grp,
				generation, attempts, last_reply, relay, due_ns, expiry_ns, delay_notified)
		JOIN made ON made.queue_id = r.queue_id
	), children AS (
		INSERT INTO outbox (owner, child, payload, due_ns)
		SELECT c.owner, c.child, c.payload, made.recorded_ns
		FROM unnest($30::bytea[], $31::bytea[], $32::bytea[]) AS c (owner, child, payload) JOIN made ON made.queue_id = c.owner
		ON CONFLICT DO NOTHING
	), words AS (
		INSERT INTO search (at_ns, nonce, data) SELECT max(recorded_ns), $33::bigint, $34::bytea FROM made HAVING count(*) > 0
	)
	SELECT queue_id, recorded_ns FROM made`

// standingBlobs tells what stands under ids that are there already.
const standingBlobs = `SELECT queue_id, blob_id, kind FROM message WHERE queue_id = ANY($1)`

// recordTries bounds how often Record looks again for a message that came and went while it looked.
const recordTries = 5

// errCameAndWent is a message that was there when it was to be entered and was not when it was to be read.
var errCameAndWent = errors.New("a message was removed meanwhile")

// Record enters routed messages; see ledger.Hot.
func (l *Ledger) Record(ctx context.Context, messages []*storev1.Routed) ([]*storev1.RecordResult, error) {
	r, err := newRecording(messages)
	if err != nil {
		return nil, err
	}
	args := r.args(l.clock())
	for try := 1; ; try++ {
		err := l.write(ctx, func(tx *pgdb.Tx) error {
			if err := r.write(tx, args); err != nil {
				return err
			}
			return r.noteLate(tx)
		})
		if err == nil {
			return r.results(), nil
		}
		if !errors.Is(err, errCameAndWent) || try == recordTries {
			return nil, fmt.Errorf("record %d messages: %w", len(messages), err)
		}
	}
}

// recording is a batch on its way.
type recording struct {
	messages []*storev1.Routed
	payloads [][]byte
	// enter are the places in messages of those to be entered: each id once, in the order of ids, as locks are taken.
	enter    []int
	rows     recipientArrays
	children childArrays
	words    search.Writer

	// made tells when those were recorded that this batch entered; standing and stood are what was there before.
	made     map[[16]byte]int64
	standing map[[16]byte]standingBlob
	stood    loaded
}

type standingBlob struct {
	blobID []byte
	kind   mailv1.Kind
}

// newRecording checks messages and encodes what is written of them.
func newRecording(messages []*storev1.Routed) (*recording, error) {
	r := &recording{messages: messages, payloads: make([][]byte, len(messages))}
	seen := make(map[[16]byte]bool, len(messages))
	for i, m := range messages {
		err := checkRouted(m)
		if err == nil {
			r.payloads[i], err = encodeMessage(m.Message)
		}
		if err == nil && !seen[[16]byte(m.Message.QueueId)] {
			seen[[16]byte(m.Message.QueueId)] = true
			r.enter = append(r.enter, i)
			r.words.Message(m)
			for _, row := range m.Recipients {
				r.rows.add(m.Message.QueueId, row)
			}
			err = r.children.add(m.Message.QueueId, m.Children)
		}
		if err != nil {
			return nil, fmt.Errorf("record message %x: %w", m.GetMessage().GetQueueId(), err)
		}
	}
	slices.SortFunc(r.enter, func(a, b int) int { return bytes.Compare(messages[a].Message.QueueId, messages[b].Message.QueueId) })
	return r, nil
}

// args are those of recordMessages.
func (r *recording) args(clock pgtype.Int8) []any {
	n := len(r.enter)
	ids, blobs, parents, payloads := make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
	kinds, recipients := make([]int32, n), make([]int32, n)
	accepted, reverse, messageIDs := make([]int64, n), make([]string, n), make([]string, n)
	for at, i := range r.enter {
		a, env := r.messages[i].Message, r.messages[i].Message.Envelope
		ids[at], blobs[at], payloads[at] = a.QueueId, a.BlobId, r.payloads[i]
		if len(env.Parent) > 0 {
			parents[at] = env.Parent
		}
		kinds[at], recipients[at] = int32(kindOf(env)), int32(len(env.Recipients))
		accepted[at], reverse[at], messageIDs[at] = env.AcceptedNs, plain(env.ReversePath), plain(env.MessageId)
	}
	args := []any{clock, ids, blobs, kinds, parents, accepted, reverse, messageIDs, recipients, payloads, int64(ledger.FirstDue)}
	args = append(args, r.rows.args()...)
	args = append(args, r.children.owners, r.children.ids, r.children.payloads)
	return append(args, nonce(), r.words.Data())
}

// kindOf is a message's kind; one that does not say is of the kind that is audited most strictly.
func kindOf(env *mailv1.Envelope) mailv1.Kind {
	if env.Kind == mailv1.Kind_KIND_UNSPECIFIED {
		return mailv1.Kind_KIND_ACCEPTED
	}
	return env.Kind
}

// write enters what is not there, and reads what is.
func (r *recording) write(tx *pgdb.Tx, args []any) error {
	r.made = make(map[[16]byte]int64, len(r.enter))
	rows, err := tx.Query(recordMessages, args...)
	err = eachRow(rows, err, func() error {
		var id pgtype.DriverBytes
		var recorded int64
		err := rows.Scan(&id, &recorded)
		if err == nil {
			r.made[[16]byte(id)] = recorded
		}
		return err
	})
	if err != nil || len(r.made) == len(r.enter) && len(r.enter) == len(r.messages) {
		return err
	}
	var ids [][]byte
	for _, m := range r.messages {
		ids = append(ids, m.Message.QueueId)
	}
	b := &pgx.Batch{}
	r.standing = make(map[[16]byte]standingBlob, len(ids))
	b.Queue(standingBlobs, ids).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var id []byte
			var s standingBlob
			err := rows.Scan(&id, &s.blobID, &s.kind)
			if err == nil {
				r.standing[[16]byte(id)] = s
			}
			return err
		})
	})
	r.stood.queueRecipients(b, ids)
	if err := tx.Run(b); err != nil {
		return err
	}
	for _, id := range ids {
		if r.standing[[16]byte(id)].blobID == nil {
			return errCameAndWent
		}
	}
	return nil
}

// results tells of each message what became of it.
func (r *recording) results() []*storev1.RecordResult {
	results := make([]*storev1.RecordResult, len(r.messages))
	for _, i := range r.enter {
		m := r.messages[i]
		recorded, made := r.made[[16]byte(m.Message.QueueId)]
		if !made {
			continue
		}
		for _, row := range m.Recipients {
			row.LastReply, row.ChangedNs = cut(row.LastReply), recorded
			dueColumn(row, recorded+int64(ledger.FirstDue))
		}
		results[i] = &storev1.RecordResult{Recorded: true, Recipients: m.Recipients}
	}
	for i, m := range r.messages {
		if results[i] == nil {
			results[i] = r.stands(m)
		}
	}
	return results
}

// stands is the result for a message that is there already.
func (r *recording) stands(m *storev1.Routed) *storev1.RecordResult {
	id := [16]byte(m.Message.QueueId)
	s := r.standing[id]
	bothMade := kindOf(m.Message.Envelope) == mailv1.Kind_KIND_GENERATED && s.kind == mailv1.Kind_KIND_GENERATED
	if !bytes.Equal(s.blobID, m.Message.BlobId) && !bothMade {
		return &storev1.RecordResult{Conflict: true}
	}
	return &storev1.RecordResult{Recipients: r.stood.recipients[id]}
}

// checkRouted refuses what would lose a recipient.
func checkRouted(m *storev1.Routed) error {
	a := m.GetMessage()
	if err := checkIDs(a.GetQueueId()); err != nil {
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

// dueColumn is the due time of a row in its state, and corrects r.DueNs to it. A queued row is due at its expiry at the
// latest, so that what is to be given up is looked at. With unset 0 a time that was not given stays 0.
func dueColumn(r *storev1.RecipientRow, unset int64) pgtype.Int8 {
	switch {
	case ledger.IsFinal(r.State):
		r.DueNs = 0
		return pgtype.Int8{}
	case r.State != storev1.State_STATE_QUEUED:
		r.DueNs = 0
		return pgtype.Int8{Int64: neverDue, Valid: true}
	}
	if r.DueNs <= 0 {
		r.DueNs = unset
	}
	if r.ExpiryNs > 0 {
		r.DueNs = min(r.DueNs, r.ExpiryNs)
	}
	return pgtype.Int8{Int64: r.DueNs, Valid: true}
}

// recipientArrays are new rows of recipients, column by column.
type recipientArrays struct {
	ids                                                    [][]byte
	paths, originals, orcpts, details, groups, last, relay []string
	numbers, notify, generations, attempts                 []int64
	states, destinations                                   []int32
	accounts, expiries                                     []int64
	dues                                                   []pgtype.Int8
	notified                                               []bool
}

func (c *recipientArrays) add(queueID []byte, r *storev1.RecipientRow) {
	c.ids, c.numbers = append(c.ids, queueID), append(c.numbers, int64(r.Number))
	c.paths, c.originals = append(c.paths, plain(r.ForwardPath)), append(c.originals, plain(r.Original))
	c.notify, c.orcpts, c.details = append(c.notify, int64(r.Notify)), append(c.orcpts, plain(r.Orcpt)), append(c.details, plain(r.Detail))
	c.states, c.destinations = append(c.states, int32(r.State)), append(c.destinations, int32(r.Destination))
	c.accounts, c.groups = append(c.accounts, int64(r.Account)), append(c.groups, plain(r.Group))
	c.generations, c.attempts = append(c.generations, int64(r.Generation)), append(c.attempts, int64(r.Attempts))
	c.last, c.relay = append(c.last, plain(cut(r.LastReply))), append(c.relay, plain(r.Relay))
	c.dues, c.expiries = append(c.dues, dueColumn(r, 0)), append(c.expiries, max(r.ExpiryNs, 0))
	c.notified = append(c.notified, r.DelayNotified)
}

// args are in the order of the queue id and recipientColumns, without changed_ns.
func (c *recipientArrays) args() []any {
	return []any{c.ids, c.numbers, c.paths, c.originals, c.notify, c.orcpts, c.details, c.states, c.destinations, c.accounts, c.groups,
		c.generations, c.attempts, c.last, c.relay, c.dues, c.expiries, c.notified}
}
