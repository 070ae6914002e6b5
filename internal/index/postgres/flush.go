package postgres

import (
	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/imports"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// pending is what is to be written, in the order in which flush does it.
type pending struct {
	jumps    struct{ accounts, seqs []int64 }
	drops    []*unit.Box
	renames  []rename
	made     []*unit.Box
	boxes    unique[*unit.Box]
	accounts unique[*unit.Account]
	lists    []copyList
	names    struct {
		accounts []int64
		names    []string
	}
	gone      chunkRows
	chunks    chunkRows
	flags     chunkRows
	tombs     tombRows
	emails    emailRows
	threads   threadColumns
	delivered deliveredColumns
	children  childArrays
	// settled are recipients that become final.
	settled []recipientKey
	// more are statements of their own.
	more []kept.Statement
}

type rename struct {
	box  *unit.Box
	name string
}

// unique is a list without repetition.
type unique[T comparable] struct {
	list []T
	have map[T]bool
}

func (u *unique[T]) add(v T) {
	if u.have == nil {
		u.have = map[T]bool{}
	}
	if !u.have[v] {
		u.have[v] = true
		u.list = append(u.list, v)
	}
}

// chunkRows are rows of chunk, column by column.
type chunkRows struct {
	accounts, boxes, firsts, seqs                        []int64
	uids, flags, modSeqs, emails, sizes, received, saved [][]byte
}

func (c *chunkRows) add(b *unit.Box, p *mailbox.Packed) {
	c.accounts, c.boxes = append(c.accounts, int64(b.Account.ID)), append(c.boxes, int64(b.ID))
	c.firsts, c.seqs = append(c.firsts, int64(p.FirstUID)), append(c.seqs, int64(p.MaxModSeq))
	c.uids, c.flags, c.modSeqs = append(c.uids, p.UIDs), append(c.flags, p.Flags), append(c.modSeqs, p.ModSeqs)
	c.emails, c.sizes, c.received = append(c.emails, p.Emails), append(c.sizes, p.Sizes), append(c.received, p.Received)
	c.saved = append(c.saved, p.Saved)
}

type tombRows struct {
	accounts, boxes, seqs []int64
	uids, emails          [][]byte
}

type emailRows struct {
	accounts, ids, threads, sizes, received, versions []int64
	blobs, overlays, indexes                          [][]byte
}

type deliveredColumns struct {
	accounts, numbers, boxes, uids, emails []int64
	ids                                    [][]byte
}

const (
	jumpAccounts = `UPDATE account SET timeline = $2 WHERE account = ANY($1::bigint[])`
	jumpBoxes    = `UPDATE mailbox m SET purged_mod_seq = k.seq FROM unnest($1::bigint[], $2::bigint[]) AS k (account, seq)
		WHERE m.account = k.account`
	dropBox   = `DELETE FROM mailbox WHERE account = $1 AND mailbox = $2`
	renameBox = `UPDATE mailbox SET name = $3 WHERE account = $1 AND mailbox = $2`
	makeBoxes = `INSERT INTO mailbox (account, mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, purged_mod_seq,
			messages, unseen, deleted, size, recent_uid, keywords)
		SELECT k.account, k.mailbox, k.name, k.special_use, k.uid_validity, 1, k.seq, k.seq, 0, 0, 0, 0, 1, ''
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
			AS k (account, mailbox, name, special_use, uid_validity, seq)`
	saveBoxes = `UPDATE mailbox m SET uid_validity = k.uid_validity, uid_next = k.uid_next, highest_mod_seq = k.seq, messages = k.messages,
			unseen = k.unseen, deleted = k.deleted, size = k.size, recent_uid = k.recent_uid, keywords = k.keywords
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
			$10::bigint[], $11::text[])
			AS k (account, mailbox, uid_validity, uid_next, seq, messages, unseen, deleted, size, recent_uid, keywords)
		WHERE m.account = k.account AND m.mailbox = k.mailbox`
	saveAccounts = `UPDATE account a SET mod_seq = k.seq, uid_validity = k.uid_validity, messages = k.messages, size = k.size,
			quota_size = k.quota_size, quota_messages = k.quota_messages, quota_level = k.level, quota_roots = k.roots,
			domain = k.domain
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
			$10::text[])
			AS k (account, seq, uid_validity, messages, size, quota_size, quota_messages, level, roots, domain)
		WHERE a.account = k.account`
	makeSubscriptions = `INSERT INTO subscription (account, name) SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT DO NOTHING`
	dropChunks        = `DELETE FROM chunk c USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (account, mailbox, first_uid)
		WHERE c.account = k.account AND c.mailbox = k.mailbox AND c.first_uid = k.first_uid`
	putChunks = `INSERT INTO chunk (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::bytea[], $8::bytea[],
			$9::bytea[], $10::bytea[], $11::bytea[])
		ON CONFLICT (account, mailbox, first_uid) DO UPDATE SET max_mod_seq = excluded.max_mod_seq, uids = excluded.uids,
			flags = excluded.flags, mod_seqs = excluded.mod_seqs, emails = excluded.emails, sizes = excluded.sizes, received = excluded.received,
			saved = excluded.saved`
	putFlags = `UPDATE chunk c SET max_mod_seq = k.seq, flags = k.flags, mod_seqs = k.mod_seqs
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[])
			AS k (account, mailbox, first_uid, seq, flags, mod_seqs)
		WHERE c.account = k.account AND c.mailbox = k.mailbox AND c.first_uid = k.first_uid`
	putTombstones = `INSERT INTO tombstone (account, mailbox, mod_seq, uids, emails, expunged_ns)
		SELECT k.*, ` + clockNs + ` FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[]) AS k`
	putEmails = `INSERT INTO email (account, email, thread, size, received_ns, part_index_version, blob_id, overlay, part_index)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[],
			$8::bytea[], $9::bytea[])`
	putDelivered = `INSERT INTO delivered (account, queue_id, number, mailbox, uid, email)
		SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])`
)

// flush writes what is pending in one round trip. The outbox goes behind the account's rows, the ledger's final state last.
func (r *rows) flush() error {
	p := &r.pending
	b := &pgx.Batch{}
	if j := &p.jumps; len(j.accounts) > 0 {
		b.Queue(jumpAccounts, j.accounts, r.timeline)
		b.Queue(jumpBoxes, j.accounts, j.seqs)
	}
	for _, box := range p.drops {
		b.Queue(dropBox, int64(box.Account.ID), int64(box.ID))
		queueDropShared(b, box)
		for _, s := range imports.DropBox(box) {
			b.Queue(s.Query, s.Args...)
		}
	}
	for _, n := range p.renames {
		b.Queue(renameBox, int64(n.box.Account.ID), int64(n.box.ID), n.name)
	}
	p.queueBoxes(b)
	for _, l := range p.lists {
		b.Queue(copyACL, int64(l.box.Account.ID), int64(l.from), int64(l.box.ID))
		b.Queue(copyShares, int64(l.box.Account.ID), int64(l.box.ID))
	}
	if c := &p.gone; len(c.firsts) > 0 {
		b.Queue(dropChunks, c.accounts, c.boxes, c.firsts)
		b.Queue(dropOwn, c.accounts, c.boxes, c.firsts)
	}
	if c := &p.chunks; len(c.firsts) > 0 {
		b.Queue(putChunks, c.accounts, c.boxes, c.firsts, c.seqs, c.uids, c.flags, c.modSeqs, c.emails, c.sizes, c.received, c.saved)
	}
	if c := &p.flags; len(c.firsts) > 0 {
		b.Queue(putFlags, c.accounts, c.boxes, c.firsts, c.seqs, c.flags, c.modSeqs)
	}
	if t := &p.tombs; len(t.seqs) > 0 {
		b.Queue(putTombstones, r.d.clock(), t.accounts, t.boxes, t.seqs, t.uids, t.emails)
	}
	for _, s := range p.more {
		b.Queue(s.Query, s.Args...)
	}
	if e := &p.emails; len(e.ids) > 0 {
		b.Queue(putEmails, e.accounts, e.ids, e.threads, e.sizes, e.received, e.versions, e.blobs, e.overlays, e.indexes)
	}
	if c := &p.threads; len(c.hashes) > 0 {
		b.Queue(putThreads, c.accounts, c.hashes, c.threads)
	}
	if d := &p.delivered; len(d.ids) > 0 {
		b.Queue(putDelivered, d.accounts, d.ids, d.numbers, d.boxes, d.uids, d.emails)
	}
	p.children.queue(b, r.d.clock())
	queueSettled(b, p.settled, r.d.clock())
	*p = pending{}
	return r.tx.Run(b)
}

// queueBoxes writes new mailboxes, then changed ones, then the accounts.
func (p *pending) queueBoxes(b *pgx.Batch) {
	if len(p.made) > 0 {
		var accounts, ids, validities, seqs []int64
		var names, uses []string
		for _, m := range p.made {
			accounts, ids = append(accounts, int64(m.Account.ID)), append(ids, int64(m.ID))
			names, uses = append(names, m.Name), append(uses, m.SpecialUse)
			validities, seqs = append(validities, int64(m.UIDValidity)), append(seqs, int64(m.HighestModSeq))
		}
		b.Queue(makeBoxes, accounts, ids, names, uses, validities, seqs)
	}
	if len(p.boxes.list) > 0 {
		var c [10][]int64
		var keywords []string
		for _, m := range p.boxes.list {
			for i, v := range [...]int64{int64(m.Account.ID), int64(m.ID), int64(m.UIDValidity), int64(m.UIDNext), int64(m.HighestModSeq),
				int64(m.Messages), int64(m.Unseen), int64(m.Deleted), m.Size, int64(m.RecentUID)} {
				c[i] = append(c[i], v)
			}
			keywords = append(keywords, unit.JoinKeywords(&m.Mailbox))
		}
		b.Queue(saveBoxes, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], keywords)
	}
	if len(p.accounts.list) > 0 {
		var c [9][]int64
		var domains []string
		for _, a := range p.accounts.list {
			for i, v := range [...]int64{int64(a.ID), int64(a.ModSeq), int64(a.UIDValidity), a.Messages, a.Size,
				a.QuotaSize, a.QuotaCount, int64(a.QuotaLevel), int64(a.QuotaRoots)} {
				c[i] = append(c[i], v)
			}
			domains = append(domains, a.Domain.Name)
		}
		b.Queue(saveAccounts, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], domains)
	}
	if len(p.names.names) > 0 {
		b.Queue(makeSubscriptions, p.names.accounts, p.names.names)
	}
}

