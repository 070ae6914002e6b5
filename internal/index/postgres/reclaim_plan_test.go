package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// reclaimLoad fills what reclaiming asks: 50,000 frames of which most are filed, some moved, shared or condemned, and accounts
// that have expunged some of them.
var reclaimLoad = []string{
	`CREATE TEMPORARY TABLE frame AS SELECT i, decode(lpad(to_hex(i), 40, '0'), 'hex') AS id FROM generate_series(1, 50000) i`,
	`INSERT INTO message SELECT decode(lpad(to_hex(i), 32, '0'), 'hex'), id, 1, NULL, i, i, 'sender@example.net', '', 1 FROM frame`,
	`INSERT INTO recipient (queue_id, ` + recipientColumns + `) SELECT queue_id, 0, 'a@example.org', '', 0, '', '', 4, 1, 1, '', 0, 0, '', '',
		CASE accepted_ns % 50 WHEN 0 THEN accepted_ns END, 0, 0, false FROM message`,
	`INSERT INTO withheld SELECT queue_id, blob_id, 0, CASE accepted_ns % 50 WHEN 0 THEN 1 ELSE 3 END, 0 FROM message`,
	`INSERT INTO email SELECT i % 1000 + 1, i, i, 1, i, id, '', 1, '' FROM frame`,
	`INSERT INTO chunk SELECT i % 1000 + 1, 1, i, 1, '', '', '', '', '', '' FROM frame`,
	`INSERT INTO mailbox SELECT i % 10000 + 1, i, 'm' || i, '', 1, 1, 1, 1, 0, 0, 0, 0, 1, '' FROM frame`,
	`INSERT INTO tombstone SELECT i % 1000 + 1, 1, i, '', '', i FROM frame`,
	`INSERT INTO location SELECT id, decode(lpad(to_hex(i + 100000), 40, '0'), 'hex') FROM frame`,
	`INSERT INTO shared SELECT id, decode(lpad(to_hex(i + 1), 40, '0'), 'hex') FROM frame`,
	`INSERT INTO apart SELECT id, 1 FROM frame`,
	`INSERT INTO condemned SELECT id, 1 FROM frame`,
	`ANALYZE`,
}

// TestReclaimPlans shows that what is asked to give a segment's room back, and to purge an account, goes by indexes: the work
// for one segment must not grow with the farm.
func TestReclaimPlans(t *testing.T) {
	pg := servers.Postgres(t)
	if err := Migrate(t.Context(), pgdb.Config{URL: pg.URL}); err != nil {
		t.Fatal(err)
	}
	pg.Admin(t, strings.Join(reclaimLoad, ";\n"))
	segment := fmt.Sprintf(`'\x%040x', '\x%040x'`, 20_000, 20_200)
	var some []string
	for i := range 64 {
		some = append(some, fmt.Sprintf(`'\x%040x'`, 1+700*i))
	}
	ids := "ARRAY[" + strings.Join(some, ",") + "]::bytea[]"
	frame := some[7]
	tests := []struct{ name, query, args, want string }{
		{"locate", locateFrames, ids, "location_pkey"},
		{"move on", moveOn, frame + ", " + frame + ", " + frame, "condemned_pkey location_pkey|condemned_pkey location_place"},
		{"used by the ledger", usedByLedger, segment, "message_blob recipient_due|message_blob recipient_pkey"},
		{"used by recovery", usedByRecovery, segment, "withheld_blob|withheld_blob withheld_decision"},
		{"used by email", usedByEmail, segment, "email_blob"},
		{"in use", inUse, ids, "email_blob message_blob recipient_pkey withheld_blob|email_blob message_blob recipient_due withheld_blob"},
		{"away", awayFrames, segment, "location_pkey"},
		{"here", hereFrames, segment, "location_place"},
		{"apart", apartsHere, segment, "apart_pkey"},
		{"shared", sharedHere, segment, "shared_pkey"},
		{"shared of", sharedOf, ids, "shared_pkey"},
		{"condemned in", condemnedIn, segment, "condemned_pkey"},
		{"condemned of", condemnedAny, ids, "condemned_pkey"},
		{"pardon", pardon, ids, "condemned_pkey"},
		{"freed", freed, ids, "apart_pkey"},
		{"forget condemned", forgetSegment[0], segment, "condemned_pkey location_pkey"},
		{"forget condemned moved here", forgetSegment[1], segment, "condemned_pkey location_place"},
		{"forget apart", forgetSegment[2], segment, "apart_pkey"},
		{"forget shared", forgetSegment[3], segment, "location_pkey shared_child"},
		{"forget shared moved here", forgetSegment[4], segment, "location_place shared_child"},
		{"forget locations", forgetSegment[5], segment, "location_place"},
		// The plan for any time takes a third of all for due, and goes through the key, which has the accounts in order.
		{"purge, due", purgeDue, "200, 100", "legal_hold tombstone_time|legal_hold tombstone_pkey"}, // legal_hold is empty
		{"purge, expunged", purgeExpunged, "7, 200", "tombstone_pkey|tombstone_time|tombstone_pkey tombstone_time"},
		{"purge, younger", purgeYounger, "7, 200", "tombstone_pkey"},
		{"purge, entries", purgeEntries, "7", "chunk_pkey"},
		{"purge emails", purgeEmails, "7, ARRAY[7, 1007, 2007]", "email_pkey"},
		{"purge, raise", purgeRaise, "7, 200", "mailbox_by_name tombstone_pkey|mailbox_pkey tombstone_pkey|mailbox_pkey tombstone_time|mailbox_by_name tombstone_time"},
		{"purge tombstones", purgeTombstones, "7, 200", "tombstone_pkey|tombstone_time|tombstone_pkey tombstone_time"},
	}
	explainer := pg.Explainer(t)
	for _, tt := range tests {
		for _, generic := range []bool{false, true} {
			if got := explainer.Reads(generic, tt.query, tt.args); !slices.Contains(strings.Split(tt.want, "|"), got) {
				t.Errorf("%s, generic %t: reads %s, want %s", tt.name, generic, got, tt.want)
			}
		}
	}
}
