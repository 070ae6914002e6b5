package remote

import (
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/idna"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reply"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// mailOptions is what MAIL says for a transaction with these recipients. An error is a reply.Error: the message cannot go to
// this peer.
//
// QUIRK: eight-bit mail goes to peers without 8BITMIME as it is; hardly any exists that does not take it, and conversion
// would break its signatures.
func mailOptions(m *letter, p *peer, rows []*storev1.RecipientRow) (*smtp.MailOptions, error) {
	env := m.envelope
	opts := &smtp.MailOptions{Size: m.size, Body: smtp.Body8BitMIME}
	switch needed := needsUTF8(m, rows); {
	case p.has("SMTPUTF8"):
		// The library writes an ORCPT of the type utf-8 as it is to such a peer.
		opts.UTF8 = needed || env.Smtputf8 || slices.ContainsFunc(rows, func(r *storev1.RecipientRow) bool { return !isASCII(r.Orcpt) })
	case needed: // RFC 6531 §3.2
		return nil, reply.Permanent(550, "5.6.7", "the next server does not take internationalized addresses or headers")
	}
	if limit, ok := p.MaxMessageSize(); ok && limit > 0 && m.size > int64(limit) {
		return nil, reply.Permanent(552, "5.3.4", "the message is larger than the next server takes")
	}
	switch env.Ret {
	case mailv1.Ret_RET_FULL:
		opts.Return = smtp.DSNReturnFull
	case mailv1.Ret_RET_HDRS:
		opts.Return = smtp.DSNReturnHeaders
	}
	if isASCII(env.Envid) {
		opts.EnvelopeID = env.Envid
	}
	return opts, nil
}

// needsUTF8 tells whether a transaction cannot do without SMTPUTF8: a local-part or the header is not ASCII. That MAIL said
// SMTPUTF8 to us is not enough: many clients always do. A domain has its ASCII form.
func needsUTF8(m *letter, rows []*storev1.RecipientRow) bool {
	if m.utf8Header || !hasASCIIForm(m.envelope.ReversePath) {
		return true
	}
	for _, row := range rows {
		if !hasASCIIForm(row.ForwardPath) {
			return true
		}
	}
	return false
}

func hasASCIIForm(path string) bool { return isASCII(wirePath(path, false)) }

// wirePath writes a path for MAIL or RCPT: without SMTPUTF8 the domain in its ASCII form, where it has one.
func wirePath(path string, utf8 bool) string {
	if utf8 || isASCII(path) {
		return path
	}
	p := envelope.ForwardPath(path)
	domain, err := idna.Lookup.ToASCII(p.Domain())
	if err != nil {
		return path
	}
	return p.LocalPart() + "@" + domain
}

// isASCII tells whether s is printable ASCII, blanks included.
func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// rcptOptions passes the sender's wishes on (RFC 3461 §5.2.1).
func rcptOptions(row *storev1.RecipientRow) *smtp.RcptOptions {
	opts := &smtp.RcptOptions{}
	n := envelope.Notify(row.Notify)
	for _, wish := range []struct {
		bit  envelope.Notify
		word smtp.DSNNotify
	}{
		{envelope.NotifySuccess, smtp.DSNNotifySuccess}, {envelope.NotifyFailure, smtp.DSNNotifyFailure}, {envelope.NotifyDelay, smtp.DSNNotifyDelayed},
	} {
		if n&wish.bit != 0 {
			opts.Notify = append(opts.Notify, wish.word)
		}
	}
	if n&envelope.NotifyNever != 0 { // it stands alone
		opts.Notify = []smtp.DSNNotify{smtp.DSNNotifyNever}
	}
	kind, address, _ := strings.Cut(row.Orcpt, ";")
	switch {
	case address == "":
	case strings.EqualFold(kind, "rfc822") && isASCII(address):
		opts.OriginalRecipientType, opts.OriginalRecipient = smtp.DSNAddressTypeRFC822, address
	case strings.EqualFold(kind, "utf-8"):
		opts.OriginalRecipientType, opts.OriginalRecipient = smtp.DSNAddressTypeUTF8, address
	}
	return opts
}
