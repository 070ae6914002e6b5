package smtpd

import (
	"errors"
	"strconv"

	"github.com/mailfarm/mailfarm/internal/reply"
)

// handleData takes a message (RFC 5321 §4.1.1.4).
func (c *Conn) handleData(args []byte) {
	switch {
	case len(args) > 0:
		c.mistake(501, "5.5.4", "DATA has no arguments")
		return
	case c.chunks.msg != nil:
		c.mistake(503, "5.5.1", "DATA after BDAT") // RFC 3030 §2
		return
	case !c.hasRecipient():
		return
	}
	msg, err := c.session.Data(c.ctx)
	if err != nil {
		c.refuse(err)
		c.refusedMessage()
		return
	}
	r := receiver{conn: c, msg: msg}
	defer r.abort() // For a panic, and when the peer is gone.
	c.reply(354, "", "end with <CRLF>.<CRLF>")
	if err := c.readDotted(&r); err != nil {
		c.failed(err)
		return
	}
	c.finish(&r)
}

// hasRecipient answers 503 or 554 otherwise.
func (c *Conn) hasRecipient() bool {
	switch {
	case !c.mail:
		// Chunks may be pipelined behind one that was refused: no mistake, unless it goes on for ever.
		c.idleCommand(503, "5.5.1", "say MAIL first")
	case c.rcpts == 0 && c.server.cfg.LMTP:
		c.reply(503, "5.5.1", "no valid recipients") // RFC 2033 §4.2
	case c.rcpts == 0:
		c.reply(554, "5.5.1", "no valid recipients")
	default:
		return true
	}
	return false
}

// readDotted reads up to and including CRLF.CRLF; an error is the connection's.
func (c *Conn) readDotted(r *receiver) error {
	c.read = readBody
	c.in.grow()
	var scan dotScanner
	for {
		if len(c.in.buffered()) == 0 {
			if err := c.in.fill(); err != nil {
				return err
			}
		}
		span, n, done := scan.next(c.in.buffered())
		c.in.r += n
		if len(span) > 0 {
			r.write(span, scan.fault)
		}
		if done {
			return nil
		}
	}
}

// finish ends the message that r has received, answers it, and ends the transaction.
func (c *Conn) finish(r *receiver) {
	receipt, err := r.commit()
	c.answer(receipt, err)
	if err == nil {
		c.server.stats.messages.Add(1)
		c.server.stats.octets.Add(r.size)
		c.messages++
		c.errors, c.refused, c.idleCommands = 0, 0, 0
		c.resetTransaction()
	} else {
		c.refusedMessage()
	}
	if c.server.cfg.AfterReply != nil {
		c.flush()
		c.server.cfg.AfterReply()
	}
}

// refusedMessage ends the transaction of a message that was not accepted.
func (c *Conn) refusedMessage() {
	c.server.stats.refusedMessages.Add(1)
	c.resetTransaction()
}

// answer gives the reply to a message: one, or with LMTP one per recipient.
func (c *Conn) answer(receipt string, err error) {
	if !c.server.cfg.LMTP {
		c.answerOne(receipt, err)
		return
	}
	var each Replies
	errors.As(err, &each)
	for i := range c.rcpts {
		switch {
		case len(each) == c.rcpts:
			c.answerOne(receipt, each[i])
		default:
			c.answerOne(receipt, err)
		}
	}
}

func (c *Conn) answerOne(receipt string, err error) {
	if err != nil {
		c.refuse(err)
		return
	}
	c.reply(250, "2.0.0", receipt)
}

// receiver feeds a Message until something is wrong with it, and then drops what still arrives.
type receiver struct {
	conn  *Conn
	msg   Message // nil once it was committed or aborted
	size  int64   // of all that arrived, dropped or not
	fault fault
	err   error // of Message.Write
}

// write takes the next octets, which with those before them have fault.
func (r *receiver) write(p []byte, fault fault) {
	r.size += int64(len(p))
	r.fault |= fault
	if r.problem() == nil {
		_, r.err = r.msg.Write(p)
	}
	if r.problem() != nil {
		r.abort() // It gives back at once what it holds.
	}
}

// problem is the reply to a message that cannot be accepted, else nil. Of several the choice does not depend on how reads
// were split.
func (r *receiver) problem() error {
	switch limit := r.conn.server.cfg.Limits.MessageBytes; {
	case r.fault != 0:
		return r.fault.reply()
	case r.size > limit:
		return tooLarge(limit)
	}
	return r.err
}

func (r *receiver) commit() (receipt string, err error) {
	if err := r.problem(); err != nil {
		r.abort()
		return "", err
	}
	msg := r.msg
	receipt, err = msg.Commit(r.conn.ctx)
	r.msg = nil // Behind the call: if it panics, Abort is still due.
	return receipt, err
}

// abort is a no-op on a message that has ended.
func (r *receiver) abort() {
	if msg := r.msg; msg != nil {
		r.msg = nil
		msg.Abort()
	}
}

func tooLarge(limit int64) *reply.Error {
	return reply.Permanent(552, "5.3.4", "message too large, the limit is "+strconv.FormatInt(limit, 10)+" octets")
}

// reply says what is wrong with the octets of a message.
func (f fault) reply() *reply.Error {
	switch {
	case f&faultBareLF != 0:
		return reply.Permanent(550, "5.6.11", "message has a bare LF (RFC 5321 section 2.3.8)")
	case f&faultBareCR != 0:
		return reply.Permanent(550, "5.6.11", "message has a bare CR (RFC 5321 section 2.3.8)")
	}
	return reply.Permanent(550, "5.6.0", "message has a NUL")
}
