package join

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// kind is a column's type.
type kind uint8

const (
	number kind = iota
	text
	octets
	boolean
	// Those that may be NULL.
	maybeNumber
	maybeOctets
)

type column struct {
	name string
	kind kind
}

// table is one that is copied. The columns have the same names on both sides.
type table struct {
	source, target string
	columns        []column
	// order is the site's primary key, in which rows are read; key is the farm's.
	order, key []string
	// change makes rows what they are to be in the farm.
	change func(ctx context.Context, j *joiner, rows [][]any) error
	// merge: the farm may have rows that say the same. loose are columns in which those may differ.
	merge bool
	loose []string
}

// at is a column's place in a row.
func (t *table) at(name string) int {
	for i, c := range t.columns {
		if c.name == name {
			return i
		}
	}
	panic("table " + t.target + " has no column " + name)
}

func (t *table) names() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// cols are columns of a kind, by names with a space between.
func cols(k kind, names string) (all []column) {
	for _, n := range strings.Fields(names) {
		all = append(all, column{n, k})
	}
	return all
}

func join(parts ...[]column) (all []column) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func keys(names ...string) []string { return names }

var directoryTables = []*table{
	{
		source: "domain", target: "directory_domain", order: keys("name"), key: keys("name"), merge: true, loose: keys("position", "created"),
		columns: join(cols(text, "name catch_all"), cols(number, "position created")),
		change: func(_ context.Context, j *joiner, rows [][]any) error {
			for _, r := range rows {
				r[2] = r[2].(int64) + j.dst.domains
			}
			return nil
		},
	},
	{
		source: "account", target: "directory_account", order: keys("id"), key: keys("id"), merge: true, loose: keys("version", "created"),
		columns: join(cols(number, "id"), cols(text, "address domain credential"), cols(number, "version created"), cols(boolean, "disabled")),
	},
	{
		source: "removed_account", target: "directory_removed", order: keys("id"), key: keys("id"), merge: true,
		columns: join(cols(number, "id"), cols(text, "address credential"), cols(number, "created"), cols(boolean, "disabled"), cols(number, "removed")),
	},
	{
		source: "alias", target: "directory_alias", order: keys("address"), key: keys("address"), merge: true,
		columns: cols(text, "address domain targets"),
	},
	{source: "grp", target: "directory_group", order: keys("name"), key: keys("name"), merge: true, columns: cols(text, "name")},
	{
		source: "member", target: "directory_member", order: keys("grp", "account"), key: keys("grp", "account"), merge: true,
		columns: join(cols(text, "grp"), cols(number, "account")),
	},
	{source: "shared", target: "directory_shared", order: keys("account"), key: keys("account"), merge: true, columns: cols(number, "account")},
}

