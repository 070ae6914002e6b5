package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// actBatch is how many messages one transaction acts on, so that an action on all of them lets others in between.
const actBatch = 256

// deletedReply is what stays on record of a recipient that an operator deleted.
const deletedReply = "250 2.0.0 deleted by an operator"

// Which rows an action may concern: those of $2, with the address $3 where it is not empty. Rows under a running claim are
// left alone: their attempt may have its final dot behind it.
const (
	onAddress = ` AND ($3 = '' OR lower(forward_path) = lower($3::text COLLATE "C"))`
	actOn     = ` AND queue_id = ANY($2)` + onAddress + ` AND (claim_owner = '' OR claim_ns <= ` + clockNs + `)`
)

// actions are the statements behind the actions.
var actions = map[storev1.Action]string{
	storev1.Action_ACTION_RETRY: `UPDATE recipient SET changed_ns = ` + clockNs + `, due_ns = ` + clockNs + `, state = 1
		WHERE state IN (1, 9) AND destination IN (1, 2)` + actOn,
	storev1.Action_ACTION_HOLD: `UPDATE recipient SET changed_ns = ` + clockNs + `, due_ns = 9223372036854775807, state = 2,
		claim_owner = '', claim_ns = 0 WHERE state = 1` + actOn,
	storev1.Action_ACTION_RELEASE: `UPDATE recipient SET changed_ns = ` + clockNs + `, due_ns = ` + clockNs + `, state = 1
		WHERE state IN (2, 3) AND destination IN (1, 2)` + actOn,
	storev1.Action_ACTION_DELETE: `UPDATE recipient SET changed_ns = ` + clockNs + `, due_ns = NULL, state = 8,
		claim_owner = '', claim_ns = 0, last_reply = '` + deletedReply + `' WHERE due_ns IS NOT NULL` + actOn,
}

const (
	openMessages = `SELECT DISTINCT queue_id FROM recipient WHERE due_ns IS NOT NULL
		UNION SELECT queue_id FROM withheld WHERE decision = 1`
	decideFrames = `UPDATE withheld SET decision = $3, changed_ns = ` + clockNs + ` WHERE decision = $4 AND queue_id = ANY($2)`
	// lockMessages keeps the rows of messages from others, in the order in which all take them.
	lockMessages = `SELECT 1 FROM recipient WHERE queue_id = ANY($1) ORDER BY queue_id, number FOR UPDATE`
	// unplacedRows tells of the rows of messages whether it is in state $2 and never got a destination.
	unplacedRows = `SELECT queue_id, state = $2 AND destination NOT IN (1, 2)` + onAddress + ` FROM recipient
		WHERE queue_id = ANY($1)`
)

// Act changes recipients; see ledger.Operator.
func (l *Ledger) Act(ctx context.Context, req *storev1.ActRequest) (uint32, error) {
	if actions[req.Action] == "" {
		return 0, fmt.Errorf("act: %w: action %d", ledger.ErrInvalid, req.Action)
	}
	if err := checkIDs(req.QueueIds...); err != nil {
		return 0, fmt.Errorf("act: %w", err)
	}
	ids := req.QueueIds
	if req.All && len(ids) == 0 {
		var err error
		if ids, err = l.openIDs(ctx); err != nil {
			return 0, fmt.Errorf("list open messages: %w", err)
		}
	}
	var total uint32
	for len(ids) > 0 {
		batch := ids[:min(actBatch, len(ids))]
		ids = ids[len(batch):]
		var changed int64
		err := l.write(ctx, func(tx *pgdb.Tx) (err error) {
			changed, err = act(tx, req, batch, l.clock())
			return err
		})
		if err != nil {
			return total, fmt.Errorf("act on %d messages: %w", len(batch), err)
		}
		total += uint32(changed)
	}
	return total, nil
}

