package pop3

import (
	"errors"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/presence"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// lastWords is how long a command in progress may take to end when its session is ended from outside.
const lastWords = 500 * time.Millisecond

// errKicked ends a session that is ended from outside.
var errKicked = errors.New("ended from outside")

// Card is what operators are shown of the session.
func (c *session) Card() *presence.Card { return &c.card }

// Kick ends the session from outside: nothing is removed that QUIT did not ask for (RFC 1939 §3).
func (c *session) Kick(f presence.Farewell) {
	if !c.farewell.CompareAndSwap(nil, &f) {
		return
	}
	c.svc.log.Info("session ended from outside", obs.ConnID(c.id), obs.Reason(f.Words()))
	c.Wake()
	time.AfterFunc(lastWords, c.Cut)
}

// goodbye is the response code and the text of -ERR (RFC 2449 §8, RFC 3206 §4).
func goodbye(f *presence.Farewell) (code, text string) {
	switch f.Reason {
	case adminv1.EndReason_END_REASON_PASSWORD:
		code = "AUTH"
	case adminv1.EndReason_END_REASON_REMOVED:
		code = "SYS/PERM"
	default:
		code = "SYS/TEMP"
	}
	return code, f.Words() + "; nothing was removed"
}

// Clients are the sessions that there are now, for operators.
func (s *Service) Clients() []presence.Session {
	all := s.front.All()
	clients := make([]presence.Session, 0, len(all))
	for _, x := range all {
		if c, ok := x.(presence.Session); ok {
			clients = append(clients, c)
		}
	}
	return clients
}
