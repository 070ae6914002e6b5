// Package bounce writes delivery status notifications as messages of the farm's own: children whose frames are durable
// before anything refers to them.
package bounce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/dsn"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Writer writes DSNs.
type Writer struct {
	Blobs blob.Store
	// Hostname is the reporting MTA.
	Hostname string
	Now      func() time.Time
}

// kinds of DSN; the number is the ordinal of the child, so that a recipient can give rise to one of each.
var kinds = map[storev1.State]struct {
	action  dsn.Action
	ordinal uint32
	wanted  func(envelope.Notify) bool
}{
	storev1.State_STATE_BOUNCED:   {dsn.Failed, 0, envelope.Notify.Failure},
	storev1.State_STATE_QUEUED:    {dsn.Delayed, 1, envelope.Notify.Delay},
	storev1.State_STATE_DELIVERED: {dsn.Delivered, 2, envelope.Notify.Success},
	storev1.State_STATE_RELAYED:   {dsn.Relayed, 3, envelope.Notify.Success},
	storev1.State_STATE_EXPANDED:  {dsn.Expanded, 4, envelope.Notify.Success},
}

// Bounce writes the DSN about recipients of parent, all in the same state, which says what is told: bounced, queued (a
// delay), delivered, relayed or expanded. It returns the DSN as a child of parent, whose id depends on parent, state and the
// first recipient only; nil where the sender wants none or is the null reverse-path (RFC 5321 §6.1, RFC 3461 §4.1).
func (w *Writer) Bounce(ctx context.Context, parent *mailv1.Accepted, about []*storev1.RecipientRow) (*mailv1.Accepted, error) {
	env := parent.GetEnvelope()
	if env.GetReversePath() == "" || len(about) == 0 {
		return nil, nil
	}
	kind, ok := kinds[about[0].State]
	if !ok {
		return nil, fmt.Errorf("no DSN tells of state %v", about[0].State)
	}
	parentID, err := envelope.QueueIDFrom(parent.QueueId)
	if err != nil {
		return nil, err
	}
	now := w.Now()
	report := dsn.Report{
		QueueID:  envelope.ChildID(parentID, about[0].Number, kind.ordinal),
		Parent:   parentID,
		Host:     w.Hostname,
		To:       envelope.ReversePath(env.ReversePath),
		Time:     now,
		Arrival:  timeOf(env.AcceptedNs),
		EnvID:    env.Envid,
		SMTPUTF8: env.Smtputf8,
		Full:     env.Ret == mailv1.Ret_RET_FULL,
	}
	for _, row := range about {
		if kind.wanted(envelope.Notify(row.Notify)) {
			report.Recipients = append(report.Recipients, recipient(row, kind.action, now))
		}
	}
	if len(report.Recipients) == 0 {
		return nil, nil
	}
	switch err := w.quote(ctx, &report, parent); {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
		// A message that cannot be read any more is told of without its text.
		report.Message, report.Header = nil, nil
	case err != nil:
		return nil, fmt.Errorf("quote message %s: %w", parentID, err)
	}
	child, err := w.write(ctx, &report)
	if err != nil {
		return nil, fmt.Errorf("write the DSN about %s: %w", parentID, err)
	}
	fault.Point("delivery.after-dsn-frame")
	return child, nil
}

// statusCode finds the enhanced status code in a reply.
var statusCode = regexp.MustCompile(`^[245]\d\d[ -]([245]\.\d{1,3}\.\d{1,3})\b`)

// classes are those of the status codes that go with an action (RFC 3464 §2.3.4), with the code for a reply of another class.
var classes = map[dsn.Action]struct {
	class byte
	other string
}{
	// What was deferred until its time was over has failed for good.
	dsn.Failed:  {'5', "5.4.7"},
	dsn.Delayed: {'4', "4.0.0"}, dsn.Delivered: {'2', "2.0.0"}, dsn.Relayed: {'2', "2.0.0"}, dsn.Expanded: {'2', "2.0.0"},
}

