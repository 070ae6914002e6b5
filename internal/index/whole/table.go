package whole

import (
	"slices"
	"strings"
)

// Kind is a column's type.
type Kind uint8

// The kinds.
const (
	Number Kind = iota
	Text
	Octets
)

// Column of a table.
type Column struct {
	Name string
	Kind Kind
}

// Table is one of mailbox data; its column of the account is left out.
type Table struct {
	Name    string
	Columns []Column
	// key orders the rows, and has no other column.
	key []string
	// small tells that a state's fingerprint is made of all rows; what others hold does not change without them.
	small bool
	// farm tells that no row belongs to an account: all of them go by account 0, as do those that are of no account in other tables.
	farm bool
}

// Key are the names of the columns that tell the rows of an account apart.
func (t *Table) Key() []string { return slices.Clone(t.key) }

// Names are those of the columns.
func (t *Table) Names() []string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return names
}

// At is a column's place in a row, -1 where there is none.
func (t *Table) At(name string) int {
	for i, c := range t.Columns {
		if c.Name == name {
			return i
		}
	}
	return -1
}

func cols(k Kind, names string) (all []Column) {
	for _, n := range strings.Fields(names) {
		all = append(all, Column{n, k})
	}
	return all
}

func columns(parts ...[]Column) (all []Column) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Names of tables that are more than their rows.
const (
	Emails    = "email"
	Accounts  = "account"
	delivered = "delivered"
)

// Tables are what an account has, and account 0 for those that belong to none, in the order in which it is put back: what names emails, and what protects them, before
// what purges look for (tombstone, kept), and the account before that, as a purge would make it anew.
//
// Not kept: leases, operation and quota_notice, which are about calls and letters of the day; share, which is made of acl;
// condemned, location and the others of where bodies lie; the ledger's, which Record writes.
var Tables = []*Table{
	{Name: "mailbox", small: true, key: []string{"mailbox"}, Columns: columns(cols(Number, "mailbox"), cols(Text, "name special_use"),
		cols(Number, "uid_validity uid_next highest_mod_seq purged_mod_seq messages unseen deleted size recent_uid"), cols(Text, "keywords"))},
	{Name: Emails, key: []string{"email"}, Columns: columns(cols(Number, "email thread size received_ns"), cols(Octets, "blob_id overlay"))},
	{Name: "legal_hold", small: true, key: []string{"set_ns"}, Columns: columns(cols(Number, "set_ns"), cols(Text, "reason"))},
	{Name: "retention_rule", small: true, key: []string{"domain", "folder"}, Columns: columns(cols(Text, "domain folder"), cols(Number, "keep_ns"))},
	{Name: "expire_rule", small: true, key: []string{"domain", "folder", "name"}, Columns: columns(cols(Text, "domain folder name"),
		cols(Number, "older_ns received larger"), cols(Text, "flag no_flag"), cols(Number, "keep never"))},
	{Name: "chunk", key: []string{"mailbox", "first_uid"},
		Columns: columns(cols(Number, "mailbox first_uid max_mod_seq"), cols(Octets, "uids flags mod_seqs emails sizes received saved"))},
	{Name: "removed", key: []string{"mailbox", "mod_seq", "part"}, Columns: columns(cols(Number, "mailbox mod_seq part kind removed_ns"),
		cols(Text, "name special_use"), cols(Number, "uid_next"), cols(Text, "keywords"), cols(Number, "entries octets"),
		cols(Octets, "uids flags mod_seqs emails sizes received"))},
	{Name: "removed_mailbox", small: true, key: []string{"mailbox"}, Columns: columns(cols(Number, "mailbox"), cols(Text, "name special_use"),
		cols(Number, "uid_validity uid_next highest_mod_seq"), cols(Text, "keywords"), cols(Number, "subscribed removed_ns"))},
	{Name: "conversation", key: []string{"id_hash"}, Columns: cols(Number, "id_hash thread")},
	{Name: "uid_mark", key: []string{"mailbox", "uid_next"}, Columns: cols(Number, "mailbox uid_next at_ns")},
	{Name: "imported", key: []string{"mailbox", "key"}, Columns: columns(cols(Number, "mailbox"), cols(Octets, "key"), cols(Number, "uid"), cols(Text, "uidl"))},
	{Name: "spent_validity", small: true, key: []string{"uid_validity"}, Columns: cols(Number, "uid_validity")},
	{Name: "annotation", small: true, key: []string{"mailbox", "reader", "name"},
		Columns: columns(cols(Number, "mailbox reader"), cols(Text, "name"), cols(Number, "octets"), cols(Octets, "value"))},
	{Name: "acl", small: true, key: []string{"mailbox", "identifier"}, Columns: columns(cols(Number, "mailbox"), cols(Text, "identifier rights"))},
	{Name: "seen", key: []string{"mailbox", "reader", "first_uid"},
		Columns: columns(cols(Number, "mailbox reader first_uid max_mod_seq"), cols(Octets, "uids flags mod_seqs"))},
	{Name: "subscription", small: true, key: []string{"name"}, Columns: cols(Text, "name")},
	{Name: Accounts, small: true, key: []string{"mod_seq"},
		Columns: cols(Number, "mod_seq uid_validity messages size quota_size quota_messages quota_level quota_roots")},
	{Name: "quota", small: true, key: []string{"root", "resource"}, Columns: cols(Number, "root resource maximum")},
	// Which level of its limits a domain was told of is about letters of the day.
	{Name: "domain_quota", farm: true, key: []string{"domain"}, Columns: columns(cols(Text, "domain"), cols(Number, "size messages each_size each_messages"))},
	{Name: delivered, key: []string{"queue_id", "number"}, Columns: columns(cols(Octets, "queue_id"), cols(Number, "number mailbox uid email"))},
	{Name: "tombstone", key: []string{"mailbox", "mod_seq"}, Columns: columns(cols(Number, "mailbox mod_seq"), cols(Octets, "uids emails"), cols(Number, "expunged_ns"))},
	{Name: "kept", small: true, key: []string{"next_ns"}, Columns: cols(Number, "entries octets next_ns")},
}

// Left are the tables that are not kept, and why.
var Left = map[string]string{
	"operation":     "makes a call of the day happen once",
	"quota_notice":  "a letter that is about to be written",
	"share":         "is made of acl",
	"dropping":      "the directory tells what was removed",
	"timeline":      "a restored farm begins its own",
	"index_version": "the schema's",
	"schema_lowest": "the schema's",
	"lease":         "who works at what just now",
	"condemned":     "bodies that are about to go",
	"location":      "where bodies lie",
	"shared":        "where bodies lie",
	"apart":         "where bodies lie",
	"unnoted":       "where bodies lie",
	"reclaiming":    "room that is being given back",
	"reclaim_state": "room that is being given back",
	"message":       "the ledger's: those that are not final come with the queue",
	"payload":       "the ledger's",
	"recipient":     "the ledger's",
	"outbox":        "the ledger's",
	"withheld":      "the ledger's: they come with the queue",
	"pruned":        "the ledger's",
	"search":        "the ledger's",
	"search_old":    "the ledger's",
	"checkpoint":    "how far recovery has read",
	"audit_hour":    "audits begin anew",
	"audit_stretch": "audits begin anew",
	"audit_report":  "audits begin anew",
}

// Find is the table of a name; nil where there is none.
func Find(name string) *Table {
	for _, t := range Tables {
		if t.Name == name {
			return t
		}
	}
	return nil
}
