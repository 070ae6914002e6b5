package smtpd

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reply"
)

// handleMail begins a transaction (RFC 5321 §4.1.1.2).
func (c *Conn) handleMail(args string) {
	limits := &c.server.cfg.Limits
	switch {
	case c.helo == "":
		c.mistake(503, "5.5.1", "say "+c.helloVerb()+" first")
		return
	case c.mail:
		c.mistake(503, "5.5.1", "the sender has been given")
		return
	case c.server.cfg.RequireAuth && !c.authenticated:
		if c.tls == nil && c.server.cfg.TLS != nil && len(c.session.AuthMechanisms()) == 0 {
			c.mistake(530, "5.7.0", "say STARTTLS, then AUTH, first") // RFC 3207 §4
			return
		}
		c.mistake(530, "5.7.0", "authentication required") // RFC 4954 §6
		return
	case c.messages >= limits.Messages:
		c.reply(421, "4.7.0", "too many messages on this connection, open another")
		c.end("too many messages")
		return
	}
	from, opts, r := c.parseMail(args)
	if r != nil {
		c.mistake(r.Code, r.Enhanced, r.Text)
		return
	}
	if opts.Size > limits.MessageBytes {
		c.reply(552, "5.3.4", "message too large, the limit is "+strconv.FormatInt(limits.MessageBytes, 10)+" octets")
		return
	}
	smtputf8, size := opts.UTF8, opts.Size // opts is the Session's from here on.
	if err := c.session.Mail(c.ctx, from, opts); err != nil {
		c.refuse(err)
		return
	}
	c.mail, c.utf8, c.declared = true, smtputf8, size
	c.deadline = time.Now().Add(c.server.cfg.Timeouts.Transaction)
	c.reply(250, "2.1.0", "sender ok")
}

func (c *Conn) helloVerb() string {
	if c.server.cfg.LMTP {
		return "LHLO"
	}
	return "EHLO"
}

// parseMail reads "FROM:<path> parameters".
func (c *Conn) parseMail(args string) (envelope.ReversePath, *smtp.MailOptions, *reply.Error) {
	path, ok := cutKeyword(args, "FROM:")
	if !ok {
		return "", nil, reply.Permanent(501, "5.5.4", "MAIL FROM:<address> expected")
	}
	// SMTPUTF8 stands behind the path that needs it.
	smtputf8 := c.esmtp && hasParameter(path, "SMTPUTF8")
	from, rest, err := envelope.ParseReversePath(path, smtputf8)
	if err != nil {
		return "", nil, pathReply(err, "5.1.7")
	}
	opts := &smtp.MailOptions{UTF8: smtputf8}
	var seen [8]string
	for n := 0; ; n++ {
		p, next, err := envelope.NextParameter(rest, smtputf8)
		switch {
		case err != nil:
			return "", nil, reply.Permanent(501, "5.5.4", err.Error())
		case p.Keyword == "":
			return from, opts, nil
		case !c.esmtp:
			return "", nil, reply.Permanent(555, "5.5.4", "parameters need EHLO")
		case n == len(seen) || contains(seen[:n], p.Keyword):
			return "", nil, reply.Permanent(501, "5.5.4", "parameter given twice")
		}
		if r := c.mailParameter(opts, p); r != nil {
			return "", nil, r
		}
		seen[n], rest = p.Keyword, next
	}
}

func (c *Conn) mailParameter(opts *smtp.MailOptions, p envelope.Parameter) *reply.Error {
	switch strings.ToUpper(p.Keyword) {
	case "SIZE": // RFC 1870 §4: up to 20 digits
		size, err := strconv.ParseUint(p.Value, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) || p.Value == "" || p.Value[0] == '+' {
			return badValue(p)
		}
		opts.Size = int64(min(size, 1<<62))
	case "BODY": // RFC 6152 §2
		opts.Body = smtp.BodyType(strings.ToUpper(p.Value))
		if opts.Body != smtp.Body7Bit && opts.Body != smtp.Body8BitMIME {
			return badValue(p)
		}
	case "SMTPUTF8": // RFC 6531 §3.4
		if p.HasValue {
			return badValue(p)
		}
	case "RET": // RFC 3461 §4.3
		opts.Return = smtp.DSNReturn(strings.ToUpper(p.Value))
		if opts.Return != smtp.DSNReturnFull && opts.Return != smtp.DSNReturnHeaders {
			return badValue(p)
		}
	case "ENVID": // RFC 3461 §4.4
		envid, err := envelope.DecodeXtext(p.Value)
		if err != nil || p.Value == "" || len(p.Value) > 100 {
			return badValue(p)
		}
		opts.EnvelopeID = envid
	case "AUTH": // RFC 4954 §5
		if len(c.session.AuthMechanisms()) == 0 && !c.authenticated {
			return unknownParameter()
		}
		mailbox, err := envelope.DecodeXtext(p.Value)
		if err != nil || p.Value == "" {
			return badValue(p)
		}
		if mailbox == "<>" {
			mailbox = ""
		} else if _, err := envelope.ParseMailbox(mailbox, opts.UTF8); err != nil {
			return badValue(p)
		}
		opts.Auth = &mailbox
	default:
		return unknownParameter()
	}
	return nil
}

func badValue(p envelope.Parameter) *reply.Error {
	return reply.Permanent(501, "5.5.4", "bad value of "+strings.ToUpper(p.Keyword))
}

func unknownParameter() *reply.Error { return reply.Permanent(555, "5.5.4", "unknown parameter") }

// pathReply tells what is wrong with a path; enhanced is for its syntax.
func pathReply(err error, enhanced string) *reply.Error {
	if errors.Is(err, envelope.ErrNotASCII) {
		return reply.Permanent(553, "5.6.7", err.Error()) // RFC 6531 §3.5
	}
	return reply.Permanent(501, enhanced, err.Error())
}

// cutKeyword takes "FROM:" or "TO:" off the front.
// QUIRK: many clients put a space behind the colon, some before it.
func cutKeyword(args, keyword string) (string, bool) {
	args = strings.TrimLeft(args, " ")
	name := keyword[:len(keyword)-1]
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(name)], name) {
		return "", false
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(args[len(name):], " "), ":")
	return strings.TrimLeft(rest, " "), ok
}

// hasParameter looks for a parameter before the path in front of it is parsed; a path with that text in its
// quotes only gets leave for UTF-8.
func hasParameter(args, keyword string) bool {
	for word := range strings.SplitSeq(args, " ") {
		if strings.EqualFold(word, keyword) {
			return true
		}
	}
	return false
}

func contains(seen []string, keyword string) bool {
	for _, s := range seen {
		if strings.EqualFold(s, keyword) {
			return true
		}
	}
	return false
}
