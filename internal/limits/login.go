package limits

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// markBits is how much is kept of what tells one failed attempt from another.
const markBits = 24

// LoginFailed notes that a client gave a wrong password, or a wrong name: user is what it tried to be. mark tells pairs of
// user and password apart, the same in all processes: a MAC under a secret of the farm, of which 24 bits are used. Who knows
// no password gives a random one.
func (l *Limits) LoginFailed(client netip.Addr, user string, mark uint32) {
	if l == nil || l.exempt(client) || l.cfg.Logins.Failures < 1 {
		return
	}
	now := l.since()
	name := sha256.Sum256([]byte(user))
	k := clientKey(clientFailed, client)
	mark &= 1<<markBits - 1

	l.table.mu.Lock()
	guessed := false
	if e := l.table.limited(accountKey(accountFailed, binary.BigEndian.Uint64(name[:]))); e != nil {
		e.failed.live(now, l.cfg.Logins.Window)
		e.failed.add(mark, now, l.cfg.Logins.AccountFailures)
		l.table.grown(e, now)
		guessed = l.table.distinct(e, now) >= l.cfg.Logins.AccountFailures
	}
	e := l.table.limited(k)
	e.failed.live(now, l.cfg.Logins.Window)
	e.failed.add(mark, now, l.cfg.Logins.Failures)
	l.table.grown(e, now)
	n := l.table.distinct(e, now)
	l.table.mu.Unlock()

	l.metrics.failures.Inc()
	if n >= l.cfg.Logins.Failures || guessed && n >= l.cfg.Logins.GuessingFailures {
		l.banFor(client, l.failedReason(n))
	}
}

func (l *Limits) failedReason(n int) string {
	return fmt.Sprintf("%d different logins failed within %s", n, short(l.cfg.Logins.Window))
}

// short writes a duration without zeros at its end: "15m", "24h".
func short(d time.Duration) string {
	text := d.String()
	for _, zeros := range []string{"m0s", "h0m"} {
		if len(text) > len(zeros) && text[len(text)-len(zeros):] == zeros {
			text = text[:len(text)-2]
		}
	}
	return text
}
