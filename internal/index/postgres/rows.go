package postgres

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// rows is unit.Rows and unit.DeliverRows in one transaction: what was loaded is not asked for again, and what is written
// waits for flush, which comes before any further query.
type rows struct {
	d        *DB
	tx       *pgdb.Tx
	timeline int64
	accounts map[mailbox.AccountID]*accountRow
	// dropping are accounts that are on their way out, or were about to.
	dropping map[mailbox.AccountID]unit.DropState
	// Mailboxes as they were loaded; nil is one that is not there.
	named map[nameKey]*unit.Box
	used  map[nameKey]*unit.Box
	byID  map[boxKey]*unit.Box
	all   map[mailbox.AccountID][]*unit.Box
	// counts are how many mailboxes accounts have, those that are pending among them.
	counts map[mailbox.AccountID]int
	// tails are last chunks that were not asked for yet.
	tails map[boxKey]mailbox.Packed
	// loaded are chunks that were not asked for yet; nil as soon as any chunk is written.
	loaded *loadedChunks
	// condemned is nil where nothing was looked for, and anyCondemned where that was not asked.
	condemned    map[string]bool
	anyCondemned *bool
	recipients   map[recipientKey]unit.Recipient
	delivered    map[deliveryKey]filed
	// done are operations that were looked for; nil is one that was not done.
	done map[operationKey]*index.OnceResult
	// threads are those that were asked for; 0 is one that is not known.
	threads map[unit.ThreadKey]mailbox.ThreadID
	pending pending
}

var (
	_ unit.Rows        = (*rows)(nil)
	_ unit.DeliverRows = (*rows)(nil)
)

type accountRow struct {
	unit.Account
	timeline int64
}

func newRows(d *DB, tx *pgdb.Tx) *rows {
	return &rows{d: d, tx: tx, accounts: map[mailbox.AccountID]*accountRow{}, dropping: map[mailbox.AccountID]unit.DropState{}, named: map[nameKey]*unit.Box{}, used: map[nameKey]*unit.Box{},
		byID: map[boxKey]*unit.Box{}, all: map[mailbox.AccountID][]*unit.Box{}, counts: map[mailbox.AccountID]int{}, tails: map[boxKey]mailbox.Packed{}}
}

// run flushes, and runs a batch of queries.
func (r *rows) run(b *pgx.Batch) error {
	if err := r.flush(); err != nil {
		return err
	}
	return r.tx.Run(b)
}

func (r *rows) ReadAccount(a *unit.Account) (current bool, err error) {
	if err := r.dropping[a.ID].Err(); err != nil {
		return false, err
	}
	row := r.accounts[a.ID]
	if row == nil {
		return false, fmt.Errorf("account %d was not loaded", a.ID)
	}
	// Not a.boxes and what else the unit keeps.
	a.ModSeq, a.UIDValidity, a.Messages, a.Size = row.ModSeq, row.UIDValidity, row.Messages, row.Size
	a.QuotaSize, a.QuotaCount, a.QuotaLevel, a.QuotaRoots, a.Domain = row.QuotaSize, row.QuotaCount, row.QuotaLevel, row.QuotaRoots, row.Domain
	return row.timeline >= r.timeline, nil
}

const (
	// lockDropping keeps accounts that were noted from going on their way until the new row is there to be seen.
	lockDropping   = `SELECT account FROM dropping WHERE account = ANY($1::bigint[]) ORDER BY account FOR SHARE`
	insertAccounts = `INSERT INTO account (account, timeline, mod_seq, uid_validity, messages, size)
		SELECT a, $2, 0, 0, 0, 0 FROM unnest($1::bigint[]) AS a WHERE NOT EXISTS (SELECT 1 FROM dropping d WHERE d.account = a AND d.forgotten <> 0)
		ORDER BY a ON CONFLICT DO NOTHING RETURNING account`
)

// insertAccounts makes the rows of accounts and tells which were not there; none of those that are on their way out.
func (r *rows) insertAccounts(ids []mailbox.AccountID) (made []mailbox.AccountID, err error) {
	if _, err := r.tx.Exec(lockDropping, int64s(ids)); err != nil {
		return nil, fmt.Errorf("lock accounts to be dropped: %w", err)
	}
	rows, err := r.tx.Query(insertAccounts, int64s(ids), r.timeline)
	err = eachRow(rows, err, func() error {
		var id mailbox.AccountID
		err := rows.Scan(&id)
		made = append(made, id)
		return err
	})
	return made, err
}

// MakeAccount is for a row that insertAccounts has made.
func (r *rows) MakeAccount(a *unit.Account) error {
	a.BeginAt(r.timeline)
	return nil
}

