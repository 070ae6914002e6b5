package smtpd

import (
	"bytes"
	"strings"
)

// command parses one line, its line end included, and answers it.
func (c *Conn) command(line []byte) {
	text, ok := trimLine(line)
	if !ok {
		c.trace("received", []byte("(malformed line)"))
		c.runBatch() // It began like a RCPT, perhaps.
		c.mistake(500, "5.5.2", "command lines end in CRLF and have no control characters")
		return
	}
	verb, args := splitVerb(text)
	var upper [8]byte
	if len(verb) > len(upper) {
		c.unknown(text)
		return
	}
	name := upper[:len(verb)]
	for i, b := range verb {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		name[i] = b
	}
	if c.tracing() {
		c.traceCommand(string(name), string(args), text)
	}
	switch string(name) {
	case "MAIL":
		c.handleMail(string(args))
	case "RCPT":
		c.handleRcpt(string(args))
	case "DATA":
		c.handleData(args)
	case "BDAT":
		c.handleBdat(string(args))
	case "RSET":
		c.handleRset()
	case "EHLO", "HELO", "LHLO":
		c.handleHello(string(name), string(args))
	case "QUIT":
		c.reply(221, "2.0.0", "bye")
		c.end("quit")
	case "NOOP":
		c.idleCommand(250, "2.0.0", "ok")
	case "VRFY":
		c.handleVrfy(args)
	case "HELP":
		c.idleCommand(214, "2.0.0", "commands are those of RFC 5321 and of the extensions that EHLO lists")
	case "STARTTLS":
		c.handleStartTLS(args)
	case "AUTH":
		c.handleAuth(string(args))
	case "EXPN", "TURN", "ETRN", "SEND", "SOML", "SAML":
		c.mistake(502, "5.5.1", "command not implemented")
	default:
		c.unknown(text)
	}
}

// traceCommand logs a command without what may be secret: responses of AUTH, and also what is no command, since that may
// be a response that came too late.
func (c *Conn) traceCommand(verb, args string, text []byte) {
	switch verb {
	case "AUTH":
		mechanism, _, _ := strings.Cut(args, " ")
		text = []byte("AUTH " + mechanism + " ***")
	case "MAIL", "RCPT", "DATA", "BDAT", "RSET", "EHLO", "HELO", "LHLO", "QUIT", "NOOP", "VRFY", "HELP", "STARTTLS", "EXPN":
	default:
		text = []byte("(unknown command)")
	}
	c.trace("received", text)
}

// trimLine takes off the CRLF and trailing spaces. It is not ok with a bare LF or with control characters.
func trimLine(line []byte) ([]byte, bool) {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return nil, false
	}
	for _, b := range text {
		if b < ' ' || b == 0x7f {
			return nil, false
		}
	}
	return bytes.TrimRight(text, " "), true
}

func splitVerb(text []byte) (verb, args []byte) {
	if i := bytes.IndexByte(text, ' '); i >= 0 {
		return text[:i], text[i+1:]
	}
	return text, nil
}

// unknown answers what is no command. Somebody else's protocol is cut off: what follows may be commands that a browser
// was made to send.
func (c *Conn) unknown(text []byte) {
	for _, foreign := range []string{"GET /", "POST /", "PUT /", "HEAD /", "OPTIONS ", "CONNECT ", "PRI * HTTP", "HOST:", "CONTENT-"} {
		if len(text) >= len(foreign) && equalFold(text[:len(foreign)], foreign) {
			c.reply(421, "5.7.0", "this is a mail server")
			c.end("foreign protocol")
			return
		}
	}
	c.mistake(500, "5.5.1", "unknown command")
}

// idleCommand answers what costs nothing, so that too many of them are an error.
func (c *Conn) idleCommand(code int, enhanced, text string) {
	c.reply(code, enhanced, text)
	if c.idleCommands++; c.idleCommands > maxIdleCommands {
		c.errors++
		c.endIfTooMany()
	}
}

func (c *Conn) handleRset() {
	c.resetTransaction()
	c.idleCommand(250, "2.0.0", "ok")
}

// handleVrfy promises nothing (RFC 5321 §3.5.3).
func (c *Conn) handleVrfy(args []byte) {
	if len(args) == 0 {
		c.mistake(501, "5.5.4", "VRFY needs an address")
		return
	}
	c.idleCommand(252, "2.0.0", "cannot verify, but will take mail for what RCPT accepts")
}