func (r *rows) SaveAccount(a *unit.Account) error {
	r.pending.accounts.add(a)
	return nil
}

func (r *rows) MakeSubscriptions(a *unit.Account, names []string) error {
	for _, name := range names {
		n := &r.pending.names
		n.accounts, n.names = append(n.accounts, int64(a.ID)), append(n.names, name)
	}
	return nil
}

func (r *rows) MakeBox(b *unit.Box) error {
	r.pending.made = append(r.pending.made, b)
	if n, ok := r.counts[b.Account.ID]; ok {
		r.counts[b.Account.ID] = n + 1
	}
	return nil
}

func (r *rows) SaveBox(b *unit.Box) error {
	r.pending.boxes.add(b)
	return nil
}

func (r *rows) RenameBox(b *unit.Box, name string) error {
	r.forget()
	r.pending.renames = append(r.pending.renames, rename{b, name})
	return nil
}

func (r *rows) DropBox(b *unit.Box) error {
	r.forget()
	r.pending.drops = append(r.pending.drops, b)
	delete(r.counts, b.Account.ID)
	return nil
}

func (r *rows) PutChunk(b *unit.Box, p *mailbox.Packed, _ bool) error {
	r.loaded = nil
	delete(r.tails, boxKey{b.Account.ID, b.ID})
	r.pending.chunks.add(b, p)
	return nil
}

