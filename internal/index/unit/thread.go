package unit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
)

// answersMax is how many of the messages that one answers are looked for, and kept.
const answersMax = 15

// ThreadKey is a message id in an account, by its hash.
type ThreadKey struct {
	Account mailbox.AccountID
	Hash    int64
}

// ThreadKeys are the message ids by which a message finds its conversation, its own first where it has one. They come from
// the part index, so that nothing is read for them.
func ThreadKeys(account mailbox.AccountID, m *index.Message) []ThreadKey {
	own, answers := message.Conversation(m.PartIndex, answersMax)
	keys := make([]ThreadKey, 0, 1+len(answers))
	add := func(id string) {
		sum := sha256.Sum256([]byte(id))
		keys = append(keys, ThreadKey{account, int64(binary.BigEndian.Uint64(sum[:8]))})
	}
	if own != "" {
		add(own)
	}
	for _, id := range answers {
		add(id)
	}
	return keys
}

// findThreads notes by which ids messages that are to be filed find their conversations.
func (u *Unit) findThreads(account mailbox.AccountID, messages ...*index.Message) {
	if u.keys == nil {
		u.keys = map[*index.Message][]ThreadKey{}
	}
	for _, m := range messages {
		u.keys[m] = ThreadKeys(account, m)
	}
}

// loadThreads reads what is known of them, at once for the whole write.
func (u *Unit) loadThreads() error {
	var all []ThreadKey
	for _, keys := range u.keys {
		all = append(all, keys...)
	}
	if len(all) == 0 {
		return nil
	}
	if err := u.Rows.LoadThreads(all); err != nil {
		return fmt.Errorf("look for conversations: %w", err)
	}
	return nil
}

// thread is the conversation of a message, or a new one: of the ids it names, the first decides that is known. The others
// are noted, so that whatever names one of them later joins, whichever message comes first. Two conversations that turn out
// to be one stay two: the id of a message's thread never changes (RFC 8474 §5.2).
func (u *Unit) thread(id mailbox.EmailID, m *index.Message) mailbox.ThreadID {
	thread := mailbox.ThreadID(0)
	keys := u.keys[m]
	for i := 0; i < len(keys) && thread == 0; i++ {
		thread = u.Rows.Thread(keys[i])
	}
	if thread == 0 {
		thread = mailbox.ThreadID(id)
	}
	for _, k := range keys {
		if u.Rows.Thread(k) == 0 {
			u.Rows.PutThread(k, thread)
		}
	}
	return thread
}
