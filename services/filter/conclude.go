package filter

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// conclude makes the verdict of what was found.
func (e *exam) conclude(stage string) {
	switch {
	case e.trusted:
		e.add(reasonTrusted, "from an account of ours")
	case e.skipped:
		e.add(reasonSkipped, "the client's address says nothing about the sender")
	default:
		e.addSPF()
	}
	if !e.trusted {
		e.addDKIM()
	}
	if e.dmarc != nil {
		e.addDMARC()
	}
	e.checkHeader()
	if e.gtube.found {
		e.add(reasonGTUBE, "test string for spam filters")
	}
	e.act()
	if stage == stageBus {
		e.soften()
	}
	e.verdict.InDialogue = stage == stageDialogue
	e.verdict.Overlay = e.overlay()
}

func (e *exam) addSPF() {
	domain := e.sender.Domain
	if domain == "" {
		domain = "the sender"
	}
	e.add("SPF_"+upper(e.sender.Value), "SPF of "+domain+": "+string(e.sender.Value))
}

func (e *exam) addDKIM() {
	if e.dkim == nil {
		e.add("DKIM_NONE", "no DKIM signature")
		return
	}
	for _, r := range e.signed {
		text := "signature of " + r.Domain
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		e.add("DKIM_"+upper(r.Value), text)
	}
	if e.dkim.TooMany() {
		e.add(reasonManySignatures, fmt.Sprintf("more than %d DKIM signatures", mailauth.MaxSignatures))
	}
}

func (e *exam) addDMARC() {
	r := e.policy
	if r.Value != mailauth.Fail {
		e.add("DMARC_"+upper(r.Value), "DMARC of "+r.Domain+": "+string(r.Value))
		return
	}
	text := fmt.Sprintf("message fails the DMARC policy of %s (%s)", r.Domain, r.Policy)
	switch r.Disposition {
	case mailauth.DispositionReject:
		e.add(reasonDMARCReject, text)
		e.applyReject("message fails the DMARC policy of " + r.Domain)
	case mailauth.DispositionQuarantine:
		e.add(reasonDMARCQuarantine, text)
		if e.s.cfg.DMARCQuarantine == actJunk {
			e.floor = mailv1.Action_ACTION_JUNK
		}
	default:
		e.add("DMARC_FAIL", text)
	}
}

// applyReject does what Config.DMARCReject says about a policy of p=reject; the first refusal stays.
func (e *exam) applyReject(refusal string) {
	switch {
	case e.floor == mailv1.Action_ACTION_REJECT:
	case e.s.cfg.DMARCReject == actReject:
		e.floor, e.refusal = mailv1.Action_ACTION_REJECT, refusal
	case e.s.cfg.DMARCReject == actJunk:
		e.floor = mailv1.Action_ACTION_JUNK
	}
}

// act decides by the score and by what DMARC asks for.
func (e *exam) act() {
	v, cfg := e.verdict, e.s.cfg
	v.Action = e.floor
	switch {
	case v.Action == mailv1.Action_ACTION_REJECT:
	case cfg.RejectAt > 0 && v.Score >= cfg.RejectAt:
		v.Action, e.refusal = mailv1.Action_ACTION_REJECT, "message looks like spam"
	case cfg.JunkAt >= 0 && v.Score >= cfg.JunkAt:
		v.Action = mailv1.Action_ACTION_JUNK
	}
	if v.Action == mailv1.Action_ACTION_REJECT {
		v.Reply = "550 5.7.1 " + e.refusal
	}
}

// soften turns a refusal of what was accepted already into what can still be done.
func (e *exam) soften() {
	v := e.verdict
	if v.Action != mailv1.Action_ACTION_REJECT {
		return
	}
	e.add(reasonLateReject, "would have been refused: "+v.Reply)
	v.Action, v.Reply = mailv1.Action_ACTION_JUNK, ""
	if e.s.cfg.LateReject == actQuarantine {
		v.Action = mailv1.Action_ACTION_QUARANTINE
	}
}

// upper is a value as names of reasons have it.
func upper(v mailauth.Value) string { return strings.ToUpper(string(v)) }

func reversePath(env *mailv1.Envelope) envelope.ReversePath {
	return envelope.ReversePath(env.GetReversePath())
}

func queueID(b []byte) slog.Attr {
	id, _ := envelope.QueueIDFrom(b)
	return obs.QueueID(id)
}
