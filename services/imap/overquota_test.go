package imap_test

import (
	"fmt"
	"strings"
	"testing"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestOverQuotaCode: what would pass a limit, of the account or of a folder, is refused with OVERQUOTA by every command that adds
// messages (RFC 9208 §4.3.1), and changes nothing; MOVE within a root adds nothing.
func TestOverQuotaCode(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 3)...)
	limit := func(folder string, messages int64) {
		t.Helper()
		_, err := f.quotas.SetQuota(t.Context(), &storev1.SetQuotaRequest{Account: account, Mailbox: folder, Limits: &storev1.QuotaLimits{Messages: messages}})
		check(t, err)
	}
	w := watch(t, f, user, "CREATE Box", "CREATE Box/Below", "CREATE Apart", "SELECT INBOX")
	message := numbered(7, 8)[0]
	appended := func(name string) string { return fmt.Sprintf("APPEND %s {%d+}\r\n%s", name, len(message), message) }
	try := func(command, want string) {
		t.Helper()
		if _, end := w.answers(command); !strings.HasPrefix(end, want) {
			t.Errorf("%.40s: got %s, want %s", command, end, want)
		}
	}
	count := func(name string, want int) {
		t.Helper()
		lines, _ := w.answers("STATUS " + name + " (MESSAGES)")
		if len(lines) == 0 || !strings.Contains(strings.Join(lines, "\n"), fmt.Sprintf("(MESSAGES %d)", want)) {
			t.Errorf("%s: %q, want %d messages", name, lines, want)
		}
	}
	limit("Box", 1)
	try(appended("Box/Below"), "OK")
	try(appended("Box"), "NO [OVERQUOTA]")
	try("COPY 1 Box", "NO [OVERQUOTA]")
	try("MOVE 1 Box/Below", "NO [OVERQUOTA]")
	try("COPY 1 Apart", "OK")
	count("Box", 0)
	count("Box/Below", 1)
	count("INBOX", 3)
	limit("", 5)
	try(appended("INBOX"), "NO [OVERQUOTA]")
	try("COPY 1 Apart", "NO [OVERQUOTA]")
	try("MOVE 1 Apart", "OK")
	count("INBOX", 2)
	try("SELECT Box/Below", "OK")
	try("MOVE 1 Box", "OK")
	count("Box", 1)
	try("RENAME Apart Box/Apart", "NO [OVERQUOTA]")
	try("RENAME INBOX Box/Inbox", "NO [OVERQUOTA]")
	count("Apart", 2)
	count("INBOX", 2)
	limit("Box", 4)
	try("RENAME Apart Box/Apart", "OK")
	count("Box/Apart", 2)
}
