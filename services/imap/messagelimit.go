package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// messageLimit is how many messages one command is about; 0: any number. Where both limits are set the lower one is told of and
// holds for all, as a client learns of one only (RFC 9738 §3).
func (s *session) messageLimit() int {
	cfg := &s.svc.cfg
	if cfg.MessageLimit > 0 && cfg.SaveLimit > 0 {
		return min(cfg.MessageLimit, cfg.SaveLimit)
	}
	return cfg.MessageLimit
}

// limitCapabilities tell what one command may be about, where that is limited (RFC 9738 §3): either of all commands, or of
// those that file.
func (s *session) limitCapabilities() string {
	if n := s.messageLimit(); n > 0 {
		return " MESSAGELIMIT=" + strconv.Itoa(n)
	}
	if n := s.svc.cfg.SaveLimit; n > 0 {
		return " SAVELIMIT=" + strconv.Itoa(n)
	}
	return ""
}

// capped leaves those messages of a command that the limit allows, the latest, and gives the code that tells of it, with the
// lowest UID that is left (RFC 9738 §3.1); empty where nothing was left out.
func (s *session) capped(seqs wire.Set) (wire.Set, string) {
	limit := s.messageLimit()
	if limit == 0 || seqs.Count() <= uint64(limit) {
		return seqs, ""
	}
	seqs = window{first: 1, last: uint64(limit), fromEnd: true}.of(seqs)
	lowest := uint64(s.sel.snap.UID(seqs[0].First))
	return seqs, "MESSAGELIMIT " + strconv.Itoa(limit) + " " + strconv.FormatUint(lowest, 10)
}

// walkBy is how messages are told of: in their order, or, where a command is done in part, from the highest down (RFC 9738 §3.1).
func walkBy(snap *view.Snapshot, down bool) func(wire.Set, view.Want, func(uint32, *view.Columns, int, int) error) error {
	if down {
		return snap.WalkDown
	}
	return snap.Walk
}

// doneInPart is what people are told behind the code.
const doneInPart = "done in part, the number of messages is limited"

// limited is the answer to a command that was done as far as the limit allows. Where the answer has a code of its own, the
// limit's comes before it, untagged (RFC 9738 §3.1).
func (s *session) limited(r reply, code string) reply {
	switch {
	case code == "" || r.status == statusBad:
		return r
	case r.code != "" || r.status == statusNo:
		s.untagged("NO [" + code + "] " + doneInPart)
		return r
	}
	return okCode(code, doneInPart)
}

// withinLimit tells, by no error, that a command that is done as a whole or not at all may be about so many messages.
func (s *session) withinLimit(n uint64) error {
	if limit := s.messageLimit(); limit > 0 && n > uint64(limit) {
		return tooMany(limit)
	}
	return nil
}

// maySave is withinLimit for a command that files messages.
func (s *session) maySave(n uint64) error {
	limit := s.messageLimit()
	if limit == 0 {
		limit = s.svc.cfg.SaveLimit
	}
	if limit > 0 && n > uint64(limit) {
		return tooMany(limit)
	}
	return nil
}

func tooMany(limit int) reply {
	return no("MESSAGELIMIT "+strconv.Itoa(limit), "too many messages for one command")
}
