package remote

import (
	"strings"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/idna"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reply"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// dsn tells whether the peer offers DSN (RFC 3461).
func (p *peer) dsn() (string, bool) {
	ok, params := p.Extension("DSN")
	return params, ok
}

// mailOptions is what MAIL says. A message that needs SMTPUTF8 cannot go to a peer without it (RFC 6531 §3.5, 5.6.7).
//
// QUIRK: eight-bit mail goes to peers without 8BITMIME as it is; hardly any exists that does not take it, and conversion
// would break its signatures.
func mailOptions(j *job, p *peer, size int64) (*smtp.MailOptions, error) {
	env := j.message.Envelope
	opts := &smtp.MailOptions{Size: size, Body: smtp.Body8BitMIME}
	if env.Smtputf8 && needsUTF8(j) {
		if ok, _ := p.Extension("SMTPUTF8"); !ok {
			return nil, reply.Permanent(550, "5.6.7", "the next server does not take internationalized addresses")
		}
		opts.UTF8 = true
	}
	if max, ok := p.MaxMessageSize(); ok && max > 0 && size > int64(max) {
		return nil, reply.Permanent(552, "5.3.4", "the message is larger than the next server takes")
	}
	switch env.Ret {
	case mailv1.Ret_RET_FULL:
		opts.Return = smtp.DSNReturnFull
	case mailv1.Ret_RET_HDRS:
		opts.Return = smtp.DSNReturnHeaders
	}
	opts.EnvelopeID = env.Envid
	return opts, nil
}

// needsUTF8 tells whether an address of the transaction cannot be written in ASCII. A header with UTF-8 was sent with
// SMTPUTF8 too, so the flag stands for it.
func needsUTF8(j *job) bool { return j.message.Envelope.Smtputf8 }

// wirePath writes a forward-path for RCPT: without SMTPUTF8 the domain in its ASCII form.
func wirePath(path string, utf8 bool) string {
	p := envelope.ForwardPath(path)
	if utf8 || isASCII(path) {
		return path
	}
	domain, err := idna.Lookup.ToASCII(p.Domain())
	if err != nil {
		return path
	}
	return p.LocalPart() + "@" + domain
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 126 }) < 0
}

// rcptOptions passes the sender's wishes on (RFC 3461 §5.2.1).
func rcptOptions(row *storev1.RecipientRow) *smtp.RcptOptions {
	opts := &smtp.RcptOptions{}
	n := envelope.Notify(row.Notify)
	for bit, word := range map[envelope.Notify]smtp.DSNNotify{
		envelope.NotifyNever: smtp.DSNNotifyNever, envelope.NotifySuccess: smtp.DSNNotifySuccess,
		envelope.NotifyFailure: smtp.DSNNotifyFailure, envelope.NotifyDelay: smtp.DSNNotifyDelayed,
	} {
		if n&bit != 0 {
			opts.Notify = append(opts.Notify, word)
		}
	}
	if kind, addr, ok := strings.Cut(row.Orcpt, ";"); ok && isASCII(addr) && strings.EqualFold(kind, "rfc822") {
		opts.OriginalRecipientType, opts.OriginalRecipient = smtp.DSNAddressTypeRFC822, addr
	}
	return opts
}
