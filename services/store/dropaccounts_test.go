package store

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// oldAccounts is a directory that answers Forget with a code, and Who with one address after the other.
type oldAccounts struct {
	directoryv1.RemovedAccountsClient
	code codes.Code
	who  []string
}

func (d *oldAccounts) Forget(context.Context, *directoryv1.ForgetRequest, ...grpc.CallOption) (*directoryv1.ForgetResponse, error) {
	return &directoryv1.ForgetResponse{}, status.Error(d.code, "as the test says")
}

func (d *oldAccounts) Who(context.Context, *directoryv1.WhoRequest, ...grpc.CallOption) (*directoryv1.WhoResponse, error) {
	address := d.who[0]
	d.who = d.who[1:]
	return &directoryv1.WhoResponse{Addresses: []string{address}}, nil
}

func (d *oldAccounts) ListRemoved(context.Context, *directoryv1.ListRemovedRequest, ...grpc.CallOption) (*directoryv1.ListRemovedResponse, error) {
	return &directoryv1.ListRemovedResponse{}, nil
}

// dropNotes notes what becomes of an account that is about to be dropped.
type dropNotes struct {
	index.Retention
	held  bool
	notes string
}

func (n *dropNotes) Forgetting(context.Context, mailbox.AccountID) error {
	if n.held {
		return index.ErrHeld
	}
	n.notes += "forgetting "
	return nil
}

func (n *dropNotes) Forgotten(context.Context, mailbox.AccountID) error {
	n.notes += "forgotten"
	return nil
}

func (n *dropNotes) Keep(context.Context, mailbox.AccountID) error {
	n.notes += "kept"
	return nil
}

// TestDropOnlyUnknown: mail is dropped only of an account that the directory certainly does not know.
func TestDropOnlyUnknown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		held  bool
		code  codes.Code
		who   []string
		notes string
		fails bool
	}{
		{name: "forgotten", code: codes.OK, notes: "forgetting forgotten"},
		{name: "forgotten before", code: codes.NotFound, who: []string{"", ""}, notes: "forgetting forgotten"},
		{name: "brought back", code: codes.FailedPrecondition, notes: "forgetting kept"},
		{name: "brought back, of an older directory", code: codes.NotFound, who: []string{"a@example.org"}, notes: "forgetting kept"},
		{name: "brought back while it is asked", code: codes.NotFound, who: []string{"", "a@example.org"}, notes: "forgetting kept"},
		{name: "directory away", code: codes.Unavailable, notes: "forgetting ", fails: true},
		{name: "held", held: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			notes := &dropNotes{held: tt.held}
			r := &retention{Retention: notes, deps: RetentionDeps{Removed: &oldAccounts{code: tt.code, who: tt.who}, Log: slog.New(slog.DiscardHandler)}}
			_, err := r.dropAccount(t.Context(), index.Dropping{Account: 7})
			if (err != nil) != tt.fails || notes.notes != tt.notes {
				t.Errorf("got %q, %v; want %q", notes.notes, err, tt.notes)
			}
		})
	}
}

// TestKeepsNobodys: of an account that the directory does not know nothing goes where a rule of its domain may spare it, as while
// it is being put back; mailboxes are not even looked at.
func TestKeepsNobodys(t *testing.T) {
	directory := &oldAccounts{}
	r := &retention{deps: RetentionDeps{Removed: directory, Log: slog.New(slog.DiscardHandler)}}
	for _, tt := range []struct {
		who    []string
		domain string
		err    error
	}{
		{who: []string{"", ""}, err: index.ErrNobody},
		{who: []string{"a@example.org"}, domain: "example.org"},
		{who: []string{"", "a@example.org"}, domain: "example.org"},
	} {
		directory.who = tt.who
		if domain, err := r.domain(t.Context(), 7); domain != tt.domain || !errors.Is(err, tt.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", tt.who, domain, err, tt.domain, tt.err)
		}
	}
	rules := []index.ExpireRule{{ExpireKey: index.ExpireKey{Folder: index.EveryFolder}, Keep: 1},
		{ExpireKey: index.ExpireKey{Domain: "example.org", Folder: index.EveryFolder}, Never: true}}
	directory.who = []string{"", ""}
	if err := r.expireAccount(t.Context(), rules, 7, false, nil); err != nil {
		t.Errorf("expire: %v", err)
	}
}