// indexTables come in this order, as the farm's workers go on meanwhile: what keeps something from happening, or from happening
// twice, before what makes it happen. tombstone, kept and dropping are what purges and drops look for, so all that protects mail
// from them is there first: holds, rules, whatever names emails, and the accounts, which a purge would make anew.
var indexTables = []*table{
	{
		source: "email", target: "email", order: keys("email"), key: keys("account", "email"), change: changeBlobs(5),
		columns: join(cols(number, "account email thread size received_ns"), cols(octets, "blob_id overlay"), cols(number, "part_index_version"), cols(octets, "part_index")),
	},
	{
		source: "legal_hold", target: "legal_hold", order: keys("account"), key: keys("account"),
		columns: join(cols(number, "account set_ns"), cols(text, "reason")),
	},
	{
		source: "retention_rule", target: "retention_rule", order: keys("account", "domain", "folder"), key: keys("account", "domain", "folder"), merge: true,
		columns: join(cols(number, "account"), cols(text, "domain folder"), cols(number, "keep_ns")),
	},
	{
		source: "expire_rule", target: "expire_rule", order: keys("account", "domain", "folder", "name"), key: keys("account", "domain", "folder", "name"), merge: true,
		columns: join(cols(number, "account"), cols(text, "domain folder name"), cols(number, "older_ns received larger"), cols(text, "flag no_flag"), cols(number, "keep never")),
	},
	{
		source: "chunk", target: "chunk", order: keys("account", "mailbox", "first_uid"), key: keys("account", "mailbox", "first_uid"),
		columns: join(cols(number, "account mailbox first_uid max_mod_seq"), cols(octets, "uids flags mod_seqs emails sizes received saved")),
	},
	{
		source: "removed", target: "removed", order: keys("account", "mailbox", "mod_seq", "part"), key: keys("account", "mailbox", "mod_seq", "part"),
		columns: join(cols(number, "account mailbox mod_seq part kind removed_ns"), cols(text, "name special_use"), cols(number, "uid_next"),
			cols(text, "keywords"), cols(number, "entries octets"), cols(octets, "uids flags mod_seqs emails sizes received")),
	},
	{
		source: "removed_mailbox", target: "removed_mailbox", order: keys("account", "mailbox"), key: keys("account", "mailbox"),
		columns: join(cols(number, "account mailbox"), cols(text, "name special_use"), cols(number, "uid_validity uid_next highest_mod_seq"),
			cols(text, "keywords"), cols(number, "subscribed removed_ns")),
	},
	{
		source: "conversation", target: "conversation", order: keys("account", "id_hash"), key: keys("account", "id_hash"),
		columns: cols(number, "account id_hash thread"),
	},
	{
		source: "uid_mark", target: "uid_mark", order: keys("account", "mailbox", "uid_next"), key: keys("account", "mailbox", "uid_next"),
		columns: cols(number, "account mailbox uid_next at_ns"),
	},
	{
		source: "imported", target: "imported", order: keys("account", "mailbox", "key"), key: keys("account", "mailbox", "key"),
		columns: join(cols(number, "account mailbox"), cols(octets, "key"), cols(number, "uid"), cols(text, "uidl")),
	},
	{
		source: "spent_validity", target: "spent_validity", order: keys("account", "uid_validity"), key: keys("account", "uid_validity"),
		columns: cols(number, "account uid_validity"),
	},
	{
		source: "mailbox", target: "mailbox", order: keys("account", "mailbox"), key: keys("account", "mailbox"),
		columns: join(cols(number, "account mailbox"), cols(text, "name special_use"),
			cols(number, "uid_validity uid_next highest_mod_seq purged_mod_seq messages unseen deleted size recent_uid"), cols(text, "keywords")),
	},
	{
		source: "acl", target: "acl", order: keys("account", "mailbox", "identifier"), key: keys("account", "mailbox", "identifier"),
		columns: join(cols(number, "account mailbox"), cols(text, "identifier rights")),
	},
	{
		source: "share", target: "share", order: keys("identifier", "account"), key: keys("identifier", "account"),
		columns: join(cols(text, "identifier"), cols(number, "account")),
	},
	{
		source: "seen", target: "seen", order: keys("account", "mailbox", "reader", "first_uid"), key: keys("account", "mailbox", "reader", "first_uid"),
		columns: join(cols(number, "account mailbox reader first_uid max_mod_seq"), cols(octets, "uids flags mod_seqs")),
	},
	{
		source: "annotation", target: "annotation", order: keys("account", "mailbox", "reader", "name"), key: keys("account", "mailbox", "reader", "name"),
		columns: join(cols(number, "account mailbox reader"), cols(text, "name"), cols(number, "octets"), cols(octets, "value")),
	},
	{
		source: "operation", target: "operation", order: keys("account", "operation"), key: keys("account", "operation"),
		columns: join(cols(number, "account"), cols(octets, "operation"), cols(number, "uid_validity"), cols(octets, "source_uids target_uids"), cols(number, "done_ns")),
	},
	{
		source: "subscription", target: "subscription", order: keys("account", "name"), key: keys("account", "name"),
		columns: join(cols(number, "account"), cols(text, "name")),
	},
	{
		source: "account", target: "account", order: keys("account"), key: keys("account"), change: changeTimeline,
		columns: join(cols(number, "account timeline mod_seq uid_validity messages size quota_size quota_messages quota_level quota_roots"), cols(text, "domain")),
	},
	{
		source: "domain_quota", target: "domain_quota", order: keys("domain"), key: keys("domain"), merge: true, loose: keys("level"),
		columns: join(cols(text, "domain"), cols(number, "size messages each_size each_messages level")),
	},
	{
		source: "quota", target: "quota", order: keys("account", "root", "resource"), key: keys("account", "root", "resource"),
		columns: cols(number, "account root resource maximum"),
	},
	{
		source: "quota_notice", target: "quota_notice", order: keys("account"), key: keys("account"),
		columns: cols(number, "account level previous at_ns"),
	},
	{
		source: "delivered", target: "delivered", order: keys("queue_id", "number", "account"), key: keys("account", "queue_id", "number"),
		columns: join(cols(octets, "queue_id"), cols(number, "number account mailbox uid email")),
	},
	{
		source: "tombstone", target: "tombstone", order: keys("account", "mailbox", "mod_seq"), key: keys("account", "mailbox", "mod_seq"),
		columns: join(cols(number, "account mailbox mod_seq"), cols(octets, "uids emails"), cols(number, "expunged_ns")),
	},
	{
		source: "kept", target: "kept", order: keys("account"), key: keys("account"),
		columns: cols(number, "account entries octets next_ns"),
	},
	{
		source: "dropping", target: "dropping", order: keys("account"), key: keys("account"),
		columns: cols(number, "account removed_ns forgotten"),
	},
	{
		source: "withheld", target: "withheld", order: keys("queue_id"), key: keys("queue_id"), change: changeBlobs(1),
		columns: join(cols(octets, "queue_id blob_id"), cols(number, "found_ns decision changed_ns")),
	},
	{
		source: "payload", target: "payload", order: keys("queue_id"), key: keys("queue_id"), change: changeAccepted(1),
		columns: cols(octets, "queue_id data"),
	},
	{
		source: "message", target: "message", order: keys("queue_id"), key: keys("queue_id"), change: changeBlobs(1),
		columns: join(cols(octets, "queue_id blob_id"), cols(number, "kind"), cols(maybeOctets, "parent"), cols(number, "accepted_ns recorded_ns"),
			cols(text, "reverse_path message_id"), cols(number, "recipients")),
	},
	{
		source: "search", target: "search", order: keys("at_ns"), key: keys("at_ns", "nonce"),
		columns: join(cols(number, "at_ns"), cols(octets, "data"), cols(number, "nonce")),
		change: func(_ context.Context, j *joiner, rows [][]any) error {
			for _, r := range rows {
				r[2] = nonce(j.book.site)
			}
			return nil
		},
	},
	{
		source: "outbox", target: "outbox", order: keys("owner", "child"), key: keys("owner", "child"), change: changeAccepted(2),
		columns: join(cols(octets, "owner child payload"), cols(number, "due_ns tries")),
	},
	{
		source: "recipient", target: "recipient", order: keys("queue_id", "number"), key: keys("queue_id", "number"), change: changeClaims,
		columns: join(cols(octets, "queue_id"), cols(number, "number"), cols(text, "forward_path original"), cols(number, "notify"),
			cols(text, "orcpt detail"), cols(number, "state destination account"), cols(text, "grp"), cols(number, "generation attempts"),
			cols(text, "last_reply relay"), cols(maybeNumber, "due_ns"), cols(number, "expiry_ns changed_ns"), cols(boolean, "delay_notified"),
			cols(text, "claim_owner"), cols(number, "claim_ns")),
	},
}