func (r *rows) PutFlags(b *unit.Box, p *mailbox.Packed) error {
	r.loaded = nil
	delete(r.tails, boxKey{b.Account.ID, b.ID})
	r.pending.flags.add(b, p)
	return nil
}

func (r *rows) DropChunk(b *unit.Box, first mailbox.UID) error {
	r.loaded = nil
	delete(r.tails, boxKey{b.Account.ID, b.ID})
	r.pending.gone.add(b, &mailbox.Packed{FirstUID: first})
	return nil
}

func (r *rows) PutTombstone(b *unit.Box, seq mailbox.ModSeq, uids mailbox.UIDSet, emails []mailbox.EmailID) error {
	t := &r.pending.tombs
	t.accounts, t.boxes, t.seqs = append(t.accounts, int64(b.Account.ID)), append(t.boxes, int64(b.ID)), append(t.seqs, int64(seq))
	t.uids, t.emails = append(t.uids, mailbox.AppendUIDSet(nil, uids)), append(t.emails, mailbox.AppendEmails([]byte{}, emails))
	return nil
}

func (r *rows) PutEmail(a *unit.Account, id mailbox.EmailID, thread mailbox.ThreadID, m *index.Message, overlay []byte) error {
	e := &r.pending.emails
	e.accounts, e.ids, e.sizes = append(e.accounts, int64(a.ID)), append(e.ids, int64(id)), append(e.sizes, m.Size)
	e.received, e.versions = append(e.received, m.Received.UnixNano()), append(e.versions, unit.IndexVersion(m.PartIndex))
	e.blobs, e.overlays = append(e.blobs, m.Blob.Bytes()), append(e.overlays, unit.NotNil(overlay))
	e.indexes, e.threads = append(e.indexes, unit.NotNil(m.PartIndex)), append(e.threads, int64(thread))
	return nil
}

func (r *rows) PutDelivered(d *index.Delivery, result *index.DeliverResult) error {
	c := &r.pending.delivered
	c.accounts, c.ids, c.numbers = append(c.accounts, int64(d.Account)), append(c.ids, d.QueueID[:]), append(c.numbers, int64(d.Number))
	c.boxes, c.uids, c.emails = append(c.boxes, int64(result.Mailbox)), append(c.uids, int64(result.UID)), append(c.emails, int64(result.Email))
	return nil
}

func (r *rows) PutChildren(d *index.Delivery, children []*mailv1.Accepted) error {
	return r.pending.children.add(d.QueueID[:], children)
}
