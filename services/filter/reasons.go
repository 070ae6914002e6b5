package filter

import (
	"maps"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// Names of reasons; those of SPF, DKIM and DMARC are the method and its result in upper case.
const (
	reasonGTUBE      = "GTUBE"
	reasonTrusted    = "TRUSTED"
	reasonSkipped    = "CLIENT_SKIPPED"
	reasonCut        = "FORGED_FIELDS"
	reasonUnjudged   = "UNJUDGED"
	reasonLateReject = "LATE_REJECT"

	reasonNoFrom        = "MISSING_FROM"
	reasonNoDate        = "MISSING_DATE"
	reasonNoMessageID   = "MISSING_MESSAGE_ID"
	reasonManyFrom      = "SEVERAL_FROM"
	reasonManySubject   = "SEVERAL_SUBJECT"
	reasonManyDate      = "SEVERAL_DATE"
	reasonManyMessageID = "SEVERAL_MESSAGE_ID"
	reasonBadFrom       = "BAD_FROM"
	reasonBadDate       = "BAD_DATE"
	reasonFuture        = "DATE_IN_FUTURE"
	reasonEightBit      = "RAW_8BIT_HEADER"
	reasonLongHeader    = "LONG_HEADER"
	// reasonHeaderUnjudged is on whoever hides from judgement: it is worse than failing a DMARC policy.
	reasonHeaderUnjudged = "HEADER_UNJUDGED"
	reasonLongLine       = "LONG_HEADER_LINE"
	reasonStray          = "BAD_HEADER_LINE"

	reasonDMARCReject     = "DMARC_REJECT"
	reasonDMARCQuarantine = "DMARC_QUARANTINE"
	reasonManySignatures  = "DKIM_TOO_MANY"
)

// defaultScores has every reason there is. Passing proves who sent a message, not that it is wanted: it scores nothing.
// What sloppy but honest senders do adds up to less than Config.JunkAt.
var defaultScores = map[string]float64{
	reasonGTUBE: 1000, reasonTrusted: 0, reasonSkipped: 0, reasonCut: 0, reasonUnjudged: 0, reasonLateReject: 0,

	"SPF_PASS": 0, "SPF_NONE": 0, "SPF_NEUTRAL": 0, "SPF_SOFTFAIL": 1, "SPF_FAIL": 3, "SPF_TEMPERROR": 0, "SPF_PERMERROR": 0.5,
	// RFC 6376 §6.3: a broken signature is as good as none.
	"DKIM_PASS": 0, "DKIM_NONE": 0, "DKIM_FAIL": 0, "DKIM_POLICY": 0.5, "DKIM_TEMPERROR": 0, "DKIM_PERMERROR": 0, reasonManySignatures: 0.5,
	"DMARC_PASS": 0, "DMARC_NONE": 0, "DMARC_FAIL": 0.5, "DMARC_TEMPERROR": 0, "DMARC_PERMERROR": 0,
	reasonDMARCQuarantine: 6, reasonDMARCReject: 8,

	reasonNoFrom: 2, reasonNoDate: 1, reasonNoMessageID: 0.5,
	reasonManyFrom: 3, reasonManySubject: 1.5, reasonManyDate: 1, reasonManyMessageID: 0.5,
	reasonBadFrom: 1, reasonBadDate: 0.5, reasonFuture: 1.5,
	reasonEightBit: 0.5, reasonLongHeader: 4, reasonHeaderUnjudged: 10, reasonLongLine: 0.5, reasonStray: 1,
}

func scores(changes map[string]float64) map[string]float64 {
	all := maps.Clone(defaultScores)
	maps.Copy(all, changes)
	return all
}

// add puts a reason into the verdict.
func (e *exam) add(name, text string) {
	score := e.s.scores[name]
	e.verdict.Score += score
	e.verdict.Reasons = append(e.verdict.Reasons, &mailv1.Reason{Name: name, Score: score, Text: text})
}
