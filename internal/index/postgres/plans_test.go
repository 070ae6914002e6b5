package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// TestPlans shows that the queries of every message and session go by an index, with rows enough for the planner to have
// a choice.
func TestPlans(t *testing.T) {
	pg := servers.Postgres(t)
	cfg := pgdb.Config{URL: pg.URL}
	if err := Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	box := fill(t, d.Mailboxes())
	conn, err := pgx.Connect(t.Context(), pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), query, args...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	exec("INSERT INTO account (account, timeline, mod_seq, uid_validity, messages, size) SELECT i, 1, 1, 6, 0, 0 FROM generate_series(1000, 20000) AS i")
	exec(`INSERT INTO mailbox (account, mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, purged_mod_seq, messages, unseen, deleted,
		size, recent_uid, keywords) SELECT i, 100000 + i * 4 + k, k::text, '', k, 1, 1, 1, 0, 0, 0, 0, 1, '' FROM generate_series(1000, 20000) AS i, generate_series(1, 4) AS k`)
	exec("INSERT INTO subscription (account, name) SELECT i, k::text FROM generate_series(1000, 20000) AS i, generate_series(1, 2) AS k")
	exec(`INSERT INTO chunk (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received)
		SELECT i, i, 1, 1, '', '', '', '', '', '' FROM generate_series(1000, 20000) AS i`)
	exec(`INSERT INTO delivered (account, queue_id, number, mailbox, uid, email)
		SELECT 1 + i % 50, decode(md5(i::text), 'hex'), 0, 1, i, i FROM generate_series(1, 20000) AS i`)
	exec(`INSERT INTO tombstone (account, mailbox, mod_seq, uids, emails, expunged_ns)
		SELECT 1 + i % 50, i % 7, i, '', '', 0 FROM generate_series(1, 20000) AS i`)
	exec(`INSERT INTO condemned (blob_id, condemned_ns) SELECT decode(md5(i::text), 'hex'), 0 FROM generate_series(1, 20000) AS i`)
	exec(`INSERT INTO domain_quota (domain, size, messages, each_size, each_messages)
		SELECT 'd' || i || '.example', 1, 1, 1, 1 FROM generate_series(1, 20000) AS i`)
	exec("UPDATE account SET domain = 'd' || account % 5000 || '.example'")
	exec("ANALYZE")
	ids, names := []int64{3, 4, 5}, []string{"INBOX", "Sent", "Junk"}
	boxes, blobs := []int64{int64(box), 7, 8}, [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	for _, tt := range []struct {
		name, query string
		args        []any
	}{
		{"lock accounts", lockAccounts, []any{ids}},
		{"counters", readCounters, []any{ids}},
		{"mailboxes by name", boxesNamed, []any{ids, names}},
		{"mailboxes by special use", boxesFor, []any{ids, names}},
		{"mailboxes by id", boxesByID, []any{ids, boxes}},
		{"mailboxes of accounts", boxesOf, []any{ids}},
		{"dedupe rows", deliveredRows, []any{ids, blobs, ids}},
		{"condemned bodies", condemnedOf, []any{blobs}},
		{"mailbox", readBox, []any{3, int64(box)}},
		{"chunks of a range", chunksOf, []any{3, int64(box), 5, 9}},
		{"flags of a range", flagChunksOf, []any{3, int64(box), 5, 9}},
		{"chunks of many ranges", chunksOfMany, []any{3, int64(box), ids, ids}},
		{"flags of many ranges", flagChunksOfMany, []any{3, int64(box), ids, ids}},
		{"snapshot", snapshotChunks, []any{3, int64(box), 0}},
		{"tombstones", readTombstones, []any{3, int64(box), 0}},
		{"emails", readEmails, []any{3, ids}},
		{"sum of a domain", domainquota.Sum, []any{"d7.example"}},
		{"write accounts", saveAccounts, []any{ids, ids, ids, ids, ids, ids, ids, ids, ids, names}},
		{"write mailboxes", saveBoxes, []any{ids, boxes, ids, ids, ids, ids, ids, ids, ids, ids, names}},
		{"write flags", putFlags, []any{ids, boxes, ids, ids, blobs, blobs}},
		{"remove chunks", dropChunks, []any{ids, boxes, ids}},
	} {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			exec("SELECT set_config('plan_cache_mode', $1, false)", mode)
			plan := planOf(t, conn, tt.query, tt.args)
			if strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s, %s:\n%s", tt.name, mode, plan)
			}
		}
	}
}

func planOf(t *testing.T, conn *pgx.Conn, query string, args []any) string {
	t.Helper()
	name := fmt.Sprint("p", time.Now().UnixNano())
	if _, err := conn.Exec(t.Context(), "PREPARE "+name+" AS "+query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var literals []string
	for _, a := range args {
		literals = append(literals, literal(a))
	}
	rows, err := conn.Query(t.Context(), "EXPLAIN (COSTS OFF) EXECUTE "+name+"("+strings.Join(literals, ", ")+")", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(lines, "\n")
}

func literal(v any) string {
	switch v := v.(type) {
	case []int64:
		return "'{" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(v)), ","), "[]") + "}'"
	case []string:
		return "'{" + strings.Join(v, ",") + "}'"
	case string:
		return "'" + v + "'"
	case [][]byte:
		return fmt.Sprintf("array['%s','%s','%s']::bytea[]", v[0], v[1], v[2])
	}
	return fmt.Sprint(v)
}

// fill makes 50 accounts, one of which has a large mailbox.
func fill(t *testing.T, m *Mailboxes) mailbox.ID {
	t.Helper()
	var id mailbox.ID
	for a := range mailbox.AccountID(50) {
		n := 300
		if a == 3 {
			n = 20_000
		}
		list := make([]index.Message, n)
		for i := range list {
			list[i] = index.Message{Blob: blob.ID{Incarnation: 1, Segment: uint32(a), Offset: uint32(i)}, Size: 10, Received: time.Unix(1, 0)}
		}
		r, err := m.Append(t.Context(), a+1, index.Inbox, list)
		if err != nil {
			t.Fatal(err)
		}
		if a == 2 {
			id = r.Mailbox
		}
	}
	return id
}
