package kept_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// BenchmarkPurge purges an account that has deleted message by message: ns/row must not grow with the rows.
func BenchmarkPurge(b *testing.B) {
	for _, rows := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				d, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "index.db"), sqlite.Options{})
				if err != nil {
					b.Fatal(err)
				}
				fillRemoved(b, d, rows)
				b.StartTimer()
				s, purged := kept.New(d), 0
				for more := true; more; {
					var p index.Purged
					if p, more, err = s.Purge(b.Context(), index.Rules{Now: time.Now(), Keep: time.Hour}, 10); err != nil {
						b.Fatal(err)
					}
					purged += p.Emails
				}
				b.StopTimer()
				if purged != rows {
					b.Fatalf("%d of %d purged", purged, rows)
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fillRemoved makes rows of one message each, as old as time, and as many entries that stay.
func fillRemoved(tb testing.TB, db kept.DB, rows int) {
	tb.Helper()
	if err := db.WriteSQL(tb.Context(), func(tx kept.SQL) error {
		if _, err := tx.Exec(`INSERT INTO account (account, timeline, mod_seq, uid_validity, messages, size) VALUES (7, 1, 1000000, 1, 0, 0)`); err != nil {
			return err
		}
		var email, removed [][]any
		for i := 1; i <= rows; i++ {
			email = append(email, []any{i})
			removed = append(removed, []any{i, mailbox.AppendEmails([]byte{}, []mailbox.EmailID{mailbox.EmailID(i)})})
		}
		if _, err := tx.ExecMany(`INSERT INTO email (account, email, thread, size, received_ns, blob_id, overlay, part_index_version, part_index)
			VALUES (7, $1, 1, 1, 1, x'01', x'', 1, x'')`, email); err != nil {
			return err
		}
		if _, err := tx.ExecMany(`INSERT INTO removed (account, mailbox, mod_seq, part, kind, removed_ns, name, special_use, uid_next, keywords, entries, octets,
			uids, flags, mod_seqs, emails, sizes, received) VALUES (7, 1, $1, 0, 1, 1, 'INBOX', '', 1, '', 1, 1, x'', x'', x'', $2, x'', x'')`, removed); err != nil {
			return err
		}
		for i := 0; i < rows; i += mailbox.ChunkSize {
			var ids []mailbox.EmailID
			for k := range mailbox.ChunkSize {
				ids = append(ids, mailbox.EmailID(1_000_000+i+k))
			}
			if _, err := tx.Exec(`INSERT INTO chunk (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved)
				VALUES (7, 1, $1, 1, x'', x'', x'', $2, x'', x'', x'')`, i+1, mailbox.AppendEmails([]byte{}, ids)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT INTO kept (account, entries, octets, next_ns) VALUES (7, $1, $2, 0)`, rows, rows)
		return err
	}); err != nil {
		tb.Fatal(err)
	}
}
