package store_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
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
