package smtpd

import (
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reply"
)

// handleRcpt adds a recipient (RFC 5321 §4.1.1.3). Those that follow it in the buffer are gathered first, so that the
// Session can ask for all of them at once; the replies keep the commands' order.
func (c *Conn) handleRcpt(args string) {
	if !c.mail || c.chunks.msg != nil {
		c.mistake(503, "5.5.1", "say MAIL first")
		return
	}
	if c.rcpts+len(c.batch) >= c.server.cfg.Limits.Recipients {
		c.runBatch() // Some of it may be refused.
	}
	switch rcpt, r := c.parseRcpt(args); {
	case r != nil:
		c.runBatch()
		c.mistake(r.Code, r.Enhanced, r.Text)
	case c.rcpts+len(c.batch) >= c.server.cfg.Limits.Recipients:
		c.reply(452, "4.5.3", "too many recipients") // RFC 5321 §4.5.3.1.10
		c.countRefused()
	default:
		c.batch = append(c.batch, rcpt)
	}
	if len(c.batch) > 0 && (c.closing || len(c.batch) >= maxRcptBatch || !c.in.hasLine("RCPT")) {
		c.runBatch()
	}
}

// runBatch asks the Session about the recipients gathered so far and answers them.
func (c *Conn) runBatch() {
	if len(c.batch) == 0 {
		return
	}
	c.session.Rcpt(c.ctx, c.batch)
	for i := range c.batch {
		if c.closing {
			break
		}
		if err := c.batch[i].Err; err != nil {
			c.refuse(err)
			c.countRefused()
			continue
		}
		c.rcpts++
		c.server.stats.recipients.Add(1)
		c.reply(250, "2.1.5", "recipient ok")
	}
	clear(c.batch)
	c.batch = c.batch[:0]
}

func (c *Conn) countRefused() {
	c.refused++
	c.server.stats.refusedRecipients.Add(1)
	c.endIfTooMany()
}

// parseRcpt reads "TO:<path> parameters".
func (c *Conn) parseRcpt(args string) (Rcpt, *reply.Error) {
	path, ok := cutKeyword(args, "TO:")
	if !ok {
		return Rcpt{}, reply.Permanent(501, "5.5.4", "RCPT TO:<address> expected")
	}
	to, rest, err := envelope.ParseForwardPath(path, c.utf8)
	if err != nil {
		return Rcpt{}, pathReply(err, "5.1.3")
	}
	rcpt := Rcpt{To: to}
	for seen := 0; ; {
		p, next, err := envelope.NextParameter(rest, c.utf8)
		switch {
		case err != nil:
			return Rcpt{}, reply.Permanent(501, "5.5.4", err.Error())
		case p.Keyword == "":
			return rcpt, nil
		case !c.esmtp:
			return Rcpt{}, reply.Permanent(555, "5.5.4", "parameters need EHLO")
		}
		bit, r := rcptParameter(&rcpt.Options, p)
		switch {
		case r != nil:
			return Rcpt{}, r
		case seen&bit != 0:
			return Rcpt{}, reply.Permanent(501, "5.5.4", "parameter given twice")
		}
		seen, rest = seen|bit, next
	}
}

// rcptParameter also returns a bit that stands for the keyword.
func rcptParameter(opts *smtp.RcptOptions, p envelope.Parameter) (int, *reply.Error) {
	switch {
	case strings.EqualFold(p.Keyword, "NOTIFY"): // RFC 3461 §4.1
		n, err := envelope.ParseNotify(p.Value)
		if err != nil {
			return 0, badValue(p)
		}
		opts.Notify = notifyOptions(n)
		return 1, nil
	case strings.EqualFold(p.Keyword, "ORCPT"): // RFC 3461 §4.2
		const longest = 500
		kind, address, err := envelope.DecodeOrcpt(p.Value)
		if err != nil || len(p.Value) > longest {
			return 0, badValue(p)
		}
		opts.OriginalRecipientType, opts.OriginalRecipient = smtp.DSNAddressType(strings.ToUpper(kind)), address
		return 2, nil
	}
	return 0, unknownParameter()
}

func notifyOptions(n envelope.Notify) []smtp.DSNNotify {
	var list []smtp.DSNNotify
	for _, pair := range []struct {
		bit  envelope.Notify
		name smtp.DSNNotify
	}{
		{envelope.NotifyNever, smtp.DSNNotifyNever}, {envelope.NotifySuccess, smtp.DSNNotifySuccess},
		{envelope.NotifyFailure, smtp.DSNNotifyFailure}, {envelope.NotifyDelay, smtp.DSNNotifyDelayed},
	} {
		if n&pair.bit != 0 {
			list = append(list, pair.name)
		}
	}
	return list
}

// Notify is the NOTIFY parameter; 0 where it was not given.
func (r *Rcpt) Notify() envelope.Notify {
	var n envelope.Notify
	for _, word := range r.Options.Notify {
		if bit, err := envelope.ParseNotify(string(word)); err == nil {
			n |= bit
		}
	}
	return n
}
