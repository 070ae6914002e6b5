package pop3

import (
	"log/slog"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// quit ends the session and removes what is marked: all of it, or none where it answers -ERR (RFC 1939 §6).
func (c *session) quit(args []byte) result {
	if r, fine := c.noArgs(args); !fine {
		return r
	}
	c.hangUp("quit")
	if c.drop == nil {
		return c.out.ok("bye")
	}
	ctx, cancel := c.call()
	defer cancel()
	err := c.drop.remove(ctx)
	c.drop.close(c)
	if err != nil {
		c.log.LogAttrs(c.ctx, slog.LevelWarn, "messages not removed", obs.Error(err))
		return c.out.fail("SYS/TEMP", "the marked messages were not removed, try again")
	}
	return c.out.ok("bye")
}