// openIDs lists all messages that wait, and frames that wait for a decision.
func (l *Ledger) openIDs(ctx context.Context) (ids [][]byte, err error) {
	err = l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(openMessages)
		return eachRow(rows, err, func() error {
			var id []byte
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	return ids, err
}

func act(tx *pgdb.Tx, req *storev1.ActRequest, ids [][]byte, clock pgtype.Int8) (int64, error) {
	if _, err := tx.Exec(lockMessages, ids); err != nil {
		return 0, fmt.Errorf("lock recipients: %w", err)
	}
	rerouted, err := rerouteAll(tx, req, ids, clock)
	if err != nil {
		return 0, fmt.Errorf("reroute: %w", err)
	}
	n, err := tx.Exec(actions[req.Action], clock, ids, plain(req.ForwardPath))
	if err != nil {
		return 0, err
	}
	if req.Action == storev1.Action_ACTION_DELETE {
		if err := putDeleted(tx, ids, clock); err != nil {
			return 0, err
		}
	}
	decided, err := decide(tx, req, ids, clock)
	return rerouted + n + decided, err
}

// putDeleted lets messages be found by what is on record of their deleted recipients.
func putDeleted(tx *pgdb.Tx, ids [][]byte, clock pgtype.Int8) error {
	var words search.Writer
	for _, id := range ids {
		words.Report(&storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{{Reply: deletedReply}}})
	}
	b := &pgx.Batch{}
	queueWords(b, words.Data(), clock)
	return tx.Run(b)
}

// decide lets recovery publish frames beyond its horizon, or leaves them for good.
func decide(tx *pgdb.Tx, req *storev1.ActRequest, ids [][]byte, clock pgtype.Int8) (int64, error) {
	var d ledger.Decision
	switch {
	case req.ForwardPath != "":
		return 0, nil
	case req.Action == storev1.Action_ACTION_RELEASE:
		d = ledger.Released
	case req.Action == storev1.Action_ACTION_DELETE:
		d = ledger.Discarded
	default:
		return 0, nil
	}
	return tx.Exec(decideFrames, clock, ids, int32(d), int32(ledger.Undecided))
}

// rerouteAll sends messages through the router again that never got a destination: poison that is to be retried, and what
// the filter quarantined as a whole and is to be released. It tells how many recipients they had.
func rerouteAll(tx *pgdb.Tx, req *storev1.ActRequest, ids [][]byte, clock pgtype.Int8) (int64, error) {
	var state storev1.State
	switch req.Action {
	case storev1.Action_ACTION_RETRY:
		state = storev1.State_STATE_DEAD
	case storev1.Action_ACTION_RELEASE:
		state = storev1.State_STATE_QUARANTINED
	default:
		return 0, nil
	}
	found, recipients, err := unplaced(tx, state, req.ForwardPath, ids)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	var stored loaded
	b := &pgx.Batch{}
	stored.queueMessages(b, found)
	if err := tx.Run(b); err != nil {
		return 0, err
	}
	var children childArrays
	for _, id := range found {
		m := stored.messages[[16]byte(id)]
		if m == nil {
			return 0, fmt.Errorf("message %x: %w", id, ledger.ErrNotFound)
		}
		child, err := toRoute(m, req.Action == storev1.Action_ACTION_RELEASE)
		if err == nil {
			err = children.add(id, []*mailv1.Accepted{child})
		}
		if err != nil {
			return 0, err
		}
	}
	// From its rows to the outbox, from where the router gets it and records it anew.
	b = &pgx.Batch{}
	children.queue(b, clock)
	queueDeletes(b, found)
	queueHours(b, found)
	return recipients, tx.Run(b)
}

// unplaced finds messages all of whose recipients are in a state and without destination, with the number of these.
func unplaced(tx *pgdb.Tx, state storev1.State, forwardPath string, ids [][]byte) (found [][]byte, recipients int64, err error) {
	type tally struct{ fits, all int64 }
	seen := map[[16]byte]tally{}
	rows, err := tx.Query(unplacedRows, ids, int32(state), plain(forwardPath))
	err = eachRow(rows, err, func() error {
		var id pgtype.DriverBytes
		var fits bool
		if err := rows.Scan(&id, &fits); err != nil {
			return err
		}
		n := seen[[16]byte(id)]
		if n.all++; fits {
			n.fits++
		}
		seen[[16]byte(id)] = n
		return nil
	})
	for id, n := range seen {
		if n.fits == n.all {
			found, recipients = append(found, id[:]), recipients+n.all
		}
	}
	return found, recipients, err
}

// toRoute is what the router gets of a message. Envelope and part index are left to the frame's tail; accept overrules the
// filter.
func toRoute(s *storedMessage, accept bool) (*mailv1.Accepted, error) {
	m, err := decodeMessage(s.queueID, s.blobID, s.data)
	if err != nil {
		return nil, err
	}
	verdict := m.Verdict
	if accept && verdict != nil {
		verdict = proto.Clone(verdict).(*mailv1.Verdict)
		verdict.Action = mailv1.Action_ACTION_ACCEPT
	}
	return &mailv1.Accepted{QueueId: m.QueueId, BlobId: m.BlobId, Verdict: verdict}, nil
}

// queueDeletes makes a batch remove messages with their recipients.
func queueDeletes(b *pgx.Batch, ids [][]byte) {
	for _, table := range []string{"recipient", "payload", "message"} {
		b.Queue("DELETE FROM "+table+" WHERE queue_id = ANY($1)", ids)
	}
}
