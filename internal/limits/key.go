package limits

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
	limitsv1 "github.com/mailfarm/mailfarm/proto/mailfarm/limits/v1"
)

// kind is what is counted.
type kind uint8

// The kinds are those that processes tell each other of.
const (
	smtp           = kind(limitsv1.Kind_KIND_SMTP)
	lmtp           = kind(limitsv1.Kind_KIND_LMTP)
	submission     = kind(limitsv1.Kind_KIND_SUBMISSION)
	imap           = kind(limitsv1.Kind_KIND_IMAP)
	pop3           = kind(limitsv1.Kind_KIND_POP3)
	clientMinute   = kind(limitsv1.Kind_KIND_CLIENT_MINUTE)
	clientHour     = kind(limitsv1.Kind_KIND_CLIENT_HOUR)
	account        = kind(limitsv1.Kind_KIND_ACCOUNT)
	messagesHour   = kind(limitsv1.Kind_KIND_MESSAGES_HOUR)
	messagesDay    = kind(limitsv1.Kind_KIND_MESSAGES_DAY)
	recipientsHour = kind(limitsv1.Kind_KIND_RECIPIENTS_HOUR)
	recipientsDay  = kind(limitsv1.Kind_KIND_RECIPIENTS_DAY)
	clientFailed   = kind(limitsv1.Kind_KIND_CLIENT_FAILED)
	accountFailed  = kind(limitsv1.Kind_KIND_ACCOUNT_FAILED)
	kinds          = accountFailed + 1
)

// limit is how much of a kind is too much.
type limit struct {
	max    int           // none if below 1
	window time.Duration // 0: what is there now counts, not what came lately
	share  int           // what is worth telling
}

// limitsOf are the limits of cfg, by kind.
func limitsOf(cfg *Config) (all [kinds]limit) {
	all = [kinds]limit{
		smtp: {max: cfg.Connections.SMTP}, lmtp: {max: cfg.Connections.LMTP}, submission: {max: cfg.Connections.Submission},
		imap: {max: cfg.Connections.IMAP}, pop3: {max: cfg.Connections.POP3}, account: {max: cfg.Account.Connections},
		clientMinute: {max: cfg.Client.MessagesPerMinute, window: time.Minute}, clientHour: {max: cfg.Client.MessagesPerHour, window: time.Hour},
		messagesHour: {max: cfg.Account.MessagesPerHour, window: time.Hour}, messagesDay: {max: cfg.Account.MessagesPerDay, window: 24 * time.Hour},
		recipientsHour: {max: cfg.Account.RecipientsPerHour, window: time.Hour}, recipientsDay: {max: cfg.Account.RecipientsPerDay, window: 24 * time.Hour},
		clientFailed: {max: cfg.Logins.Failures, window: cfg.Logins.Window}, accountFailed: {max: cfg.Logins.AccountFailures, window: cfg.Logins.Window},
	}
	for k := range all {
		all[k].share = max((all[k].max*cfg.Gossip.Share+99)/100, 1)
	}
	// One failure is everybody's: a second one is the first that is worth telling.
	all[clientFailed].share, all[accountFailed].share = max(all[clientFailed].share, 2), max(all[accountFailed].share, 2)
	return all
}

// attempts tells whether what is counted of a kind are failed attempts, told apart from each other.
func (k kind) attempts() bool { return k == clientFailed || k == accountFailed }

// connectionsOf is the kind of a service's connections.
func connectionsOf(service string) (kind, bool) {
	switch service {
	case "smtp":
		return smtp, true
	case "lmtp":
		return lmtp, true
	case "submission":
		return submission, true
	case "imap":
		return imap, true
	case "pop3":
		return pop3, true
	}
	return 0, false
}

// key is who is counted, and what of him.
type key struct {
	id   [16]byte
	kind kind
}

// clientKey is a client as front.Subscriber counts it.
func clientKey(k kind, client netip.Addr) key {
	return key{id: front.Subscriber(client).As16(), kind: k}
}

// accountKey is an account by its id, or by some other number that stands for it.
func accountKey(k kind, account uint64) (x key) {
	x.kind = k
	binary.BigEndian.PutUint64(x.id[8:], account)
	return x
}
