package kept_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// removedLoad is what 100 accounts have removed, one of them half of it.
var removedLoad = []string{
	`INSERT INTO account (account, timeline, mod_seq, uid_validity, messages, size) SELECT i, 1, 100000, 1, 0, 0 FROM generate_series(1, 100) i`,
	`INSERT INTO removed SELECT CASE i % 2 WHEN 0 THEN 7 ELSE i % 100 + 1 END, i % 5, i, 0, 1, i, 'INBOX', '', 1, '', 1, 1, '', '', '', '', '', ''
		FROM generate_series(1, 50000) i`,
	`INSERT INTO email SELECT i % 100 + 1, i, i, 1, i, decode(lpad(to_hex(i), 40, '0'), 'hex'), '', 1, '' FROM generate_series(1, 50000) i`,
	`INSERT INTO chunk (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received)
		SELECT i % 100 + 1, 1, i, 1, '', '', '', '', '', '' FROM generate_series(1, 50000) i`,
	`INSERT INTO mailbox (account, mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, purged_mod_seq, messages, unseen, deleted,
		size, recent_uid, keywords) SELECT i % 100 + 1, i, i, '', 1, 1, 1, 1, 0, 0, 0, 0, 1, '' FROM generate_series(1, 50000) i`,
	`INSERT INTO tombstone SELECT i % 100 + 1, 1, i, '', '', i FROM generate_series(1, 50000) i`,
	`INSERT INTO dropping SELECT i, 1, 3 FROM generate_series(1000, 50000) i`,
	`ANALYZE`,
}

// TestPlans shows that a purge reads an account's rows by indexes, and a page of them from where it begins.
func TestPlans(t *testing.T) {
	pg := servers.Postgres(t)
	if err := postgres.Migrate(t.Context(), pgdb.Config{URL: pg.URL}); err != nil {
		t.Fatal(err)
	}
	pg.Admin(t, strings.Join(removedLoad, ";\n"))
	explainer := pg.Explainer(t)
	for _, tt := range []struct{ name, query, args, want string }{
		{"look", kept.PurgeLook, "7, 40000, 40000, 40000, 1, 1, 0, 512", "removed_by_mod_seq"},
		{"names", kept.PurgeNames, "9", "removed_pkey|removed_by_mod_seq"},
		{"entries", kept.NamedByEntries, "9", "chunk_pkey"},
		{"tombstones", kept.NamedByTombstones, "9", "tombstone_pkey"},
		{"strays", kept.StrayChunks, "9, 0, 0, 0, 256", "chunk_pkey mailbox_pkey|chunk_pkey mailbox_by_name"},
		{"seen entries", kept.SeenEmails, "9", "chunk_pkey mailbox_pkey|chunk_pkey mailbox_by_name"},
		{"row", kept.PurgeRow, "7, 1, 40000, 0", "removed_pkey|removed_by_mod_seq"},
		{"email", kept.PurgeEmail, "7, 106", "email_pkey"},
		{"list", kept.RemovedRows, "7, 0, 0, 0, 9223372036854775807, 0, 40000, 40000, 40000, 1, 1, 0, 100", "removed_by_mod_seq"},
		{"drop state", kept.DropState, "2000", "dropping_pkey"},
	} {
		for _, generic := range []bool{false, true} {
			if got := explainer.Reads(generic, tt.query, tt.args); !slices.Contains(strings.Split(tt.want, "|"), got) {
				t.Errorf("%s, generic %t: reads %s, want %s", tt.name, generic, got, tt.want)
			}
		}
	}
}
