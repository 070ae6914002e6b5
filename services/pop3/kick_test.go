package pop3

import (
	"testing"
	"testing/synctest"

	"github.com/mailfarm/mailfarm/internal/presence"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// TestKick: a session that is ended from outside is told why, removes nothing, and gives its maildrop back; what is shown of it
// is what it did.
func TestKick(t *testing.T) {
	for _, tc := range []struct {
		name  string
		why   presence.Farewell
		login bool
		want  string
	}{
		{"by an operator", presence.Farewell{Reason: adminv1.EndReason_END_REASON_OPERATOR, Text: "enough"}, true, "-ERR [SYS/TEMP] enough; nothing was removed"},
		{"another password", presence.Farewell{Reason: adminv1.EndReason_END_REASON_PASSWORD}, true, "-ERR [AUTH] the password was changed, log in again; nothing was removed"},
		{"removed", presence.Farewell{Reason: adminv1.EndReason_END_REASON_REMOVED}, true, "-ERR [SYS/PERM] the account was removed; nothing was removed"},
		{"before the login", presence.Farewell{Reason: adminv1.EndReason_END_REASON_OPERATOR, Text: "go"}, false, "-ERR [SYS/TEMP] go; nothing was removed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := twoMails()
				s := role(t, f, nil)
				c := connect(t, s)
				if tc.login {
					c.login()
					c.say("DELE 1")
					c.want("+OK marked")
				}
				synctest.Wait()
				all := s.Clients()
				if len(all) != 1 {
					t.Fatalf("%d clients", len(all))
				}
				shown := all[0].Card().Show()
				if tc.login && (shown.GetUser() != "alice@example.org" || shown.GetCommand() != "DELE" || shown.GetCommands() != 3 || shown.GetFolder() != "INBOX") {
					t.Errorf("shown: %v", shown)
				}
				if shown.GetRole() != "pop3" || shown.GetOctetsOut() == 0 {
					t.Errorf("shown: %v", shown)
				}
				all[0].Kick(tc.why)
				all[0].Kick(presence.Farewell{Text: "twice"})
				c.want(tc.want)
				c.Close() // a pipe has no half: who reads on would wait for the session to linger
				s.front.Wait()
				if f.lockedBy() != "" || f.expunged() != 0 {
					t.Errorf("maildrop locked by %q, %d removals", f.lockedBy(), f.expunged())
				}
			})
		})
	}
}
