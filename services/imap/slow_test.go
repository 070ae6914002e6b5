package imap_test

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestSlowDialogue runs testdata/slow/inprogress.dialogue against a role on whose clock time flies: ten seconds at every look.
func TestSlowDialogue(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 600)...)
	f.stop()
	began := time.Now()
	var looks atomic.Int64
	f.now = func() time.Time { return began.Add(time.Duration(looks.Add(1)) * 10 * time.Second) }
	f.startRoles(t, nil)
	f.speak(t, "testdata/slow/inprogress.dialogue", user)
}