func recipient(row *storev1.RecipientRow, action dsn.Action, now time.Time) dsn.Recipient {
	r := dsn.Recipient{
		Final: envelope.ForwardPath(row.ForwardPath), Original: row.Orcpt, Action: action,
		RemoteMTA: hostOf(row.Relay), Diagnostic: row.LastReply, LastAttempt: now, Status: classes[action].other,
	}
	if m := statusCode.FindStringSubmatch(row.LastReply); m != nil && m[1][0] == classes[action].class {
		r.Status = m[1]
	}
	if action == dsn.Delayed {
		r.WillRetryUntil = timeOf(row.ExpiryNs)
	}
	return r
}

// hostOf is the name in a relay, "mx.example.org[192.0.2.1]:25 TLS 1.3".
func hostOf(relay string) string {
	if end := strings.IndexAny(relay, "[ "); end > 0 {
		return relay[:end]
	}
	return relay
}

// timeOf reads nanoseconds since 1970 UTC; 0 is no time.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// quote reads what the DSN returns of its subject.
func (w *Writer) quote(ctx context.Context, r *dsn.Report, parent *mailv1.Accepted) error {
	id, err := blob.IDFrom(parent.BlobId)
	if err != nil {
		return err
	}
	f, err := w.Blobs.Open(ctx, id)
	if err != nil {
		return err
	}
	defer f.Close()
	overlay := message.OverlayFrom(parent.Overlay)
	whole := message.NewReader(overlay, f.Body, f.Size)
	if r.Full && whole.Size() <= dsn.MaxReturned {
		if r.Message, err = io.ReadAll(whole); err != nil {
			return err
		}
	}
	size := min(whole.Size(), dsn.MaxReturnedHeader)
	if ix, err := message.Decode(partIndex(parent, f)); err == nil {
		size = min(size, ix.WithOverlay(overlay).Header().Length)
	}
	r.Header = make([]byte, size)
	if _, err := whole.ReadAt(r.Header, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// partIndex is the message's, from the bus or, where it was too large for it, from the frame.
func partIndex(m *mailv1.Accepted, f *blob.Frame) []byte {
	if len(m.PartIndex) > 0 {
		return m.PartIndex
	}
	var tail mailv1.FrameTail
	if proto.Unmarshal(f.Meta.Tail, &tail) != nil {
		return nil
	}
	return tail.PartIndex
}

// write makes the DSN's frame durable.
func (w *Writer) write(ctx context.Context, r *dsn.Report) (*mailv1.Accepted, error) {
	body := dsn.Build(*r)
	var x message.Indexer
	x.Reset()
	if _, err := x.Write(body); err != nil {
		return nil, err
	}
	ix, err := x.Finish()
	if err != nil {
		return nil, err
	}
	env := &mailv1.Envelope{
		QueueId: r.QueueID[:],
		// The null reverse-path: nothing answers a DSN (RFC 5321 §4.5.5). NEVER says so once more (RFC 3461 §4.1).
		Recipients: []*mailv1.Recipient{{ForwardPath: string(r.To), Notify: uint32(envelope.NotifyNever)}},
		Smtputf8:   r.NeedsSMTPUTF8(),
		EightBit:   ix.Flags&message.EightBit != 0,
		AcceptedNs: r.Time.UnixNano(),
		Parent:     r.Parent[:],
		MessageId:  ix.MessageID(),
		Size:       int64(len(body)),
		Subject:    ix.Subject(),
		Kind:       mailv1.Kind_KIND_GENERATED,
	}
	verdict := &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT}
	index := ix.Encode(nil)
	tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: env, Verdict: verdict, PartIndex: index})
	if err != nil {
		return nil, err
	}
	draft, err := w.Blobs.Create(blob.ID{})
	if err != nil {
		return nil, err
	}
	defer draft.Discard()
	if _, err := draft.Write(body); err != nil {
		return nil, err
	}
	id, err := draft.Commit(ctx, blob.Meta{Kind: blob.Generated, QueueID: r.QueueID, Tail: tail})
	if err != nil {
		return nil, err
	}
	return &mailv1.Accepted{QueueId: r.QueueID[:], BlobId: id.Bytes(), Envelope: env, Verdict: verdict, PartIndex: index}, nil
}
