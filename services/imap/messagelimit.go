package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// limitCapabilities tell what one command may be about, where that is limited (RFC 9738 §4, §5).
func (s *session) limitCapabilities() string {
	c := ""
	if n := s.svc.cfg.MessageLimit; n > 0 {
		c += " MESSAGELIMIT=" + strconv.Itoa(n)
	}
	if n := s.svc.cfg.SaveLimit; n > 0 {
		c += " SAVELIMIT=" + strconv.Itoa(n)
	}
	return c
}

// capped leaves those messages of a command that the limit allows, the latest, and gives the code that tells of it, with the
// lowest UID that is left (RFC 9738 §3.1); empty where nothing was left out.
func (s *session) capped(seqs wire.Set) (wire.Set, string) {
	limit := s.svc.cfg.MessageLimit
	if limit == 0 || seqs.Count() <= uint64(limit) {
		return seqs, ""
	}
	seqs = window{first: 1, last: uint64(limit), fromEnd: true}.of(seqs)
	lowest := uint64(s.sel.snap.UID(seqs[0].First))
	return seqs, "MESSAGELIMIT " + strconv.Itoa(limit) + " " + strconv.FormatUint(lowest, 10)
}

// limited is the answer to a command that was done as far as the limit allows.
func limited(code string) reply {
	if code == "" {
		return reply{}
	}
	return okCode(code, "done in part, the number of messages is limited")
}

// savesMax is how many messages one command may file; 0: any number.
func (s *session) savesMax() int {
	cfg := &s.svc.cfg
	if cfg.SaveLimit > 0 && (cfg.MessageLimit == 0 || cfg.SaveLimit < cfg.MessageLimit) {
		return cfg.SaveLimit
	}
	return cfg.MessageLimit
}

// maySave tells, by no error, that so many messages may be filed by one command: all or none are (RFC 9738 §3.1).
func (s *session) maySave(n uint64) error {
	if limit := s.savesMax(); limit > 0 && n > uint64(limit) {
		return no("MESSAGELIMIT "+strconv.Itoa(limit), "too many messages for one command")
	}
	return nil
}
