package search

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/mailfarm/mailfarm/internal/envelope"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Kinds of words: an address as sender is another word than as recipient.
const (
	sender    = 's'
	recipient = 'r'
	domain    = 'd'
	messageID = 'm'
	client    = 'c'
	reply     = 'w'
)

// MaxReplyWords is how many words of one reply are kept: enough for what servers say, whatever a hostile one does.
const MaxReplyWords = 32

// word is a hash.
type word uint32

func hash(kind byte, s string) word {
	h := fnv.New64a()
	h.Write([]byte{kind})
	h.Write([]byte(s))
	sum := h.Sum64()
	return word(sum ^ sum>>32)
}

func fold(s string) string { return strings.ToLower(s) }

// domainOf is what stands behind the last "@", in lower case.
func domainOf(address string) string {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return ""
	}
	return fold(address[i+1:])
}

// bare takes the angle brackets off.
func bare(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">") }

// address is an IP address in its one form; what is none stays as it is.
func address(s string) string {
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return ip.Unmap().String()
	}
	return fold(s)
}

// replyWords splits a reply at whatever is neither letter, digit, dot, hyphen, underscore nor at sign: "550", "5.1.1", "unknown".
func replyWords(s string) []string {
	words := strings.FieldsFunc(fold(s), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_@", r)
	})
	kept := words[:0]
	for _, w := range words {
		if w = strings.Trim(w, ".-"); w != "" && !slices.Contains(kept, w) {
			kept = append(kept, w)
		}
	}
	return kept[:min(len(kept), MaxReplyWords)]
}

// Writer gathers the entries of one batch. The zero value is ready.
type Writer struct {
	data  []byte
	words []word
}

// Data is what the batch's row holds; empty where there is nothing to be found by.
func (w *Writer) Data() []byte { return w.data }

// Message enters a message as the router recorded it.
func (w *Writer) Message(m *storev1.Routed) {
	env := m.Message.GetEnvelope()
	w.words = append(w.words[:0], hash(sender, fold(env.GetReversePath())))
	w.domain(env.GetReversePath())
	if env.GetMessageId() != "" {
		w.words = append(w.words, hash(messageID, bare(env.MessageId)))
	}
	if a := env.GetClient().GetAddress(); a != "" {
		w.words = append(w.words, hash(client, address(a)))
	}
	for _, r := range m.Recipients {
		for _, a := range []string{r.ForwardPath, r.Original} {
			if a != "" {
				w.words = append(w.words, hash(recipient, fold(a)))
				w.domain(a)
			}
		}
		w.reply(r.LastReply)
	}
	w.entry(m.Message.GetQueueId())
}

// Report enters what delivery was told.
func (w *Writer) Report(r *storev1.Report) {
	w.words = w.words[:0]
	for _, o := range r.Outcomes {
		w.reply(o.Reply)
	}
	if len(w.words) > 0 {
		w.entry(r.QueueId)
	}
}

func (w *Writer) domain(address string) {
	if d := domainOf(address); d != "" {
		w.words = append(w.words, hash(domain, d))
	}
}

func (w *Writer) reply(s string) {
	if s == "" {
		return
	}
	for _, one := range replyWords(s) {
		w.words = append(w.words, hash(reply, one))
	}
}

// entry writes: 16 octets of queue id, how many words, 4 octets for each.
func (w *Writer) entry(id []byte) {
	slices.Sort(w.words)
	w.words = slices.Compact(w.words)
	w.data = append(w.data, id...)
	w.data = binary.AppendUvarint(w.data, uint64(len(w.words)))
	for _, one := range w.words {
		w.data = binary.BigEndian.AppendUint32(w.data, uint32(one))
	}
}

// each calls f with every entry of a row until it returns false; false where the row is damaged.
func each(data []byte, f func(id envelope.QueueID, words []byte) bool) bool {
	for len(data) > 0 {
		if len(data) < 16 {
			return false
		}
		id := envelope.QueueID(data[:16])
		n, size := binary.Uvarint(data[16:])
		data = data[16:]
		if size <= 0 || n > uint64(len(data)-size)/4 {
			return false
		}
		words := data[size : size+4*int(n)]
		data = data[size+4*int(n):]
		if !f(id, words) {
			return true
		}
	}
	return true
}

// has tells whether words, as an entry has them, hold one.
func has(words []byte, want word) bool {
	for ; len(words) >= 4; words = words[4:] {
		if word(binary.BigEndian.Uint32(words)) == want {
			return true
		}
	}
	return false
}

// IDs lists the messages that a row speaks of.
func IDs(data []byte) (ids [][]byte) {
	each(data, func(id envelope.QueueID, _ []byte) bool {
		ids = append(ids, id[:])
		return true
	})
	return ids
}
