package imap_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// countedLists counts how often all mailboxes are asked for.
type countedLists struct {
	storev1.MailboxesClient
	calls *atomic.Int32
}

func (c countedLists) List(ctx context.Context, in *storev1.ListRequest, opts ...grpc.CallOption) (*storev1.ListResponse, error) {
	c.calls.Add(1)
	return c.MailboxesClient.List(ctx, in, opts...)
}

// TestListOfNames: LIST and LSUB of mailboxes by their names ask for these alone, and tell what they tell by patterns.
func TestListOfNames(t *testing.T) {
	f := startFarm(t, nil)
	user, owner := f.user(t), f.user(t)
	o := watch(t, f, owner)
	o.do("CREATE Team")
	o.do("SETACL Team " + user + " lr")
	f.stop()
	calls := &atomic.Int32{}
	f.mailboxes = countedLists{f.mailboxes, calls}
	f.startRoles(t, nil)
	w := watch(t, f, user)
	w.do("ENABLE IMAP4rev2")
	for _, command := range []string{"CREATE a/b/c", "DELETE a", "SUBSCRIBE a/b", "SUBSCRIBE gone", `SUBSCRIBE "Other Users/` + owner + `/Team"`, "CREATE &AOk-", "CREATE \"Other Usersx\""} {
		w.do(command)
	}
	for _, tt := range []struct {
		command string
		want    []string
		all     int32 // how often all are asked for
	}{
		{`LIST "" a/b`, []string{`* LIST (\HasChildren) "/" a/b`}, 0},
		{`LIST "" inbox`, []string{`* LIST (\HasNoChildren) "/" INBOX`}, 0},
		{`LIST a/ b/c`, []string{`* LIST (\HasNoChildren) "/" a/b/c`}, 0},
		{`LIST "" (Sent a/b INBOX Sent) RETURN (SUBSCRIBED STATUS (MESSAGES))`, []string{`* LIST (\HasNoChildren \Subscribed) "/" INBOX`, `* STATUS INBOX (MESSAGES 0)`,
			`* LIST (\HasNoChildren \Subscribed \Sent) "/" Sent`, `* STATUS Sent (MESSAGES 0)`, `* LIST (\HasChildren \Subscribed) "/" a/b`, `* STATUS a/b (MESSAGES 0)`}, 0},
		{`LIST (SPECIAL-USE) "" (Sent a/b)`, []string{`* LIST (\HasNoChildren \Sent) "/" Sent`}, 0},
		{`LIST (SUBSCRIBED) "" a/b`, []string{`* LIST (\HasChildren \Subscribed) "/" a/b`}, 0},
		{`LSUB "" a/b`, []string{`* LSUB () "/" a/b`}, 0},
		{`LSUB "" a/b/c`, nil, 0},
		{`LIST "" "Other Usersx"`, []string{`* LIST (\HasNoChildren) "/" "Other Usersx"`}, 0},
		// What is no mailbox of the session's own is looked for among all.
		{`LIST "" a`, []string{`* LIST (\NonExistent \Noselect \HasChildren) "/" a`}, 1},
		{`LIST "" nothing`, nil, 1},
		{`LIST "" (a/b nothing)`, []string{`* LIST (\HasChildren) "/" a/b`}, 1},
		{`LSUB "" gone`, []string{`* LSUB () "/" gone`}, 1},
		{`LIST (SUBSCRIBED RECURSIVEMATCH) "" a/b/c`, nil, 1},
		{`LIST "" "Other Users/` + owner + `/Team"`, []string{`* LIST (\HasNoChildren) "/" "Other Users/` + owner + `/Team"`}, 1},
		{`LIST "" "Other Users"`, []string{`* LIST (\NonExistent \Noselect \HasChildren) "/" "Other Users"`}, 1},
	} {
		calls.Store(0)
		lines, end := w.answers(tt.command)
		if !strings.HasPrefix(end, "OK") || !slices.Equal(lines, tt.want) {
			t.Errorf("%s: %q %s\nwant %q", tt.command, lines, end, tt.want)
		}
		if n := calls.Load(); n != tt.all {
			t.Errorf("%s: all mailboxes were asked for %d times, want %d", tt.command, n, tt.all)
		}
	}
}
