package imap

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// appendPiece is how much of a message is sent to the store at a time; appendsMax bounds MULTIAPPEND (RFC 3502).
const (
	appendPiece = 64 << 10
	appendsMax  = 1000
)

var piecePool = sync.Pool{New: func() any { b := make([]byte, appendPiece); return &b }}

// errNUL is a message with an octet that no mail may have (RFC 5322 §2.2, RFC 9051 §9 CHAR8).
var errNUL = no("UNKNOWN-CTE", "message contains NUL")

// appender is one APPEND under way (RFC 9051 §6.3.12, RFC 3502, RFC 6855 §4).
type appender struct {
	s      *session
	name   string
	to     place
	stream grpc.ClientStreamingClient[storev1.AppendRequest, storev1.AppendResponse]
	total  int64
	// catenates tells that the message is put together of parts.
	catenates bool
	// utf8 tells that the literal stands in UTF8 ( ).
	utf8 bool
	// replaced, where it is not 0, is the UID of the message in the selected mailbox that the one message replaces.
	replaced uint32
}

// append files messages that the client sends. Nothing is asked for before it is sure that the mailbox exists and the size is
// allowed.
func (s *session) append(l *wire.Lexer) (reply, error) {
	a := &appender{s: s}
	start, lit, err := a.parseFirst(l)
	return a.run(l, start, lit, err)
}

// run takes the messages, the first of which was announced, or refused with an error.
func (a *appender) run(l *wire.Lexer, start *storev1.AppendStart, lit wire.Literal, err error) (reply, error) {
	s := a.s
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if err == nil && !lit.NonSync {
		// What comes unasked is sent on at once: the store will say.
		err = a.check()
	}
	for n := 1; ; n++ {
		if err == nil && !a.catenates {
			err = a.checkSize(lit)
		}
		if err != nil {
			return a.refuse(err)
		}
		if n == 1 {
			start.Operation = make([]byte, 16)
			rand.Read(start.Operation) // never fails
			boxes := s.svc.deps.Mailboxes
			if a.to.owner != s.account && s.svc.deps.Guarded != nil {
				boxes = s.svc.deps.Guarded
			}
			if a.stream, err = boxes.Append(ctx); err != nil {
				return a.refuse(err)
			}
		}
		if err := a.message(l, start, lit); err != nil {
			return reply{}, err
		}
		if a.utf8 {
			l.Expect(')')
		}
		if l.AtEnd() {
			if l.Err() != nil {
				// The Lexer is at its end then, whatever literal the line announces.
				return a.refuse(l.Err())
			}
			return a.finish()
		}
		if err := s.maySave(uint64(n) + 1); err != nil {
			return a.refuse(err)
		}
		if n >= appendsMax || a.replaced != 0 {
			l.Fail("too many messages")
		}
		if start, lit, err = a.parseNext(l); err != nil {
			return a.refuse(err)
		}
	}
}

// parseFirst reads the mailbox and the first message's options, up to the announcement of its literal.
func (a *appender) parseFirst(l *wire.Lexer) (*storev1.AppendStart, wire.Literal, error) {
	l.Space()
	a.name = a.s.mailboxName(l)
	if l.Err() == nil {
		var err error
		if a.to, err = a.s.locate(a.name); err != nil {
			return nil, wire.Literal{}, tryCreate(err)
		}
	}
	return a.parseNext(l)
}

// parseNext reads a message's flags and date.
func (a *appender) parseNext(l *wire.Lexer) (*storev1.AppendStart, wire.Literal, error) {
	start := &storev1.AppendStart{Account: uint64(a.to.owner), Actor: uint64(a.s.account), Mailbox: a.to.name}
	l.Space()
	if l.Peek() == '(' {
		start.Flags = flagList(l)
		l.Space()
	}
	if l.Peek() == '"' {
		if t := l.DateTime(); l.Err() == nil {
			start.ReceivedNs = t.UnixNano()
		}
		l.Space()
	}
	a.utf8 = false
	if a.catenates = l.AcceptWord("CATENATE"); a.catenates {
		l.Space()
		l.Open()
		return start, wire.Literal{}, l.Err()
	}
	if c := l.Peek(); c == 'U' || c == 'u' {
		if string(l.Word()) != "UTF8" || !a.s.utf8OK() {
			l.Fail("unknown APPEND data")
		}
		l.Space()
		l.Open()
		a.utf8 = true
		if l.Peek() != '~' {
			l.Fail("expected literal8")
		}
	}
	lit := l.Announced()
	start.Size = lit.Size
	return start, lit, l.Err()
}

