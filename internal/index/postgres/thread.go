package postgres

import (
	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	threadsOf = `SELECT c.account, c.id_hash, c.thread FROM unnest($1::bigint[], $2::bigint[]) AS k (account, id_hash)
		JOIN conversation c ON c.account = k.account AND c.id_hash = k.id_hash`
	putThreads = `INSERT INTO conversation (account, id_hash, thread)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING`
)

// threadColumns are rows of conversation, column by column.
type threadColumns struct{ accounts, hashes, threads []int64 }

// threadKeys are those that messages of an account name.
func threadKeys(id mailbox.AccountID, messages []index.Message) []unit.ThreadKey {
	var keys []unit.ThreadKey
	for i := range messages {
		keys = append(keys, unit.ThreadKeys(id, &messages[i])...)
	}
	return keys
}

// queueThreads reads what is known of keys that were not asked for yet.
func (r *rows) queueThreads(b *pgx.Batch, keys []unit.ThreadKey) {
	if r.threads == nil {
		r.threads = map[unit.ThreadKey]mailbox.ThreadID{}
	}
	var accounts, hashes []int64
	for _, k := range keys {
		if _, asked := r.threads[k]; !asked && k.Account < 1<<63 {
			r.threads[k] = 0
			accounts, hashes = append(accounts, int64(k.Account)), append(hashes, k.Hash)
		}
	}
	if len(hashes) == 0 {
		return
	}
	b.Queue(threadsOf, accounts, hashes).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var k unit.ThreadKey
			var thread mailbox.ThreadID
			err := rows.Scan(&k.Account, &k.Hash, &thread)
			r.threads[k] = thread
			return err
		})
	})
}

func (r *rows) LoadThreads(keys []unit.ThreadKey) error {
	b := &pgx.Batch{}
	if r.queueThreads(b, keys); b.Len() == 0 { // they were loaded first
		return nil
	}
	return r.run(b)
}

func (r *rows) Thread(key unit.ThreadKey) mailbox.ThreadID { return r.threads[key] }

func (r *rows) PutThread(key unit.ThreadKey, thread mailbox.ThreadID) {
	r.threads[key] = thread
	c := &r.pending.threads
	c.accounts, c.hashes, c.threads = append(c.accounts, int64(key.Account)), append(c.hashes, key.Hash), append(c.threads, int64(thread))
}
