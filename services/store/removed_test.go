package store_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// removed lists the subjects of what was removed of account 1, sorted.
func (r *role) removed(t *testing.T, f *storev1.RemovedFilter) (subjects []string) {
	t.Helper()
	stream, err := r.retention.ListRemoved(t.Context(), &storev1.ListRemovedRequest{Account: 1, Filter: f})
	for err == nil {
		var resp *storev1.ListRemovedResponse
		if resp, err = stream.Recv(); err == nil {
			for _, m := range resp.GetMessages() {
				subjects = append(subjects, m.GetSubject())
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("ListRemoved: %v", err)
	}
	slices.Sort(subjects)
	return subjects
}

// TestRemovedOfAnotherVersion looks for removed messages by fields whose part indexes are of another version.
func TestRemovedOfAnotherVersion(t *testing.T) {
	r := start(t, store.Config{})
	for i := range uint64(3) {
		b := fmt.Appendf(nil, "From: a@example.org\r\nSubject: letter %d\r\n\r\ntext\r\n", i)
		old := partIndex(t, b)
		old[0] = 0 // no version
		r.put(t, i, nil, b, old)
	}
	inbox := r.list(t, 1)["INBOX"].GetId()
	if _, err := r.db.Mailboxes().Expunge(t.Context(), 1, mailbox.ID(inbox), mailbox.UIDSet{{First: 1, Last: 3}}, true); err != nil {
		t.Fatal(err)
	}
	if got := r.removed(t, &storev1.RemovedFilter{Subject: "LETTER 1"}); !reflect.DeepEqual(got, []string{"letter 1"}) {
		t.Errorf("by subject: %q", got)
	}
	if got := r.removed(t, nil); !reflect.DeepEqual(got, []string{"letter 0", "letter 1", "letter 2"}) {
		t.Errorf("all: %q", got)
	}
	// What cannot be made anew is told without fields.
	r.spoil(t, "UPDATE email SET part_index = x'00' WHERE account = 1")
	r.blobs.Close()
	if got := r.removed(t, &storev1.RemovedFilter{Subject: "letter 1"}); !reflect.DeepEqual(got, []string{"", "", ""}) {
		t.Errorf("without bodies: %q", got)
	}
}

// TestRestoreAtOnce: restores into several folders at once file each message in one of them.
func TestRestoreAtOnce(t *testing.T) {
	const messages, restores = 200, 4
	r := start(t, store.Config{})
	for i := range uint64(messages) {
		b := fmt.Appendf(nil, "Subject: letter %d\r\n\r\ntext\r\n", i)
		r.put(t, i, nil, b, partIndex(t, b))
	}
	inbox := mailbox.ID(r.list(t, 1)["INBOX"].GetId())
	if _, err := r.db.Mailboxes().Expunge(t.Context(), 1, inbox, mailbox.UIDSet{{First: 1, Last: messages}}, true); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var restored atomic.Uint64
	for i := range restores {
		wg.Go(func() {
			stream, err := r.retention.Restore(t.Context(), &storev1.RestoreRequest{Account: 1, Into: fmt.Sprint("Back ", i)})
			for err == nil {
				var resp *storev1.RestoreResponse
				if resp, err = stream.Recv(); err == nil && resp.GetDone() {
					restored.Add(resp.GetRestored())
				}
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("Restore: %v", err)
			}
		})
	}
	wg.Wait()
	var there uint32
	for _, m := range r.list(t, 1) {
		there += m.GetMessages()
	}
	if there != messages || restored.Load() != messages {
		t.Errorf("%d messages lie somewhere, %d were told as restored, want %d", there, restored.Load(), messages)
	}
}

// TestRestoreOfCopies: a message that lay in two folders comes back to both.
func TestRestoreOfCopies(t *testing.T) {
	r := start(t, store.Config{})
	b := []byte("Subject: letter\r\n\r\ntext\r\n")
	r.put(t, 1, nil, b, partIndex(t, b))
	if _, _, err := r.db.Mailboxes().Create(t.Context(), 1, "Work", ""); err != nil {
		t.Fatal(err)
	}
	inbox := mailbox.ID(r.list(t, 1)["INBOX"].GetId())
	set := mailbox.UIDSet{{First: 1, Last: 1}}
	if _, err := r.db.Mailboxes().Copy(t.Context(), 1, inbox, set, "Work"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []mailbox.ID{inbox, mailbox.ID(r.list(t, 1)["Work"].GetId())} {
		if _, err := r.db.Mailboxes().Expunge(t.Context(), 1, id, set, true); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := r.retention.Restore(t.Context(), &storev1.RestoreRequest{Account: 1})
	for err == nil {
		_, err = stream.Recv()
	}
	if list := r.list(t, 1); !errors.Is(err, io.EOF) || list["INBOX"].GetMessages() != 1 || list["Work"].GetMessages() != 1 {
		t.Errorf("%v, %v", list, err)
	}
}
