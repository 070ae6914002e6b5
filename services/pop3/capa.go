package pop3

import (
	"strconv"
	"time"
)

// capa lists what the server can (RFC 2449 §5). What both states announce is told in both; STLS is of the first alone (RFC 2595
// §8).
func (c *session) capa(args []byte) result {
	if r, fine := c.noArgs(args); !fine {
		return r
	}
	b := append(c.out.take(), "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nLANG\r\nUTF8 USER\r\nIMPLEMENTATION mailfarm\r\nEXPIRE "...)
	if days := c.svc.cfg.ExpireDays; days == nil {
		b = append(b, "NEVER"...)
	} else {
		b = strconv.AppendInt(b, int64(*days), 10)
	}
	b = append(b, "\r\n"...)
	if d := c.svc.cfg.LoginDelay; d > 0 {
		b = append(b, "LOGIN-DELAY "...)
		b = strconv.AppendInt(b, int64((d+time.Second-1)/time.Second), 10)
		b = append(b, "\r\n"...)
	}
	if c.mayLogin() {
		b = append(b, "USER\r\nSASL"...)
		for _, m := range c.mechanisms() {
			b = append(b, ' ')
			b = append(b, m...)
		}
		b = append(b, "\r\n"...)
	}
	if !c.secure && c.svc.deps.TLS != nil && c.drop == nil {
		b = append(b, "STLS\r\n"...)
	}
	c.out.give(append(b, ".\r\n"...))
	return good
}

// mechanisms are those that this connection can use, best first.
func (c *session) mechanisms() []string {
	if !c.mayLogin() {
		return nil
	}
	if c.binding() != nil {
		return []string{mechSCRAMPlus, mechSCRAM, mechPlain, mechLogin}
	}
	return []string{mechSCRAM, mechPlain, mechLogin}
}
