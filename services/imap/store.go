package imap

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// Limits of flags in one command.
const (
	flagsMax   = 100
	keywordMax = 100 // octets
)

// storeRequest is a STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
type storeRequest struct {
	seqs   wire.Set
	uid    bool
	mode   storev1.FlagMode
	silent bool
	flags  []string

	conditional    bool
	unchangedSince uint64

	// down tells that it is done in part, from the highest message down.
	down bool
}

// store changes flags.
func (s *session) store(l *wire.Lexer) (reply, error) { return s.storeThese(l, false) }

// uidStore is store by UID.
func (s *session) uidStore(l *wire.Lexer) (reply, error) { return s.storeThese(l, true) }

func (s *session) storeThese(l *wire.Lexer, uid bool) (reply, error) {
	req, err := s.parseStore(l, uid)
	if err != nil {
		return reply{}, err
	}
	if s.sel.readOnly {
		return errReadOnly, nil
	}
	if req.conditional {
		s.enableCondstore()
	}
	seqs, limit := s.capped(req.seqs)
	req.down = limit != ""
	uids := s.sel.snap.UIDs(seqs)
	if len(uids) == 0 {
		return reply{}, nil
	}
	var resp *storev1.FlagResponse
	err = s.working(uids.Count(), func(ctx context.Context) (err error) {
		resp, err = s.flag(ctx, &storev1.FlagRequest{
			Uids: packUIDs(uids), Mode: req.mode, Flags: req.flags, UnchangedSince: req.unchangedSince, HasUnchangedSince: req.conditional,
		})
		return err
	})
	if status.Code(err) == codes.FailedPrecondition {
		return errKeywords, nil
	}
	if err != nil {
		return reply{}, err
	}
	modified, err := unpackUIDs(resp.GetModified())
	if err != nil {
		return reply{}, err
	}
	if err := s.tellStored(req, uids, modified, mailbox.ModSeq(resp.GetModSeq())); err != nil {
		return reply{}, err
	}
	if len(modified) == 0 {
		return s.limited(reply{}, limit), nil
	}
	failed := modified
	if !uid {
		failed = s.sel.snap.Seqs(modified)
	}
	return s.limited(okCode("MODIFIED "+string(wire.AppendSet(nil, failed)), "some had changed"), limit), nil
}

// flag changes flags in the selected mailbox. What became of it is known then, or asked for by whoever tells the client.
func (s *session) flag(ctx context.Context, req *storev1.FlagRequest) (*storev1.FlagResponse, error) {
	since := s.sel.box.Current().HighestModSeq
	req.Account, req.Actor, req.Mailbox, req.SinceModSeq = s.sel.owner(), uint64(s.account), uint64(s.sel.snap.ID), uint64(since)
	resp, err := s.svc.deps.Mailboxes.Flag(ctx, req)
	if err == nil && !s.sel.box.Flagged(ctx, since, resp.GetTold()) {
		s.dirty.Store(true)
	}
	return resp, err
}

func (s *session) parseStore(l *wire.Lexer, uid bool) (*storeRequest, error) {
	req := &storeRequest{uid: uid}
	l.Space()
	set, saved := l.Set()
	l.Space()
	if l.Peek() == '(' {
		l.List(func() {
			if string(l.Word()) != "UNCHANGEDSINCE" {
				l.Fail("unknown modifier")
				return
			}
			l.Space()
			req.unchangedSince = l.Number64()
			req.conditional = true
		})
		l.Space()
	}
	switch item := string(l.Word()); item {
	case "FLAGS", "FLAGS.SILENT":
		req.mode = storev1.FlagMode_FLAG_MODE_REPLACE
		req.silent = len(item) > 5
	case "+FLAGS", "+FLAGS.SILENT":
		req.mode = storev1.FlagMode_FLAG_MODE_ADD
		req.silent = len(item) > 6
	case "-FLAGS", "-FLAGS.SILENT":
		req.mode = storev1.FlagMode_FLAG_MODE_REMOVE
		req.silent = len(item) > 6
	default:
		l.Fail("unknown item to store")
	}
	l.Space()
	if l.Peek() == '(' {
		req.flags = flagList(l)
	} else {
		for l.Err() == nil {
			req.flags = addFlag(l, req.flags)
			if !l.Accept(' ') {
				break
			}
		}
	}
	if l.End(); l.Err() != nil {
		return nil, l.Err()
	}
	var err error
	req.seqs, err = s.seqs(set, saved, uid)
	return req, err
}

