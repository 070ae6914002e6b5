package imap

import (
	"context"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// move files messages in another mailbox instead (RFC 9051 §6.4.8). COPYUID comes untagged, before the EXPUNGEs.
func (s *session) move(l *wire.Lexer) (reply, error) { return s.moveThese(l, false) }

// uidMove is move by UID.
func (s *session) uidMove(l *wire.Lexer) (reply, error) { return s.moveThese(l, true) }

func (s *session) moveThese(l *wire.Lexer, uid bool) (reply, error) {
	uids, target, err := s.parseCopy(l, uid)
	if err != nil {
		return reply{}, err
	}
	if s.sel.readOnly {
		return errReadOnly, nil
	}
	if len(uids) == 0 {
		return reply{}, s.tell(false)
	}
	// Unlike COPY it may be done in part.
	seqs, limit := s.capped(s.sel.snap.Seqs(uids))
	if limit != "" {
		uids = s.sel.snap.UIDs(seqs)
	}
	to, err := s.locate(target)
	if err != nil {
		return reply{}, tryCreate(err)
	}
	if uint64(to.owner) != s.sel.owner() {
		code, err := s.copyTo(uids, to, true)
		if err != nil {
			return reply{}, err
		}
		return s.moved(code, limit)
	}
	var resp *storev1.MoveResponse
	err = s.working(uids.Count(), func(ctx context.Context) (err error) {
		resp, err = s.svc.deps.Mailboxes.Move(ctx, &storev1.MoveRequest{
			Account: s.sel.owner(), Actor: uint64(s.account), Mailbox: uint64(s.sel.snap.ID), Uids: packUIDs(uids), Target: to.name,
		})
		return err
	})
	if err != nil {
		return reply{}, copyError(err)
	}
	code, err := copyUID(resp.GetUidValidity(), resp.GetSourceUids(), resp.GetTargetUids())
	if err != nil {
		return reply{}, err
	}
	return s.moved(code, limit)
}

// moved tells what a move did, with what else changed; limit as of capped.
func (s *session) moved(code, limit string) (reply, error) {
	if code != "" {
		s.untagged("OK [" + code + "] moved")
	}
	s.dirty.Store(true)
	if err := s.tell(false); err != nil {
		return reply{}, err
	}
	if s.enabled.condstore && code != "" {
		return s.limited(okCode(highest(s.sel.snap.HighestModSeq), ""), limit), nil
	}
	return s.limited(reply{}, limit), nil
}
