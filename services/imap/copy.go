package imap

import (
	"context"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// copy files messages in another mailbox too (RFC 9051 §6.4.7).
func (s *session) copy(l *wire.Lexer) (reply, error) { return s.copyThese(l, false) }

// uidCopy is copy by UID (RFC 9051 §6.4.9).
func (s *session) uidCopy(l *wire.Lexer) (reply, error) { return s.copyThese(l, true) }

func (s *session) copyThese(l *wire.Lexer, uid bool) (reply, error) {
	uids, target, err := s.parseCopy(l, uid)
	if err != nil {
		return reply{}, err
	}
	if len(uids) == 0 {
		return reply{}, nil
	}
	if err := s.maySave(uids.Count()); err != nil {
		return reply{}, err
	}
	to, err := s.locate(target)
	if err != nil {
		return reply{}, tryCreate(err)
	}
	if uint64(to.owner) != s.sel.owner() {
		code, err := s.copyTo(uids, to, false)
		return okCode(code, ""), err
	}
	var resp *storev1.CopyResponse
	err = s.working(uids.Count(), func(ctx context.Context) (err error) {
		resp, err = s.svc.deps.Mailboxes.Copy(ctx, &storev1.CopyRequest{
			Account: s.sel.owner(), Actor: uint64(s.account), Mailbox: uint64(s.sel.snap.ID), Uids: packUIDs(uids), Target: to.name,
		})
		return err
	})
	if err != nil {
		return reply{}, copyError(err)
	}
	if target == s.sel.name {
		s.dirty.Store(true)
		if uids, err := unpackUIDs(resp.GetTargetUids()); err == nil {
			s.filed(uids)
		}
	}
	code, err := copyUID(resp.GetUidValidity(), resp.GetSourceUids(), resp.GetTargetUids())
	if err != nil {
		return reply{}, err
	}
	return okCode(code, ""), nil
}

// parseCopy reads a set and a target.
func (s *session) parseCopy(l *wire.Lexer, uid bool) (wire.Set, string, error) {
	l.Space()
	set, saved := l.Set()
	l.Space()
	target := s.mailboxName(l)
	if l.End(); l.Err() != nil {
		return nil, "", l.Err()
	}
	seqs, err := s.seqs(set, saved, uid)
	if err != nil {
		return nil, "", err
	}
	return s.sel.snap.UIDs(seqs), target, nil
}

// tryCreate tells a client that it may make the target (RFC 9051 §7.1).
func tryCreate(err error) error {
	if r, ok := err.(reply); ok && r.code == errNoMailbox.code || status.Code(err) == codes.NotFound {
		return no("TRYCREATE", "no such mailbox")
	}
	return err
}

// copyError is what COPY and MOVE say of the store's refusal.
func copyError(err error) error {
	if lacksKeywordRoom(err) {
		return errCopyKeywords
	}
	return tryCreate(err)
}

// copyUID is the COPYUID code (RFC 9051 §7.1); empty where nothing was copied.
func copyUID(validity uint32, source, target []byte) (string, error) {
	from, err := unpackUIDs(source)
	if err != nil {
		return "", err
	}
	to, err := unpackUIDs(target)
	if err != nil || len(from) == 0 {
		return "", err
	}
	b := strconv.AppendUint([]byte("COPYUID "), uint64(validity), 10)
	b = wire.AppendSet(append(b, ' '), from)
	b = wire.AppendSet(append(b, ' '), to)
	return string(b), nil
}

// highest is the HIGHESTMODSEQ code (RFC 7162 §3.1.2.1).
func highest(n mailbox.ModSeq) string { return "HIGHESTMODSEQ " + strconv.FormatUint(uint64(n), 10) }
