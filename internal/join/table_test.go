package join

import "testing"

// TestWhatProtectsComesFirst holds the order of tables against what the farm's workers do with rows while others are still to come.
func TestWhatProtectsComesFirst(t *testing.T) {
	at := map[string]int{}
	for i, table := range indexTables {
		at[table.target] = i
	}
	for _, due := range []string{"tombstone", "kept", "dropping"} {
		for _, first := range []string{
			"email", "legal_hold", "retention_rule", "expire_rule", "chunk", "removed", "removed_mailbox", "mailbox", "account", // a purge reads or writes these
			"conversation", "imported", "spent_validity", "uid_mark", "subscription", "quota", "quota_notice", // a drop removes these
		} {
			if at[due] < at[first] {
				t.Errorf("%s is copied before %s", due, first)
			}
		}
	}
	if at["kept"] < at["tombstone"] {
		t.Error("kept is copied before tombstone, which names emails")
	}
	if at["recipient"] < at["delivered"] || at["recipient"] < at["message"] {
		t.Error("recipient is copied before what keeps from delivering twice")
	}
}