func (r *rows) JumpAccount(a *unit.Account) error {
	j := &r.pending.jumps
	j.accounts, j.seqs = append(j.accounts, int64(a.ID)), append(j.seqs, int64(a.ModSeq))
	return nil
}

func (r *rows) Subscribe(a *unit.Account, name string) (bool, error) {
	return r.changes("INSERT INTO subscription (account, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", a, name)
}

func (r *rows) Unsubscribe(a *unit.Account, name string) (bool, error) {
	return r.changes("DELETE FROM subscription WHERE account = $1 AND name = $2", a, name)
}

func (r *rows) changes(query string, a *unit.Account, name string) (bool, error) {
	if err := r.flush(); err != nil {
		return false, err
	}
	n, err := r.tx.Exec(query, int64(a.ID), name)
	return n > 0, err
}

func (r *rows) Subscriptions(a *unit.Account) (n int, err error) {
	if err := r.flush(); err != nil {
		return 0, err
	}
	err = r.tx.QueryRow("SELECT COUNT(*) FROM subscription WHERE account = $1", int64(a.ID)).Scan(&n)
	return n, err
}

func (r *rows) BoxByID(a *unit.Account, id mailbox.ID) (*unit.Box, error) {
	k := boxKey{a.ID, id}
	if _, ok := r.byID[k]; !ok {
		b := &pgx.Batch{}
		r.queueByID(b, []boxKey{k})
		if b.Len() > 0 {
			if err := r.run(b); err != nil {
				return nil, err
			}
		}
	}
	return orNone(r.byID[k])
}

func (r *rows) BoxNamed(a *unit.Account, name string) (*unit.Box, error) {
	return r.boxNamed(boxesNamed, nameKey{a.ID, name}, r.named)
}

func (r *rows) BoxFor(a *unit.Account, specialUse string) (*unit.Box, error) {
	return r.boxNamed(boxesFor, nameKey{a.ID, specialUse}, r.used)
}

func (r *rows) boxNamed(query string, k nameKey, known map[nameKey]*unit.Box) (*unit.Box, error) {
	if _, ok := known[k]; !ok {
		b := &pgx.Batch{}
		r.queueNamed(b, query, []nameKey{k}, known)
		if err := r.run(b); err != nil {
			return nil, err
		}
	}
	return orNone(known[k])
}

func orNone(b *unit.Box) (*unit.Box, error) {
	if b == nil {
		return nil, index.ErrNoMailbox
	}
	return b, nil
}

func (r *rows) AllBoxes(a *unit.Account) ([]*unit.Box, error) {
	if _, ok := r.all[a.ID]; !ok {
		b := &pgx.Batch{}
		r.queueAll(b, []mailbox.AccountID{a.ID})
		if err := r.run(b); err != nil {
			return nil, err
		}
	}
	return r.all[a.ID], nil
}

func (r *rows) CountBoxes(a *unit.Account) (int, error) {
	if _, ok := r.counts[a.ID]; !ok {
		b := &pgx.Batch{}
		r.queueCounts(b, one(a.ID))
		if err := r.run(b); err != nil {
			return 0, err
		}
	}
	return r.counts[a.ID], nil
}

// forget drops what was loaded of mailboxes, as their names change.
func (r *rows) forget() {
	clear(r.named)
	clear(r.used)
	clear(r.byID)
	clear(r.all)
}

