package imap_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestOldStore: beside a store that would take whoever asks for the owner, others' mailboxes are refused and one's own are served.
func TestOldStore(t *testing.T) {
	f := startFarm(t, nil)
	owner, account := f.account(t)
	reader := f.user(t)
	f.fill(t, account, "INBOX", numbered(0, 1)...)
	name := fmt.Sprintf("%q", "Other Users/"+owner+"/INBOX")
	watch(t, f, owner, "CREATE Old", "SETACL INBOX "+reader+" lrswitek")
	watch(t, f, reader, "CREATE Mine", "SELECT "+name)
	// A store of before serves neither sharing nor the guarded service.
	f.stop()
	f.guarded = storev1.NewMailboxesClient(rpc.RenamedConn{ClientConnInterface: f.conn, Name: "mailfarm.store.v1.None"})
	f.sharing = storev1.NewSharingClient(rpc.RenamedConn{ClientConnInterface: f.conn, Name: "mailfarm.store.v1.None"})
	f.startRoles(t, nil)
	r := watch(t, f, reader)
	message := numbered(0, 1)[0]
	for _, tt := range []struct{ command, want string }{
		{"SELECT " + name, "NO [UNAVAILABLE]"},
		{"STATUS " + name + " (MESSAGES)", "NO [UNAVAILABLE]"},
		{fmt.Sprintf("APPEND %s {%d+}\r\n%s", name, len(message), message), "NO [UNAVAILABLE]"},
		{`CREATE "Other Users/` + owner + `/new"`, "NO [UNAVAILABLE]"},
		{`DELETE "Other Users/` + owner + `/Old"`, "NO [UNAVAILABLE]"},
		{"GETACL " + name, "NO [UNAVAILABLE]"},
		{`LIST "" "*"`, "OK"},
		{fmt.Sprintf("APPEND Mine {%d+}\r\n%s", len(message), message), "OK"},
		{"SELECT Mine", "OK"},
		{"COPY 1 " + name, "NO [UNAVAILABLE]"},
		{"STORE 1 +FLAGS (\\Seen)", "OK"},
		{"MOVE 1 INBOX", "OK"},
	} {
		if _, end := r.answers(tt.command); !strings.HasPrefix(end, tt.want) {
			t.Errorf("%.60s: got %s, want %s", tt.command, end, tt.want)
		}
	}
	w := watch(t, f, owner, "SELECT Old")
	if _, end := w.answers("STATUS INBOX (MESSAGES)"); !strings.HasPrefix(end, "OK") {
		t.Errorf("the owner's: %s", end)
	}
}
