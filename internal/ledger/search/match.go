package search

import (
	"bytes"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/ledger"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Wanted tells whether a query asks for something that rows are searched for. What waits is found quicker by what waits.
func Wanted(q *storev1.QueueListRequest) bool {
	return len(q.QueueId) == 0 && !OpenOnly(q) && len(messageWords(q))+len(askedReply(q)) > 0
}

// OpenOnly tells whether only messages that have a recipient which is not final can match.
func OpenOnly(q *storev1.QueueListRequest) bool {
	if q.UnfinishedOnly {
		return true
	}
	for _, s := range q.States {
		if ledger.IsFinal(s) {
			return false
		}
	}
	return len(q.States) > 0
}

// messageWords are those that the message's own entry must hold.
func messageWords(q *storev1.QueueListRequest) (words []word) {
	if q.ReversePath != "" {
		words = append(words, addressWord(sender, bare(q.ReversePath)))
	}
	if q.ForwardPath != "" {
		words = append(words, addressWord(recipient, q.ForwardPath))
	}
	if q.Domain != "" {
		words = append(words, hash(domain, fold(q.Domain)))
	}
	if q.MessageId != "" {
		words = append(words, hash(messageID, bare(q.MessageId)))
	}
	if q.Client != "" {
		words = append(words, hash(client, address(q.Client)))
	}
	return words
}

// addressWord is an address's, or with nothing before the at sign its domain's.
func addressWord(kind byte, s string) word {
	if strings.HasPrefix(s, "@") {
		return hash(domain, fold(s[1:]))
	}
	return hash(kind, fold(s))
}

// askedReply are the words that a reply must have. Words beyond those kept of a reply cannot be asked for.
func askedReply(q *storev1.QueueListRequest) (words []word) {
	for _, one := range replyWords(q.Reply) {
		words = append(words, hash(reply, one))
	}
	return words
}

// Matches tells whether a message fulfils all conditions of a query. Those that speak of a recipient must be fulfilled by
// one and the same.
func Matches(q *storev1.QueueListRequest, e *storev1.LedgerEntry) bool {
	m, env := e.GetMessage(), e.GetMessage().GetEnvelope()
	switch {
	case m == nil,
		len(q.QueueId) != 0 && !bytes.Equal(q.QueueId, m.QueueId),
		len(q.Before) != 0 && bytes.Compare(m.QueueId, q.Before) >= 0,
		q.ReversePath != "" && !sameAddress(bare(q.ReversePath), env.GetReversePath()),
		q.MessageId != "" && bare(q.MessageId) != bare(env.GetMessageId()),
		q.Client != "" && address(q.Client) != address(env.GetClient().GetAddress()),
		q.SinceNs != 0 && env.GetAcceptedNs() < q.SinceNs,
		q.UntilNs != 0 && env.GetAcceptedNs() > q.UntilNs:
		return false
	}
	if q.UnfinishedOnly && !slices.ContainsFunc(e.Recipients, func(r *storev1.RecipientRow) bool { return !ledger.IsFinal(r.State) }) {
		return false
	}
	if q.Domain != "" && domainOf(env.GetReversePath()) != fold(q.Domain) && !slices.ContainsFunc(e.Recipients, func(r *storev1.RecipientRow) bool {
		return domainOf(r.ForwardPath) == fold(q.Domain) || domainOf(r.Original) == fold(q.Domain)
	}) {
		return false
	}
	if q.ForwardPath == "" && len(q.States) == 0 && q.Reply == "" {
		return true
	}
	asked := replyWords(q.Reply)
	return slices.ContainsFunc(e.Recipients, func(r *storev1.RecipientRow) bool {
		return (q.ForwardPath == "" || sameAddress(q.ForwardPath, r.ForwardPath) || sameAddress(q.ForwardPath, r.Original)) &&
			(len(q.States) == 0 || slices.Contains(q.States, r.State)) && hasAll(r.LastReply, asked)
	})
}

// sameAddress compares in any case; "@domain" asks for all of a domain.
func sameAddress(asked, got string) bool {
	if strings.HasPrefix(asked, "@") {
		return got != "" && domainOf(got) == fold(asked[1:])
	}
	return fold(asked) == fold(got)
}

func hasAll(said string, asked []string) bool {
	if len(asked) == 0 {
		return true
	}
	words := replyWords(said)
	for _, w := range asked {
		if !slices.Contains(words, w) {
			return false
		}
	}
	return true
}