// check tells at once that a mailbox is not there.
func (a *appender) check() error {
	_, err := a.s.mailbox(a.name)
	if r, ok := err.(reply); ok && r.code == "NONEXISTENT" {
		return no("TRYCREATE", "no such mailbox")
	}
	return err
}

func (a *appender) checkSize(lit wire.Literal) error {
	a.total += lit.Size
	switch {
	case lit.Size == 0:
		return no("", "empty message")
	case lit.Size > a.s.svc.cfg.MaxAppend:
		return no("TOOBIG", "message larger than APPENDLIMIT")
	case a.total > a.s.svc.cfg.MaxAppend+dropMax:
		return no("TOOBIG", "messages too large together")
	}
	return nil
}

// refuse ends the command without the literal: one that waits to be asked for never comes, another is dropped.
func (a *appender) refuse(because error) (reply, error) {
	if err := a.s.in.DropLiteral(a.s.in.NonSync()); err != nil {
		a.s.readErr = err
	}
	return reply{}, because
}

// message passes one message on to the store, and reads what follows it into l.
func (a *appender) message(l *wire.Lexer, start *storev1.AppendStart, lit wire.Literal) error {
	if a.catenates {
		return a.catenate(l, start)
	}
	if !lit.NonSync {
		a.s.goAhead()
	}
	m := &passing{a: a}
	m.send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Start{Start: start}})
	err := a.octets(func(p []byte) {
		m.send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: p}})
	}, func(err error) { m.failed = err })
	if err != nil {
		return err
	}
	m.send(&storev1.AppendRequest{Part: &storev1.AppendRequest_End{End: true}})
	if m.failed == nil {
		return a.goOn(l)
	}
	// What is left of the command is dropped, with further messages.
	if err := a.s.in.DropLiteral(true); err != nil {
		a.s.readErr = err
		return err
	}
	return a.refused(m.failed)
}

// octets reads the literal to its end. One with NUL fails.
func (a *appender) octets(take func([]byte), fail func(error)) error {
	buf := piecePool.Get().(*[]byte)
	defer piecePool.Put(buf)
	for {
		n, err := fill(a.s.in, *buf)
		if n > 0 {
			if bytes.IndexByte((*buf)[:n], 0) >= 0 {
				fail(errNUL)
			}
			take((*buf)[:n])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			a.s.readErr = err
			return err
		}
	}
}

// goOn reads what follows a literal, up to the next one.
func (a *appender) goOn(l *wire.Lexer) error {
	rest, err := a.s.in.Command(func([]byte, wire.Literal) wire.Action { return wire.Stream })
	switch err {
	case nil:
		l.Reset(rest)
		return nil
	case wire.ErrTooLong:
		return bad("command line too long")
	}
	a.s.readErr = err
	return err
}

// refused is why the store does not take the message.
func (a *appender) refused(failed error) error {
	if failed == io.EOF {
		// The store has answered already; its reason is there.
		_, failed = a.stream.CloseAndRecv()
	}
	return appendError(failed)
}

// appendError is what APPEND says of the store's refusal.
func appendError(err error) error {
	if status.Code(err) == codes.OutOfRange {
		return no("TOOBIG", "message too large")
	}
	if lacksKeywordRoom(err) {
		return errKeywords
	}
	return tryCreate(err)
}

// fill reads until p is full or the literal ends: few large pieces instead of one per packet.
func fill(in *wire.Reader, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := in.ReadLiteral(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// finish commits all messages together (RFC 3502 §6.3.11).
func (a *appender) finish() (reply, error) {
	resp, err := a.stream.CloseAndRecv()
	if err != nil {
		return reply{}, appendError(err)
	}
	b := strconv.AppendUint([]byte("APPENDUID "), uint64(resp.GetUidValidity()), 10)
	var uids wire.Set
	for _, uid := range resp.GetUids() {
		uids = uids.Add(uid)
	}
	if sel := a.s.sel; sel != nil && uint64(sel.snap.ID) == resp.GetMailbox() {
		a.s.dirty.Store(true)
		a.s.filed(uids)
	}
	code := string(wire.AppendSet(append(b, ' '), uids))
	if a.replaced != 0 {
		return a.tellReplaced(code)
	}
	return okCode(code, ""), nil
}
