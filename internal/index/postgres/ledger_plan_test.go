package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// planLoad fills the ledger: 100,000 messages of which one in 50 waits, children and withheld frames as after a bad day.
var planLoad = []string{
	`INSERT INTO message SELECT decode(lpad(to_hex(i), 32, '0'), 'hex'), '\x00', 1, CASE i % 10 WHEN 0 THEN decode(lpad(to_hex(i - 1), 32, '0'), 'hex') END,
		i, i, 'sender@example.net', '<m' || i || '@example.net>', 1 FROM generate_series(1, 100000) i`,
	`INSERT INTO payload SELECT queue_id, '\x00' FROM message`,
	`INSERT INTO recipient (queue_id, ` + recipientColumns + `) SELECT queue_id, 0, 'a@example.org', '', 0, '', '',
		CASE accepted_ns % 50 WHEN 0 THEN 1 ELSE 4 END, 1, accepted_ns % 1000 + 1, '', 0, 0, '', '',
		CASE accepted_ns % 50 WHEN 0 THEN accepted_ns END, 0, 0, false FROM message`,
	`INSERT INTO outbox (owner, child, payload, due_ns) SELECT queue_id, queue_id, '\x00', accepted_ns FROM message`,
	`INSERT INTO withheld SELECT queue_id, '\x00', 0, CASE accepted_ns % 50 WHEN 0 THEN 1 ELSE 3 END, 0 FROM message`,
	`INSERT INTO delivered (account, queue_id, number, mailbox, uid, email) SELECT accepted_ns % 1000 + 1, queue_id, 0, 1, 1, 1 FROM message`,
	`INSERT INTO search SELECT accepted_ns, accepted_ns, '\x00' FROM message`,
	`ANALYZE`,
}

// literals are what the statements are asked with: batches of some size from all over the table.
type literals struct{ ids, numbers, texts, one string }

func batchOf(n int) literals {
	var ids, numbers, texts []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("'\\x%032x'", 1+i*(100_000/n)))
		numbers, texts = append(numbers, "0"), append(texts, "''")
	}
	list := func(values []string, of string) string {
		return "ARRAY[" + strings.Join(values, ",") + "]::" + of + "[]"
	}
	return literals{list(ids, "bytea"), list(numbers, "bigint"), list(texts, "text"), ids[len(ids)/2]}
}

// TestLedgerPlans shows that every query of the ledger that runs as mail flows is answered by an index, for batches of one
// and of hundreds, whether the server plans for the very arguments or for any.
func TestLedgerPlans(t *testing.T) {
	pg := servers.Postgres(t)
	ctx := context.Background()
	if err := Migrate(ctx, pgdb.Config{URL: pg.URL}); err != nil {
		t.Fatal(err)
	}
	for _, q := range planLoad {
		pg.Admin(t, q)
	}
	explainer := pg.Explainer(t)
	for _, n := range []int{1, 256} {
		for _, tt := range ledgerPlans(batchOf(n)) {
			if tt.many && n == 1 {
				continue
			}
			for _, generic := range []bool{false, true} {
				if got := explainer.Reads(generic, tt.query, tt.args); !slices.Contains(strings.Split(tt.want, "|"), got) {
					t.Errorf("%s, batch of %d, generic %t: reads %s, want %s", tt.name, n, generic, got, tt.want)
				}
			}
		}
	}
}

type planTest struct {
	name, query, args string
	// want is what the plan reads, in the order of names; "|" stands between several that are as good. A table's own name would
	// be all of it.
	want string
	// many tells of a query without batches.
	many bool
}

