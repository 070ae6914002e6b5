package backup

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// jsonNames writes messages by the names of their contract.
var jsonNames = protojson.MarshalOptions{UseProtoNames: true}

// queue is what was read of the queue.
type queue struct {
	objects  []string
	messages int64
	// unrouted are queue ids.
	unrouted map[string]bool
	// local are recipients that wait, by the accounts that they are delivered to.
	local   map[uint64][]*storev1.QueuedFor
	missing []repo.Missing
}

func (q *queue) hasAll(ids map[string]bool) bool {
	for id := range ids {
		if !q.unrouted[id] {
			return false
		}
	}
	return true
}

// queueLine is a message of the queue. Entry is a mailfarm.store.v1.LedgerEntry.
type queueLine struct {
	Table    string          `json:"table"`
	QueueID  string          `json:"queue_id"`
	BlobID   string          `json:"blob_id"`
	Unrouted bool            `json:"unrouted,omitempty"`
	Body     string          `json:"body,omitempty"`
	Missing  string          `json:"missing,omitempty"`
	Size     int64           `json:"size"`
	Tail     string          `json:"tail"`
	Entry    json.RawMessage `json:"entry"`
}

// item is the message as it is put back.
func (l *queueLine) item() (*storev1.QueueItem, error) {
	item := &storev1.QueueItem{Entry: &storev1.LedgerEntry{}, Size: l.Size, Unrouted: l.Unrouted}
	err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(l.Entry, item.Entry)
	if err == nil {
		item.Tail, err = base64.StdEncoding.DecodeString(l.Tail)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: queue id %s: %w", ErrLine, l.QueueID, err)
	}
	return item, nil
}

func (r *run) queue(ctx context.Context, wait time.Duration) (*queue, error) {
	q := &queue{unrouted: map[string]bool{}, local: map[uint64][]*storev1.QueuedFor{}}
	list := lists{repo: r.Repo}
	stream, err := r.Store.DumpQueue(ctx, &storev1.DumpQueueRequest{WaitMs: uint32(wait / time.Millisecond)})
	for err == nil {
		var resp *storev1.DumpQueueResponse
		if resp, err = stream.Recv(); err == nil {
			err = r.queued(ctx, q, &list, resp.GetItems())
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	q.objects, err = list.end(ctx)
	return q, err
}

// queued writes messages with their bodies.
func (r *run) queued(ctx context.Context, q *queue, list *lists, items []*storev1.QueueItem) error {
	wanted := make([]wantedBody, len(items))
	for i, item := range items {
		wanted[i] = wantedBody{id: string(item.GetEntry().GetMessage().GetBlobId()), size: item.GetSize()}
	}
	if err := r.bodies.fetch(ctx, wanted, r.bodies.known); err != nil {
		return err
	}
	for i, item := range items {
		m := item.GetEntry().GetMessage()
		entry, err := jsonNames.Marshal(item.GetEntry())
		if err != nil {
			return err
		}
		// Its spaces differ from one process to the next.
		var compact bytes.Buffer
		if err := json.Compact(&compact, entry); err != nil {
			return err
		}
		l := queueLine{Table: "queue", QueueID: hex.EncodeToString(m.GetQueueId()), BlobID: hex.EncodeToString(m.GetBlobId()), Unrouted: item.GetUnrouted(),
			Size: item.GetSize(), Tail: base64.StdEncoding.EncodeToString(item.GetTail()), Entry: compact.Bytes(), Missing: item.GetMissing()}
		if l.Missing == "" {
			l.Missing = wanted[i].missing
		}
		if l.Missing == "" {
			l.Body = wanted[i].digest.String()
		} else {
			q.missing = append(q.missing, repo.Missing{QueueID: l.QueueID, Reason: l.Missing})
		}
		b, err := json.Marshal(l)
		if err != nil {
			return err
		}
		if err := list.add(ctx, append(b, '\n')); err != nil {
			return err
		}
		q.messages++
		if item.GetUnrouted() {
			q.unrouted[l.QueueID] = true
		}
		for _, rcpt := range item.GetEntry().GetRecipients() {
			if rcpt.GetDestination() == storev1.Destination_DESTINATION_LOCAL {
				q.local[rcpt.GetAccount()] = append(q.local[rcpt.GetAccount()], &storev1.QueuedFor{QueueId: m.GetQueueId(), Number: rcpt.GetNumber()})
			}
		}
	}
	return nil
}

// directory writes what the directory has, and tells the addresses of accounts.
func (r *run) directory(ctx context.Context, s *repo.Snapshot) (map[uint64]string, error) {
	addresses := map[uint64]string{}
	list := lists{repo: r.Repo}
	stream, err := r.Directory.Dump(ctx, &directoryv1.DumpRequest{})
	for err == nil {
		var resp *directoryv1.DumpResponse
		if resp, err = stream.Recv(); err != nil {
			break
		}
		for _, rec := range resp.GetRecords() {
			var b []byte
			if b, err = jsonNames.Marshal(rec); err != nil {
				break
			}
			var line bytes.Buffer
			if err = json.Compact(&line, b); err != nil {
				break
			}
			line.WriteByte('\n')
			if err = list.add(ctx, line.Bytes()); err != nil {
				break
			}
			if a := rec.GetAccount(); a != nil {
				addresses[a.GetId()] = a.GetAddress()
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("dump: %w", err)
	}
	s.Directory, err = list.end(ctx)
	return addresses, err
}
