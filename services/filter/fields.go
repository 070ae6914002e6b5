package filter

import (
	"strconv"

	"github.com/mailfarm/mailfarm/internal/mailauth"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// ourFields are set by us alone: what arrives with them is cut, so that rules may believe them.
var ourFields = []string{"X-Spam-Flag", "X-Spam-Score", "X-Spam-Status", "X-Spam-Level", "X-Spam-Checker-Version", "X-Spam-Report"}

// overlay is what readers see of the verdict: fields before the message, and cuts of what pretends to be ours.
func (e *exam) overlay() *mailv1.Overlay {
	o := &mailv1.Overlay{Prefix: make([]byte, 0, 512)}
	if !e.trusted || e.env.GetClient().GetAccount() != "" {
		o.Prefix = mailauth.AppendAuthResults(o.Prefix, e.s.id, e.results())
	}
	// What goes out for our own users shows no marks, unless it is spam.
	if !e.trusted || e.verdict.Action != mailv1.Action_ACTION_ACCEPT {
		o.Prefix = e.appendMarks(o.Prefix)
	}
	for _, c := range e.header.Cuts() {
		o.Cuts = append(o.Cuts, &mailv1.Cut{Offset: c.Offset, Length: c.Length})
	}
	return o
}

// results are those for Authentication-Results.
func (e *exam) results() []mailauth.AuthResult {
	if e.trusted {
		// RFC 8601 §2.7.4, without smtp.auth: readers learn that somebody logged in, not the login.
		return []mailauth.AuthResult{{Method: "auth", Value: mailauth.Pass}}
	}
	rs := make([]mailauth.AuthResult, 0, 3+len(e.signed))
	if !e.skipped {
		rs = append(rs, e.sender.AuthResult(e.env.ReversePath))
	}
	for _, d := range e.signed {
		rs = append(rs, d.AuthResult())
	}
	if len(e.signed) == 0 {
		rs = append(rs, mailauth.AuthResult{Method: "dkim", Value: mailauth.None})
	}
	if e.dmarc != nil {
		rs = append(rs, e.policy.AuthResult())
	}
	return rs
}

// appendMarks writes the X-Spam-* fields as SpamAssassin does, whose form rules and mail programs know.
func (e *exam) appendMarks(dst []byte) []byte {
	v := e.verdict
	spam := v.Action != mailv1.Action_ACTION_ACCEPT
	word := "No"
	if spam {
		word = "Yes"
		dst = append(dst, "X-Spam-Flag: YES\r\n"...)
	}
	dst = append(dst, "X-Spam-Score: "...)
	dst = strconv.AppendFloat(dst, v.Score, 'f', 1, 64)
	dst = append(dst, "\r\nX-Spam-Status: "...)
	dst = append(append(dst, word...), ", score="...)
	dst = strconv.AppendFloat(dst, v.Score, 'f', 1, 64)
	dst = append(dst, " required="...)
	dst = strconv.AppendFloat(dst, e.s.cfg.JunkAt, 'f', 1, 64)
	dst = append(dst, "\r\n\ttests="...)
	line := len(dst) - 7
	for i, r := range v.Reasons {
		if i > 0 {
			dst = append(dst, ',')
			if len(dst)-line+len(r.Name) > foldAt {
				dst = append(dst, "\r\n\t"...)
				line = len(dst) - 1
			}
		}
		dst = append(dst, r.Name...)
	}
	return append(dst, '\r', '\n')
}

// foldAt is where lines are folded (RFC 5322 §2.1.1).
const foldAt = 78
