package postgres

import (
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// load is what a write reads first, in one round trip: it spares a query for each row later.
type load struct {
	// accounts are locked, in the order of their ids.
	accounts []mailbox.AccountID
	// Mailboxes by name and special use, with their last chunk, and by id without.
	names []nameKey
	uses  []nameKey
	boxes []boxKey
	// bodies are looked for among the condemned.
	bodies [][]byte
	// threads are looked for.
	threads []unit.ThreadKey
	// deliveries have their recipients and dedupe rows read.
	deliveries []index.Delivery
	// operation is looked for.
	operation *operationKey
	// chunks are read of one of boxes, behind its account's lock.
	chunks *chunksKey
	// copies asks whether there are condemned bodies at all.
	copies bool
}

// chunksKey names the chunks that may have entries in uids.
type chunksKey struct {
	box  boxKey
	uids mailbox.UIDSet
	// flags leaves out the columns that UnpackFlags does not need.
	flags bool
}

type nameKey struct {
	account mailbox.AccountID
	name    string
}

type boxKey struct {
	account mailbox.AccountID
	id      mailbox.ID
}

const (
	lockAccounts = `SELECT account, timeline, mod_seq, uid_validity, a.messages, a.size, quota_size, quota_messages, quota_level, quota_roots, ` +
		domainquota.Columns + ` FROM account a ` + domainquota.Join + ` WHERE account = ANY($1::bigint[]) ORDER BY account FOR NO KEY UPDATE OF a`
	readDropping = `SELECT account, forgotten FROM dropping WHERE account = ANY($1::bigint[])`
	boxColumns   = `m.mailbox, m.name, m.special_use, m.uid_validity, m.uid_next, m.highest_mod_seq, m.messages, m.unseen, m.deleted,
		m.size, m.recent_uid, m.keywords`
	lastChunk = ` LEFT JOIN LATERAL (SELECT first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved FROM chunk
		WHERE account = m.account AND mailbox = m.mailbox ORDER BY first_uid DESC LIMIT 1) c ON true`
	boxesNamed = `SELECT k.account, k.name, ` + boxColumns + `, c.first_uid, c.max_mod_seq, c.uids, c.flags, c.mod_seqs, c.emails, c.sizes, c.received, c.saved
		FROM unnest($1::bigint[], $2::text[]) AS k (account, name)
		JOIN mailbox m ON m.account = k.account AND m.name = k.name` + lastChunk
	boxesFor = `SELECT k.account, k.use, ` + boxColumns + `, c.first_uid, c.max_mod_seq, c.uids, c.flags, c.mod_seqs, c.emails, c.sizes, c.received, c.saved
		FROM unnest($1::bigint[], $2::text[]) AS k (account, use)
		JOIN mailbox m ON m.account = k.account AND m.special_use = k.use` + lastChunk
	boxesByID = `SELECT k.account, ` + boxColumns + ` FROM unnest($1::bigint[], $2::bigint[]) AS k (account, mailbox)
		JOIN mailbox m ON m.account = k.account AND m.mailbox = k.mailbox`
	boxesOf       = `SELECT m.account, ` + boxColumns + ` FROM mailbox m WHERE m.account = ANY($1::bigint[])`
	condemnedOf   = `SELECT blob_id FROM condemned WHERE blob_id = ANY($1::bytea[])`
	deliveredRows = `SELECT d.account, d.queue_id, d.number, d.mailbox, d.uid, d.email
		FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS k (account, queue_id, number)
		JOIN delivered d ON d.account = k.account AND d.queue_id = k.queue_id AND d.number = k.number`
)

// load locks and reads what a write begins with.
func (d *DB) load(tx *pgdb.Tx, want load) (*rows, error) {
	r := newRows(d, tx)
	b := &pgx.Batch{}
	var wal, serverWAL string
	b.Queue(d.walQuery()).QueryRow(func(row pgx.Row) error { return row.Scan(&r.timeline, &wal, &serverWAL) })
	ids := slices.Clone(want.accounts)
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id mailbox.AccountID) bool { return id == 0 || id >= 1<<63 })
	if len(ids) > 0 {
		b.Queue(lockAccounts, int64s(ids)).Query(r.scanAccounts)
	}
	r.queueNamed(b, boxesNamed, want.names, r.named)
	r.queueNamed(b, boxesFor, want.uses, r.used)
	r.queueByID(b, want.boxes)
	if want.bodies != nil {
		r.queueCondemned(b, want.bodies)
	}
	r.queueThreads(b, want.threads)
	if want.chunks != nil {
		r.queueChunks(b, *want.chunks)
	}
	if want.copies {
		b.Queue(readAnyCondemned).QueryRow(func(row pgx.Row) error {
			r.anyCondemned = new(bool)
			return row.Scan(r.anyCondemned)
		})
	}
	if want.operation != nil {
		r.queueDone(b, *want.operation)
	}
	if len(want.deliveries) > 0 {
		r.queueDeliveries(b, want.deliveries)
	}
	if err := tx.Run(b); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	if wal != "" && wal != serverWAL {
		return nil, errNewTimeline
	}
	return r, r.admit(ids)
}