func ledgerPlans(l literals) []planTest {
	openList, _ := listQuery(&storev1.QueueListRequest{States: []storev1.State{storev1.State_STATE_QUEUED}}, nil, 100)
	recent, _ := listQuery(&storev1.QueueListRequest{SinceNs: 1, UntilNs: 2}, nil, 100)
	return []planTest{
		{name: "load messages", query: loadMessages, args: l.ids, want: "message_pkey payload_pkey"},
		{name: "load recipients", query: loadRecipients, args: l.ids, want: "recipient_pkey"},
		{name: "known", query: knownMessages, args: l.ids, want: "message_pkey"},
		{name: "standing", query: standingBlobs, args: l.ids, want: "message_pkey"},
		{name: "claim", query: claimRows, args: fmt.Sprintf("NULL, 'one', 1, %s, %s, %s, false", l.ids, l.texts, l.numbers), want: "recipient_pkey"},
		{name: "renew", query: claimRows, args: fmt.Sprintf("NULL, 'one', 1, %s, %s, %s, true", l.ids, l.texts, l.numbers), want: "recipient_pkey"},
		{name: "report's rows", query: standingRows, args: fmt.Sprintf("NULL, %s, %s", l.ids, l.numbers), want: "recipient_pkey"},
		{name: "outcomes", query: enterOutcomes, args: fmt.Sprintf("1, %[1]s, %[2]s, %[2]s::integer[], %[2]s, %[2]s, %[3]s, %[3]s, %[2]s, NULL", l.ids, l.numbers, l.texts), want: "recipient_pkey"},
		{name: "deliver's rows", query: lockRecipients, args: l.ids + ", " + l.numbers, want: "recipient_pkey"},
		{name: "deliver's end", query: settleRows, args: fmt.Sprintf("NULL, %s, %s", l.ids, l.numbers), want: "recipient_pkey"},
		{name: "sweep", query: dueRows, args: "1000, 1000", want: "recipient_due", many: true},
		{name: "sweep of nothing", query: dueRows, args: "0, 1000", want: "recipient_due", many: true},
		{name: "sweep of what is local", query: dueLocal, args: "1000, 1000", want: "recipient_due", many: true},
		{name: "sweep of what is remote", query: dueRemote, args: "1000, 1000", want: "recipient_due_remote", many: true},
		{name: "sweep's end", query: putOff, args: fmt.Sprintf("NULL, 1, %s, %s", l.ids, l.numbers), want: "recipient_pkey"},
		{name: "take from the outbox", query: dueChildren, args: "1000, 100", want: "outbox_due", many: true},
		{name: "put off in the outbox", query: putOffChildren, args: "NULL, 1, 1, " + l.ids + ", " + l.ids, want: "outbox_child|outbox_pkey"},
		{name: "drop from the outbox", query: dropChildren, args: l.ids + ", " + l.ids, want: "outbox_child|outbox_pkey"},
		{name: "waiting", query: findChildren, args: l.ids, want: "outbox_child"},
		{name: "read the outbox", query: readChildren, args: l.one + ", " + l.one + ", 500", want: "outbox_pkey", many: true},
		{name: "walk", query: walkMessages, args: l.one + ", 500", want: "message_pkey", many: true},
		{name: "accounts", query: accountsByID, args: l.ids, want: "message_pkey"},
		{name: "accounts' rows", query: accountRows, args: l.ids, want: "delivered_by_queue_id recipient_pkey|delivered_pkey recipient_pkey"},
		{name: "withheld", query: withheldFrames(ledger.Undecided), args: l.one + ", 100", want: "withheld_decision", many: true},
		{name: "decisions", query: decisionsOf, args: l.ids, want: "withheld_pkey"},
		{name: "queued", query: countQueued, args: "1000000", want: "recipient_due", many: true},
		{name: "parked", query: countParked, args: "1000000", want: "recipient_due", many: true},
		{name: "lateness", query: lateness, args: "1000", want: "recipient_due", many: true},
		{name: "drop withheld", query: dropWithheld, args: l.ids, want: "withheld_pkey"},
		{name: "retry", query: actions[storev1.Action_ACTION_RETRY], args: "NULL, " + l.ids + ", ''", want: "recipient_pkey"},
		{name: "delete", query: actions[storev1.Action_ACTION_DELETE], args: "NULL, " + l.ids + ", ''", want: "recipient_due|recipient_pkey"},
		{name: "what waits", query: openMessages, want: "recipient_due withheld_decision", many: true},
		{name: "lock for an action", query: lockMessages, args: l.ids, want: "recipient_pkey"},
		{name: "unplaced", query: unplacedRows, args: l.ids + ", 9, ''", want: "recipient_pkey"},
		{name: "prune's roots", query: pruneRoots, args: "1000000, " + l.one + ", '\\xff', 64", want: "message_pkey message_pkey", many: true},
		{name: "prune's candidates", query: pruneCandidates, args: l.ids, want: "message_pkey outbox_pkey recipient_pkey"},
		{name: "prune's children", query: pruneChildren, args: l.ids, want: "message_parent"},
		{name: "list of the queue", query: openList, args: "ARRAY[1], 100", want: "message_pkey recipient_due", many: true},
		{name: "list of a time", query: recent, args: "49000, " + l.one + ", 51000, '\\x0000000000000000000000000000d000', 100", want: "message_pkey", many: true},
		{name: "search", query: searchRows(2), args: "9000, 0, 0, 100, '\\x01', '\\x02'", want: "search_pkey", many: true},
		{name: "old search rows", query: oldWords, args: "0, 0, 9000, 64", want: "search_pkey", many: true},
		{name: "drop search rows", query: dropOld, args: l.numbers + ", " + l.numbers, want: "search_pkey"},
	}
}
