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

// countedSnapshots counts how often the store is asked what changed.
type countedSnapshots struct {
	storev1.MailboxesClient
	calls *atomic.Int32
}

func (c countedSnapshots) Snapshot(ctx context.Context, in *storev1.SnapshotRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	c.calls.Add(1)
	return c.MailboxesClient.Snapshot(ctx, in, opts...)
}

// TestStoreIsOneCall: who knows the mailbox is told by STORE itself what it did, and its own notice asks for nothing; what
// others did meanwhile is asked for and told.
func TestStoreIsOneCall(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 600)...)
	f.stop()
	calls := &atomic.Int32{}
	f.mailboxes = countedSnapshots{f.mailboxes, calls}
	f.startRoles(t, nil)
	a, b := watch(t, f, user), watch(t, f, user)
	a.do("ENABLE CONDSTORE IMAP4rev2")
	a.do("SELECT INBOX")
	a.do("NOOP") // asks for what came before notices were heard
	calls.Store(0)
	for _, tt := range []struct {
		command string
		want    []string // begins of lines, in order
	}{
		{`STORE 300 +FLAGS (\Seen new)`, []string{`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft new)`, `* OK [PERMANENTFLAGS`, `* 300 FETCH (UID 300 FLAGS (\Seen new) MODSEQ (`}},
		{`STORE 300 -FLAGS (\Seen)`, []string{`* 300 FETCH (UID 300 FLAGS (new) MODSEQ (`}},
		{`UID STORE 5,599 FLAGS.SILENT (\Deleted)`, []string{`* 5 FETCH (UID 5 MODSEQ (`, `* 599 FETCH (UID 599 MODSEQ (`}},
		{`STORE 300 +FLAGS (NEW)`, []string{`* 300 FETCH (UID 300 FLAGS (new) MODSEQ (`}},
		{`FETCH 300 (FLAGS)`, []string{`* 300 FETCH (FLAGS (new)`}},
		{`FETCH 9 (BODY[HEADER.FIELDS (NOTHING)])`, []string{`* 9 FETCH (BODY[HEADER.FIELDS (NOTHING)] {2}`, ``, ` UID 9 FLAGS (\Seen) MODSEQ (`}},
	} {
		lines, end := a.answers(tt.command)
		if !strings.HasPrefix(end, "OK") || !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
			t.Errorf("%s: %q %s\nwant %q", tt.command, lines, end, tt.want)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d questions what changed, want none", n)
	}
	b.do("SELECT INBOX")
	b.do(`STORE 7 +FLAGS (\Answered)`)
	lines, _ := a.answers(`STORE 8 +FLAGS (\Draft)`)
	want := []string{`* 7 FETCH (UID 7 FLAGS (\Answered) MODSEQ (`, `* 8 FETCH (UID 8 FLAGS (\Draft) MODSEQ (`}
	if !slices.EqualFunc(lines, want, strings.HasPrefix) {
		t.Errorf("after another session's STORE: %q, want %q", lines, want)
	}
}