var allTables = append(append([]*table{}, directoryTables...), indexTables...)

// readColumns is what the site is asked for.
func (t *table) readColumns() string {
	names := t.names()
	for i, n := range names {
		if n == "nonce" {
			names[i] = "0" // the farm's alone
		}
	}
	return strings.Join(names, ", ")
}

// changeTimeline puts accounts on the farm's timeline. One that had yet to jump still has.
func changeTimeline(_ context.Context, j *joiner, rows [][]any) error {
	for _, r := range rows {
		if r[1].(int64) < j.src.timeline {
			r[1] = j.dst.timeline - 1
		} else {
			r[1] = j.dst.timeline
		}
	}
	return nil
}

// changeClaims lets go of what a process of the site held.
func changeClaims(_ context.Context, _ *joiner, rows [][]any) error {
	for _, r := range rows {
		r[len(r)-2], r[len(r)-1] = "", int64(0)
	}
	return nil
}

// changeBlobs turns the IDs in column number at into those of the copies.
func changeBlobs(at int) func(context.Context, *joiner, [][]any) error {
	return func(ctx context.Context, j *joiner, rows [][]any) error {
		ids := make([]blob.ID, len(rows))
		for i, r := range rows {
			id, err := blob.IDFrom(r[at].([]byte))
			if err != nil {
				return err
			}
			ids[i] = id
		}
		places, err := j.places(ctx, ids)
		if err != nil {
			return err
		}
		for i, r := range rows {
			r[at] = places[ids[i]].Bytes()
		}
		return nil
	}
}

// changeAccepted does so within encoded messages; those without an ID stay octet by octet.
func changeAccepted(at int) func(context.Context, *joiner, [][]any) error {
	return func(ctx context.Context, j *joiner, rows [][]any) error {
		messages := make([]*mailv1.Accepted, len(rows))
		var ids []blob.ID
		for i, r := range rows {
			m := &mailv1.Accepted{}
			if err := proto.Unmarshal(r[at].([]byte), m); err != nil {
				return fmt.Errorf("decode message %x: %w", r[0], err)
			}
			if len(m.BlobId) == 0 {
				continue
			}
			id, err := blob.IDFrom(m.BlobId)
			if err != nil {
				return fmt.Errorf("message %x: %w", r[0], err)
			}
			messages[i], ids = m, append(ids, id)
		}
		places, err := j.places(ctx, ids)
		if err != nil {
			return err
		}
		for i, r := range rows {
			if m := messages[i]; m != nil {
				m.BlobId = places[ids[0]].Bytes()
				ids = ids[1:]
				if r[at], err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
					return err
				}
			}
		}
		return nil
	}
}
