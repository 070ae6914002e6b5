package store_test

import (
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/index"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// noted asks for entries, and tells them in one text a mailbox.
func (r *role) noted(t *testing.T, req *storev1.GetAnnotationsRequest) (map[uint64]string, error) {
	t.Helper()
	stream, err := r.notes.GetAnnotations(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]string{}
	for {
		page, err := stream.Recv()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		for _, a := range page.GetAnnotations() {
			got[a.GetMailbox()] += fmt.Sprintf("%s %d;", a.GetName(), len(a.GetValue()))
		}
	}
}

// TestAnnotationsOfMany asks for more than one response holds, of mailboxes of which some are not to be read.
func TestAnnotationsOfMany(t *testing.T) {
	r := start(t, store.Config{})
	var ids []uint64
	for _, name := range []string{"A", "B", "C"} {
		m, err := r.Create(t.Context(), &storev1.CreateRequest{Account: owner, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.GetMailbox().GetId())
		req := &storev1.SetAnnotationsRequest{Account: owner, Mailbox: m.GetMailbox().GetId()}
		for i := range 10 {
			req.Changes = append(req.Changes, &storev1.AnnotationChange{Name: fmt.Sprintf("/shared/%d", i), Value: make([]byte, index.MaxAnnotation)})
		}
		if _, err := r.notes.SetAnnotations(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		if name != "B" {
			r.share(t, name, "user11@example.org", "lr")
		}
	}
	names := []string{"/shared/3", "/Shared/4"}
	want := fmt.Sprintf("/shared/3 %d;/shared/4 %[1]d;", index.MaxAnnotation)
	got, err := r.noted(t, &storev1.GetAnnotationsRequest{Account: owner, Actor: actor, Mailboxes: ids, Names: names})
	if err != nil || len(got) != 2 || got[ids[0]] != want || got[ids[2]] != want {
		t.Errorf("of the mailboxes that may be read: %v, %v", got, err)
	}
	got, err = r.noted(t, &storev1.GetAnnotationsRequest{Account: owner, Mailboxes: ids, Names: []string{"/shared"}, Depth: -1})
	if err != nil || len(got) != 3 || len(got[ids[1]]) != 5*len(want) {
		t.Errorf("all of the owner: %v, %v", got, err)
	}
	_, err = r.noted(t, &storev1.GetAnnotationsRequest{Account: owner, Actor: actor, Mailboxes: ids[1:2], Names: names})
	if status.Code(err) != codes.NotFound {
		t.Errorf("of one that may not be known of: %v", err)
	}
	_, err = r.noted(t, &storev1.GetAnnotationsRequest{Account: owner, Actor: actor, Mailboxes: []uint64{0}, Names: names})
	if status.Code(err) != codes.NotFound {
		t.Errorf("of another's account: %v", err)
	}
	big := []*storev1.AnnotationChange{{Name: "/shared/x", Value: make([]byte, index.MaxAnnotation+1)}}
	if _, err := r.notes.SetAnnotations(t.Context(), &storev1.SetAnnotationsRequest{Account: owner, Mailbox: ids[0], Changes: big}); status.Code(err) != codes.OutOfRange {
		t.Errorf("a value too large: %v", err)
	}
}
