package postgres_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/servers"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// side is a way to a database's rows beside the one under test.
func side(tb testing.TB, pg *servers.PG) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(context.Background(), pg.URL)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// route enters recipients in the ledger as the router does.
func route(pool *pgxpool.Pool, recipients ...indextest.Recipient) error {
	var ids [][]byte
	var numbers, states, accounts, generations []int64
	for _, r := range recipients {
		ids, numbers, states = append(ids, r.QueueID[:]), append(numbers, int64(r.Number)), append(states, int64(r.State))
		accounts, generations = append(accounts, int64(r.Account)), append(generations, int64(r.Generation))
	}
	_, err := pool.Exec(context.Background(), `INSERT INTO recipient (queue_id, number, forward_path, original, notify, orcpt, detail, state, destination,
		account, grp, generation, attempts, last_reply, relay, due_ns, expiry_ns, changed_ns, delay_notified)
		SELECT k.id, k.number, '', '', 0, '', '', k.state, $6, k.account, '', k.generation, 0, '', '', 1, 2, 3, false
		FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS k (id, number, state, account, generation)
		ON CONFLICT (queue_id, number) DO UPDATE SET state = excluded.state, generation = excluded.generation`,
		ids, numbers, states, accounts, generations, int64(storev1.Destination_DESTINATION_LOCAL))
	return err
}

func stateOf(pool *pgxpool.Pool, id envelope.QueueID, number uint32) (state storev1.State, err error) {
	err = pool.QueryRow(context.Background(), "SELECT state FROM recipient WHERE queue_id = $1 AND number = $2", id[:], int64(number)).Scan(&state)
	return state, err
}

func subjectOn(t testing.TB, pg *servers.PG) indextest.Subject { return checkOn(t, pg).Subject }

func TestRetention(t *testing.T) {
	pg := servers.Postgres(t)
	indextest.RunRetention(t, func(t testing.TB) indextest.RetentionSubject {
		s := checkOn(t, pg).RetentionSubject
		pg.Admin(t, "TRUNCATE "+mailboxTables+", "+ledgerTables)
		return s
	})
}

func TestCheck(t *testing.T) {
	pg := servers.Postgres(t)
	indextest.RunCheck(t, func(t testing.TB) indextest.CheckSubject {
		s := checkOn(t, pg)
		pg.Admin(t, "TRUNCATE "+mailboxTables+", "+ledgerTables)
		return s
	})
}

func checkOn(t testing.TB, pg *servers.PG) indextest.CheckSubject {
	s := indextest.Subject{QuotaMessages: 20_000}
	var fail atomic.Pointer[func(string) error]
	var now atomic.Int64
	clock := func() time.Time { return time.Unix(1_800_000_000, now.Load()) }
	d := connect(t, pg, postgres.Options{
		QuotaMessages: s.QuotaMessages, QuotaLevels: []int{80, 95},
		Fault: func(step string) error {
			if f := fail.Load(); f != nil {
				return (*f)(step)
			}
			return nil
		},
		Now: clock,
	})
	pool := side(t, pg)
	s.Mailboxes, s.Leases, s.Quotas, s.Domains, s.Sharing = d.Mailboxes(), d.Leases(), d.Mailboxes(), d.Domains(), d.Sharing()
	s.Annotations, s.Imports = d.Annotations(), d.Imports()
	s.Miscount = func(id mailbox.AccountID) error {
		_, err := pool.Exec(context.Background(), "UPDATE account SET size = size + 5, messages = 99 WHERE account = $1", int64(id))
		if err == nil {
			_, err = pool.Exec(context.Background(), "UPDATE mailbox SET unseen = 7, deleted = 8, size = 9 WHERE account = $1 AND name = 'INBOX'", int64(id))
		}
		return err
	}
	s.Route = func(r ...indextest.Recipient) error { return route(pool, r...) }
	s.State = func(id envelope.QueueID, number uint32) (storev1.State, error) { return stateOf(pool, id, number) }
	s.Advance = func(by time.Duration) { now.Add(int64(by)) }
	s.FailAt = func(f func(string) error) { fail.Store(&f) }
	s.Children = func(parent envelope.QueueID) (n int, err error) {
		err = pool.QueryRow(context.Background(), "SELECT COUNT(*) FROM outbox WHERE owner = $1", parent[:]).Scan(&n)
		return n, err
	}
	s.Condemn = func(id blob.ID) error {
		_, err := pool.Exec(context.Background(), "INSERT INTO condemned (blob_id, condemned_ns) VALUES ($1, 1)", id.Bytes())
		return err
	}
	return indextest.CheckSubject{RetentionSubject: indextest.RetentionSubject{Subject: s, Retention: d.Retention(), Now: clock}, Check: d.Retention(), Survey: d.Retention(),
		Spoil: func(statement string) error {
			_, err := pool.Exec(context.Background(), statement)
			return err
		}}
}

// mailboxTables are all of the mailboxes', without the timeline, which is the server's.
const mailboxTables = "account, domain_quota, mailbox, subscription, chunk, tombstone, email, delivered, condemned, lease, quota, quota_notice, " +
	"removed, removed_mailbox, kept, legal_hold, retention_rule, expire_rule, dropping, uid_mark, operation, annotation, imported, spent_validity"

func TestMailboxes(t *testing.T) {
	pg := servers.Postgres(t)
	indextest.Run(t, func(t testing.TB) indextest.Subject {
		s := subjectOn(t, pg)
		pg.Admin(t, "TRUNCATE "+mailboxTables+", "+ledgerTables)
		return s
	})
}