// admit reads how far accounts are on their way out that have no row, or none of the current timeline, and asks for those
// to be made that nobody has touched.
func (r *rows) admit(ids []mailbox.AccountID) error {
	ask := slices.DeleteFunc(ids, func(id mailbox.AccountID) bool { return r.accounts[id] != nil && r.accounts[id].timeline >= r.timeline })
	if len(ask) == 0 {
		return nil
	}
	rows, err := r.tx.Query(readDropping, int64s(ask))
	if err := eachRow(rows, err, func() error {
		var id mailbox.AccountID
		var state unit.DropState
		err := rows.Scan(&id, &state)
		r.dropping[id] = state
		return err
	}); err != nil {
		return fmt.Errorf("read accounts to be dropped: %w", err)
	}
	if missing := slices.DeleteFunc(ask, func(id mailbox.AccountID) bool { return r.accounts[id] != nil || r.dropping[id] != unit.Noted }); len(missing) > 0 {
		return &missingAccounts{missing}
	}
	return nil
}

func (r *rows) scanAccounts(rows pgx.Rows) error {
	return eachRow(rows, nil, func() error {
		a := &accountRow{}
		err := rows.Scan(append([]any{&a.ID, &a.timeline, &a.ModSeq, &a.UIDValidity, &a.Messages, &a.Size, &a.QuotaSize, &a.QuotaCount, &a.QuotaLevel, &a.QuotaRoots},
			domainquota.Fields(&a.Domain)...)...)
		r.accounts[a.ID] = a
		return err
	})
}

// queueNamed reads mailboxes by names, or by special uses; into keeps nil for what is not there.
func (r *rows) queueNamed(b *pgx.Batch, query string, keys []nameKey, into map[nameKey]*unit.Box) {
	if len(keys) == 0 {
		return
	}
	accounts, names := make([]int64, 0, len(keys)), make([]string, 0, len(keys))
	for _, k := range keys {
		if _, ok := into[k]; !ok && k.account < 1<<63 {
			into[k] = nil
			accounts, names = append(accounts, int64(k.account)), append(names, k.name)
		}
	}
	b.Queue(query, accounts, names).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var k nameKey
			var first, maxSeq *int64
			var p mailbox.Packed
			box := &unit.Box{}
			err := unit.ScanBox(before{rows, []any{&k.account, &k.name}}, &box.Mailbox, &first, &maxSeq,
				&p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received, &p.Saved)
			if err != nil {
				return err
			}
			if first != nil {
				p.FirstUID, p.MaxModSeq = mailbox.UID(*first), mailbox.ModSeq(*maxSeq)
				r.tails[boxKey{k.account, box.ID}] = p
			}
			into[k] = box
			return nil
		})
	})
}

// before is a row that has other columns first.
type before struct {
	row   unit.Scanner
	first []any
}

func (b before) Scan(dest ...any) error { return b.row.Scan(append(b.first, dest...)...) }

func (r *rows) queueByID(b *pgx.Batch, keys []boxKey) {
	if len(keys) == 0 {
		return
	}
	var accounts, ids []int64
	for _, k := range keys {
		if k.id < 1<<63 && k.account < 1<<63 {
			accounts, ids = append(accounts, int64(k.account)), append(ids, int64(k.id))
			r.byID[k] = nil
		}
	}
	b.Queue(boxesByID, accounts, ids).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var account mailbox.AccountID
			box := &unit.Box{}
			err := unit.ScanBox(before{rows, []any{&account}}, &box.Mailbox)
			r.byID[boxKey{account, box.ID}] = box
			return err
		})
	})
}

func (r *rows) queueCondemned(b *pgx.Batch, bodies [][]byte) {
	r.condemned = map[string]bool{}
	b.Queue(condemnedOf, bodies).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var id []byte
			err := rows.Scan(&id)
			r.condemned[string(id)] = true
			return err
		})
	})
}

// queueCounts counts the mailboxes of accounts.
func (r *rows) queueCounts(b *pgx.Batch, accounts []mailbox.AccountID) {
	for _, id := range accounts {
		b.Queue("SELECT COUNT(*) FROM mailbox WHERE account = $1", int64(id)).QueryRow(func(row pgx.Row) error {
			var n int
			err := row.Scan(&n)
			r.counts[id] = n
			return err
		})
	}
}

// queueAll reads all mailboxes of accounts.
func (r *rows) queueAll(b *pgx.Batch, accounts []mailbox.AccountID) {
	for _, id := range accounts {
		r.all[id] = []*unit.Box{}
	}
	b.Queue(boxesOf, int64s(accounts)).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var account mailbox.AccountID
			box := &unit.Box{}
			err := unit.ScanBox(before{rows, []any{&account}}, &box.Mailbox)
			r.all[account] = append(r.all[account], box)
			return err
		})
	})
}

func int64s[T ~uint64 | ~uint32](ids []T) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}
