package sqlite

import (
	"strings"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// threadBatches are how many rows of conversation one statement reads or writes: the texts of statements do not depend on how
// many there are. What is left of the places has the last one again.
var threadBatches = [...]int{64, 8, 1}

var threadQueries, threadInserts = func() (q, i [len(threadBatches)]string) {
	for k, n := range threadBatches {
		q[k] = "SELECT account, id_hash, thread FROM conversation WHERE (account, id_hash) IN (VALUES " +
			strings.TrimSuffix(strings.Repeat("(?,?),", n), ",") + ")"
		i[k] = "INSERT INTO conversation (account, id_hash, thread) VALUES " +
			strings.TrimSuffix(strings.Repeat("(?,?,?),", n), ",") + " ON CONFLICT DO NOTHING"
	}
	return q, i
}()

// inThreadBatches calls do with a batch's number and the keys for its places.
func inThreadBatches(keys []unit.ThreadKey, do func(batch int, keys []unit.ThreadKey) error) error {
	for len(keys) > 0 {
		batch := len(threadBatches) - 1
		for batch > 0 && threadBatches[batch] < len(keys) {
			batch--
		}
		n := min(threadBatches[batch], len(keys))
		places := append(make([]unit.ThreadKey, 0, threadBatches[batch]), keys[:n]...)
		for len(places) < threadBatches[batch] {
			places = append(places, keys[n-1])
		}
		if err := do(batch, places); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (r *rows) LoadThreads(keys []unit.ThreadKey) error {
	if r.threads == nil {
		r.threads = map[unit.ThreadKey]mailbox.ThreadID{}
	}
	return inThreadBatches(keys, func(batch int, keys []unit.ThreadKey) error {
		args := make([]any, 0, 2*len(keys))
		for _, k := range keys {
			args = append(args, int64(k.Account), k.Hash)
		}
		rows, err := r.tx.Query(threadQueries[batch], args...)
		return eachRow(rows, err, func() error {
			var k unit.ThreadKey
			var thread mailbox.ThreadID
			err := rows.Scan(&k.Account, &k.Hash, &thread)
			r.threads[k] = thread
			return err
		})
	})
}

func (r *rows) Thread(key unit.ThreadKey) mailbox.ThreadID { return r.threads[key] }

func (r *rows) PutThread(key unit.ThreadKey, thread mailbox.ThreadID) {
	r.threads[key] = thread
	r.newThreads = append(r.newThreads, key)
}

// flushThreads writes what PutThread was given.
func (r *rows) flushThreads() error {
	return inThreadBatches(r.newThreads, func(batch int, keys []unit.ThreadKey) error {
		args := make([]any, 0, 3*len(keys))
		for _, k := range keys {
			args = append(args, int64(k.Account), k.Hash, int64(r.threads[k]))
		}
		return r.exec(threadInserts[batch], args...)
	})
}
