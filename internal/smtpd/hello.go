package smtpd

import (
	"strconv"
	"strings"
)

// maxHelo is a domain's length (RFC 5321 §4.5.3.1.2).
const maxHelo = 255

func (c *Conn) handleHello(verb, args string) {
	switch {
	case c.server.cfg.LMTP && verb != "LHLO":
		c.mistake(500, "5.5.1", "this is LMTP: say LHLO") // RFC 2033 §4.1
		return
	case !c.server.cfg.LMTP && verb == "LHLO":
		c.mistake(500, "5.5.1", "this is SMTP: say EHLO")
		return
	}
	helo, _, _ := strings.Cut(strings.TrimLeft(args, " "), " ")
	if !isPrintable(helo) || len(helo) > maxHelo {
		c.mistake(501, "5.5.4", verb+" needs your domain or address literal")
		return
	}
	c.resetTransaction() // RFC 5321 §4.1.4: as RSET
	c.helo, c.esmtp = helo, verb != "HELO"
	if !c.esmtp {
		c.reply(250, "", c.server.cfg.Hostname)
		return
	}
	c.reply(250, "", c.capabilities())
}

// capabilities is the text of EHLO's reply.
func (c *Conn) capabilities() string {
	cfg := &c.server.cfg
	var b strings.Builder
	b.Grow(512)
	b.WriteString(cfg.Hostname)
	b.WriteString("\nPIPELINING\nSIZE ")
	b.WriteString(strconv.FormatInt(cfg.Limits.MessageBytes, 10))
	b.WriteString("\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nCHUNKING\nDSN\nLIMITS RCPTMAX=")
	b.WriteString(strconv.Itoa(cfg.Limits.Recipients))
	b.WriteString(" MAILMAX=")
	b.WriteString(strconv.Itoa(cfg.Limits.Messages))
	if cfg.TLS != nil && c.tls == nil {
		b.WriteString("\nSTARTTLS")
	}
	if mechanisms := c.session.AuthMechanisms(); len(mechanisms) > 0 && !c.authenticated {
		b.WriteString("\nAUTH ")
		b.WriteString(strings.Join(mechanisms, " "))
	}
	return b.String()
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
