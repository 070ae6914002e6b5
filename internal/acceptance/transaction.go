package acceptance

import (
	"crypto/tls"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// linearRecipients is up to how many recipients are compared one by one.
const linearRecipients = 16

// Transaction gathers the envelope between MAIL and DATA. The zero value is none.
type Transaction struct {
	env  *mailv1.Envelope
	seen map[string]struct{} // once there are more than linearRecipients
}

// Mail begins a transaction and gives its message an id. account is the authenticated address, or empty.
func (t *Transaction) Mail(a *Acceptor, c *smtpd.Conn, account string, from envelope.ReversePath, opts *smtp.MailOptions) {
	id := envelope.NewQueueID(a.deps.Now())
	client := &mailv1.Client{
		Address: c.Client(), Helo: c.Helo(), Protocol: c.Protocol(opts.UTF8), Account: account, ConnId: c.ID(),
	}
	if state := c.TLS(); state != nil {
		client.TlsVersion = strings.ReplaceAll(tls.VersionName(state.Version), " ", "")
		client.TlsCipher = tls.CipherSuiteName(state.CipherSuite)
	}
	*t = Transaction{env: &mailv1.Envelope{
		QueueId: id[:], ReversePath: string(from), Ret: retOf(opts.Return), Envid: opts.EnvelopeID,
		Smtputf8: opts.UTF8, EightBit: opts.Body == smtp.Body8BitMIME, Client: client,
	}}
}

// Rcpt adds a recipient; one that is there already is delivered to once.
func (t *Transaction) Rcpt(r *smtpd.Rcpt) {
	key := string(r.To)
	if t.known(key) {
		return
	}
	rcpt := &mailv1.Recipient{Number: uint32(len(t.env.Recipients)), ForwardPath: key, Notify: uint32(r.Notify())}
	if r.Options.OriginalRecipient != "" {
		rcpt.Orcpt = string(r.Options.OriginalRecipientType) + ";" + r.Options.OriginalRecipient
	}
	t.env.Recipients = append(t.env.Recipients, rcpt)
}

// known also remembers.
func (t *Transaction) known(key string) bool {
	if t.seen == nil {
		for _, r := range t.env.Recipients {
			if r.ForwardPath == key {
				return true
			}
		}
		if len(t.env.Recipients) < linearRecipients {
			return false
		}
		t.seen = make(map[string]struct{}, 4*linearRecipients)
		for _, r := range t.env.Recipients {
			t.seen[r.ForwardPath] = struct{}{}
		}
	}
	_, known := t.seen[key]
	t.seen[key] = struct{}{}
	return known
}

// Envelope is what the message of the transaction begins with; the transaction gives it away.
func (t *Transaction) Envelope() *mailv1.Envelope { return t.env }

// ReversePath is MAIL's.
func (t *Transaction) ReversePath() string { return t.env.GetReversePath() }

// QueueID is the message's.
func (t *Transaction) QueueID() []byte { return t.env.GetQueueId() }

func retOf(r smtp.DSNReturn) mailv1.Ret {
	switch r {
	case smtp.DSNReturnFull:
		return mailv1.Ret_RET_FULL
	case smtp.DSNReturnHeaders:
		return mailv1.Ret_RET_HDRS
	}
	return mailv1.Ret_RET_UNSPECIFIED
}