func (r *rows) LastChunk(b *unit.Box, c *mailbox.Chunk) (bool, error) {
	k := boxKey{b.Account.ID, b.ID}
	if p, ok := r.tails[k]; ok {
		delete(r.tails, k)
		return true, c.Unpack(&p)
	}
	if err := r.flush(); err != nil {
		return false, err
	}
	var p mailbox.Packed
	err := scanChunk(r.tx.QueryRow("SELECT "+chunkColumns+" FROM chunk WHERE account = $1 AND mailbox = $2 ORDER BY first_uid DESC LIMIT 1",
		int64(b.Account.ID), int64(b.ID)), &p)
	if errors.Is(err, pgdb.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.Unpack(&p)
}

const chunkColumns = `first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved`

func scanChunk(row unit.Scanner, p *mailbox.Packed) error {
	return row.Scan(&p.FirstUID, &p.MaxModSeq, &p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received, &p.Saved)
}

// The chunks of a range of UIDs: from the one that the first would lie in.
const (
	chunksWhere = ` FROM chunk WHERE account = $1 AND mailbox = $2 AND first_uid >=
		(SELECT COALESCE(MAX(first_uid), 0) FROM chunk WHERE account = $1 AND mailbox = $2 AND first_uid <= $3)
		AND first_uid <= $4 ORDER BY first_uid`
	chunksOf     = `SELECT ` + chunkColumns + chunksWhere
	flagColumns  = `first_uid, uids, flags, mod_seqs`
	flagChunksOf = `SELECT ` + flagColumns + chunksWhere
	// The same of many ranges; a chunk that lies in two comes twice.
	chunksIn = ` FROM unnest($3::bigint[], $4::bigint[]) AS k (low, high) CROSS JOIN LATERAL (SELECT ` + chunkColumns + ` FROM chunk
		WHERE account = $1 AND mailbox = $2 AND first_uid <= k.high AND first_uid >=
			(SELECT COALESCE(MAX(first_uid), 0) FROM chunk WHERE account = $1 AND mailbox = $2 AND first_uid <= k.low)
		ORDER BY first_uid) c ORDER BY c.first_uid`
	chunksOfMany     = `SELECT ` + chunkColumns + chunksIn
	flagChunksOfMany = `SELECT ` + flagColumns + chunksIn
)

func (r *rows) Chunks(b *unit.Box, uids mailbox.UIDSet) ([]mailbox.Packed, error) {
	return r.chunks(chunksKey{box: boxKey{b.Account.ID, b.ID}, uids: uids})
}

func (r *rows) FlagChunks(b *unit.Box, uids mailbox.UIDSet) ([]mailbox.Packed, error) {
	return r.chunks(chunksKey{box: boxKey{b.Account.ID, b.ID}, uids: uids, flags: true})
}

// chunks gives those that were loaded, or asks.
func (r *rows) chunks(k chunksKey) ([]mailbox.Packed, error) {
	if h := r.loaded; h != nil && h.box == k.box && h.flags == k.flags && slices.Equal(h.uids, k.uids) {
		r.loaded = nil
		return h.list, nil
	}
	b := &pgx.Batch{}
	if r.queueChunks(b, k); b.Len() == 0 {
		return nil, nil
	}
	if err := r.run(b); err != nil {
		return nil, err
	}
	list := r.loaded.list
	r.loaded = nil
	return list, nil
}

// loadedChunks are chunks as they were read.
type loadedChunks struct {
	chunksKey
	list []mailbox.Packed
}

// queueChunks reads those of one range, or of many, into r.loaded.
func (r *rows) queueChunks(b *pgx.Batch, k chunksKey) {
	spans := unit.Spans(k.uids)
	if len(spans) == 0 || k.box.account >= 1<<63 || k.box.id >= 1<<63 {
		return
	}
	one, many, scan := chunksOf, chunksOfMany, scanChunk
	if k.flags {
		one, many, scan = flagChunksOf, flagChunksOfMany, scanFlagChunk
	}
	query, args := one, []any{int64(k.box.account), int64(k.box.id), int64(spans[0].First), int64(spans[0].Last)}
	if len(spans) > 1 {
		low, high := make([]int64, len(spans)), make([]int64, len(spans))
		for i, s := range spans {
			low[i], high[i] = int64(s.First), int64(s.Last)
		}
		query, args[2], args[3] = many, low, high
	}
	found := &loadedChunks{chunksKey: k}
	r.loaded = found
	b.Queue(query, args...).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var p mailbox.Packed
			err := scan(rows, &p)
			if n := len(found.list); n == 0 || found.list[n-1].FirstUID < p.FirstUID {
				found.list = append(found.list, p)
			}
			return err
		})
	})
}

func scanFlagChunk(row unit.Scanner, p *mailbox.Packed) error {
	return row.Scan(&p.FirstUID, &p.UIDs, &p.Flags, &p.ModSeqs)
}

const readAnyCondemned = `SELECT EXISTS (SELECT 1 FROM condemned)`

func (r *rows) AnyCondemned() (any bool, err error) {
	if r.condemned != nil {
		return len(r.condemned) > 0, nil
	}
	if r.anyCondemned != nil {
		return *r.anyCondemned, nil
	}
	if err := r.flush(); err != nil {
		return false, err
	}
	err = r.tx.QueryRow(readAnyCondemned).Scan(&any)
	return any, err
}

func (r *rows) Condemned(id blob.ID) (bool, error) {
	if r.condemned == nil {
		b := &pgx.Batch{}
		r.queueCondemned(b, [][]byte{id.Bytes()})
		if err := r.run(b); err != nil {
			return false, err
		}
		found := r.condemned
		r.condemned = nil
		return len(found) > 0, nil
	}
	return r.condemned[string(id.Bytes())], nil
}

func (r *rows) CondemnedEmails(a *unit.Account, emails []mailbox.EmailID) (any bool, err error) {
	if err := r.flush(); err != nil {
		return false, err
	}
	err = r.tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM unnest($2::bigint[]) AS k (email) JOIN email e ON e.account = $1 AND e.email = k.email
		JOIN condemned c ON c.blob_id = e.blob_id)`, int64(a.ID), int64s(emails)).Scan(&any)
	return any, err
}
