package imap

import (
	"context"

	"github.com/mailfarm/mailfarm/services/imap/internal/search"
	"github.com/mailfarm/mailfarm/services/imap/internal/thread"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// threadings are the algorithms of THREAD.
var threadings = map[string]func([]thread.Message) thread.Threads{
	"ORDEREDSUBJECT": thread.OrderedSubject, "REFERENCES": thread.References, "REFS": thread.Refs,
}

// thread finds messages and tells them in threads (RFC 5256).
func (s *session) thread(l *wire.Lexer) (reply, error) { return s.threadThese(l, false) }

// uidThread is thread with UIDs in the answer.
func (s *session) uidThread(l *wire.Lexer) (reply, error) { return s.threadThese(l, true) }

func (s *session) threadThese(l *wire.Lexer, uid bool) (reply, error) {
	l.Space()
	algorithm := threadings[string(l.Word())]
	if l.Err() == nil && algorithm == nil {
		return bad("unknown threading algorithm"), nil
	}
	l.Space()
	if err := charset(l); err != nil {
		return reply{}, err
	}
	l.Space()
	req := &searchRequest{uid: uid, whole: true, key: search.Parse(l)}
	if l.Err() != nil {
		return reply{}, l.Err()
	}
	f, err := s.find(req)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.svc.cfg.SearchTimeout)
	defer cancel()
	leave, err := s.svc.enterSort(ctx, f.seqs.Count())
	if err != nil {
		return reply{}, err
	}
	defer leave()
	messages := make([]thread.Message, 0, f.seqs.Count())
	err = s.withKeys(ctx, f.seqs, true, func(b *batch, seq uint32) {
		for i, uid := range b.cols.UIDs {
			r := b.keys[i]
			if !r.Known() {
				continue
			}
			m := thread.Message{Number: seq + uint32(i), Sent: sentDate(b, i), Received: b.cols.Received[i], ID: r.ID(),
				Base: string(r.Base()), Reply: r.IsReply()}
			if refs := r.Refs(); len(refs) > 0 {
				m.Refs = append([]uint64(nil), refs...)
			}
			if req.uid {
				m.Number = uint32(uid)
			}
			messages = append(messages, m)
		}
	})
	if err != nil {
		return reply{}, err
	}
	b := append(s.out.Take(), "* THREAD"...)
	if len(messages) > 0 {
		b = append(b, ' ')
	}
	b = algorithm(messages).AppendTo(b, func(b []byte) []byte {
		s.out.Give(b)
		return s.out.Take()
	})
	s.out.Give(append(b, "\r\n"...))
	return reply{}, nil
}