// flagList reads flags in parentheses.
func flagList(l *wire.Lexer) []string {
	var flags []string
	l.List(func() { flags = addFlag(l, flags) })
	return flags
}

// addFlag reads one flag: a system flag that can be changed, or a keyword.
func addFlag(l *wire.Lexer, flags []string) []string {
	name := string(l.Flag())
	if l.Err() != nil {
		return flags
	}
	if strings.HasPrefix(name, `\`) {
		if strings.EqualFold(name, `\Recent`) {
			// QUIRK: clients that copy what FETCH gave them; nobody but the server changes \Recent.
			return flags
		}
		if _, ok := mailbox.SystemFlag(name); !ok {
			l.Fail("unknown system flag")
		}
	}
	if len(name) > keywordMax {
		l.Fail("keyword too long")
	}
	if len(flags) >= flagsMax {
		l.Fail("too many flags")
	}
	for _, f := range flags {
		if strings.EqualFold(f, name) {
			return flags
		}
	}
	return append(flags, name)
}

// tellStored tells what a STORE did: of the messages it was about their new flags, or with .SILENT only what others changed,
// and then MODSEQ where the client keeps it (RFC 7162 §3.1.3); of other messages what changed meanwhile.
func (s *session) tellStored(req *storeRequest, uids, modified wire.Set, modSeq mailbox.ModSeq) error {
	err := s.tellChanges(!req.uid, func(ch view.Change) bool {
		if !uids.Contains(uint32(ch.UID)) || modified.Contains(uint32(ch.UID)) {
			return true
		}
		return req.silent && ch.New != req.result(ch.Old, s.sel.box.Current().Keywords)
	})
	if err != nil {
		return err
	}
	if req.silent && !s.enabled.condstore {
		return nil
	}
	seqs := s.sel.snap.Seqs(uids)
	if len(modified) > 0 {
		seqs = seqs.Less(s.sel.snap.Seqs(modified))
	}
	if req.silent {
		if req.conditional {
			modSeq = 0 // a condition that was met is answered for each message (RFC 7162 §3.1.3)
		}
		s.fetchModSeqs(seqs, modSeq, req.down)
		return nil
	}
	s.fetchFlagsBy(walkBy(s.sel.snap, req.down), seqs, req.uid || s.enabled.condstore, s.enabled.condstore)
	return nil
}

// result is what a STORE makes of flags.
func (req *storeRequest) result(old mailbox.Flags, keywords []string) mailbox.Flags {
	var bits mailbox.Flags
	for _, name := range req.flags {
		bit, _ := mailbox.FindFlag(name, keywords)
		bits |= bit
	}
	switch req.mode {
	case storev1.FlagMode_FLAG_MODE_ADD:
		return old | bits
	case storev1.FlagMode_FLAG_MODE_REMOVE:
		return old &^ bits
	}
	return bits
}

// fetchModSeqs tells the MODSEQ of those entries that have it, or with 0 of all.
func (s *session) fetchModSeqs(seqs wire.Set, changed mailbox.ModSeq, down bool) {
	s.sel.told = true
	walkBy(s.sel.snap, down)(seqs, view.WantUID|view.WantModSeq, func(seq uint32, cols *view.Columns, lo, hi int) error {
		for i := lo; i < hi; i, seq = i+1, seq+1 {
			if changed != 0 && cols.ModSeqs[i] != changed {
				continue
			}
			b := s.appendFetch(s.out.Take(), seq, uint32(cols.UIDs[i]))
			if !s.enabled.uidonly {
				b = append(b, "UID "...)
				b = strconv.AppendUint(b, uint64(cols.UIDs[i]), 10)
				b = append(b, ' ')
			}
			b = append(b, "MODSEQ ("...)
			b = strconv.AppendUint(b, uint64(cols.ModSeqs[i]), 10)
			s.out.Give(append(b, "))\r\n"...))
		}
		return s.out.Err()
	})
}
