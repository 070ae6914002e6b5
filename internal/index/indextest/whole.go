package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// WholeSubject is a whole.Store over an empty database, with its mailboxes.
type WholeSubject struct {
	RetentionSubject
	Whole *whole.Store
	// Tables are all of the schema but the migrations'.
	Tables []string
}

// RunWhole runs the tests of whole.Store.
func RunWhole(t *testing.T, open func(testing.TB) WholeSubject) {
	t.Run("NoTableIsForgotten", func(t *testing.T) { noTableIsForgotten(t, open(t)) })
	t.Run("EveryColumn", func(t *testing.T) { everyColumn(t, open(t)) })
	t.Run("ComesBack", func(t *testing.T) { comesBack(t, open) })
	t.Run("OfNoAccount", func(t *testing.T) { ofNoAccount(t, open) })
	t.Run("Fingerprint", func(t *testing.T) { fingerprints(t, open(t)) })
	t.Run("Changed", func(t *testing.T) { dumpsWhatChanged(t, open(t)) })
}

func noTableIsForgotten(t *testing.T, s WholeSubject) {
	if len(s.Tables) < 30 {
		t.Fatalf("the schema has %d tables: %v", len(s.Tables), s.Tables)
	}
	for _, name := range s.Tables {
		if whole.Find(name) == nil && whole.Left[name] == "" {
			t.Errorf("table %s is neither kept by backups (whole.Tables) nor left out for a reason (whole.Left)", name)
		}
	}
	for _, table := range whole.Tables {
		if !slices.Contains(s.Tables, table.Name) {
			t.Errorf("table %s is not in the schema", table.Name)
		}
	}
}

// dumped are an account's rows by table.
func (s *WholeSubject) dumped(t tester, account mailbox.AccountID, queued ...whole.Queued) map[string][][]any {
	t.Helper()
	all := map[string][][]any{}
	last := -1
	err := s.Whole.Dump(t.Context(), account, queued, func(table *whole.Table, row []any) error {
		at := slices.Index(whole.Tables, table)
		if at < last {
			return fmt.Errorf("table %s comes late", table.Name)
		}
		last = at
		all[table.Name] = append(all[table.Name], row)
		return nil
	})
	if err != nil {
		t.Fatalf("Dump: %v", err)
	}
	return all
}

// everyColumn writes a row of made-up values to each table, and reads it again.
func everyColumn(t *testing.T, s WholeSubject) {
	ctx := t.Context()
	id := envelope.QueueID{1, 2, 3}
	queued := whole.Queued{ID: id, Number: 2}
	want, farm := map[string][][]any{}, map[string][][]any{}
	for n, table := range whole.Tables {
		row := make([]any, len(table.Columns))
		for i, c := range table.Columns {
			switch c.Kind {
			case whole.Number:
				row[i] = int64(100*n + i + 1)
			case whole.Text:
				row[i] = fmt.Sprintf("%s %d", c.Name, n)
			case whole.Octets:
				row[i] = []byte{byte(n), byte(i), 0, 255}
			}
		}
		account, into := mailbox.AccountID(7), want
		if table.Name == "domain_quota" {
			account, into = 0, farm
			if err := s.Whole.PutRows(ctx, 7, table.Name, table.Names(), [][]any{row}); !errors.Is(err, whole.ErrUnknown) {
				t.Errorf("limits of domains with an account's rows: %v, want ErrUnknown", err)
			}
		}
		into[table.Name] = [][]any{row}
		if table.Name == whole.Emails {
			at := blob.ID{Incarnation: 3, Length: 9}
			row[table.At("blob_id")], row[table.At("overlay")] = at.Bytes(), []byte{}
			email := whole.Email{ID: mailbox.EmailID(row[0].(int64)), Thread: mailbox.ThreadID(row[1].(int64)),
				Message: index.Message{Blob: at, Size: row[2].(int64), Received: time.Unix(0, row[3].(int64))}}
			if err := s.Whole.PutEmails(ctx, 7, []whole.Email{email}); err != nil {
				t.Fatal(err)
			}
			if err := s.Whole.PutEmails(ctx, 8, []whole.Email{email}); err != nil && !errors.Is(err, whole.ErrTaken) {
				t.Errorf("the same id in another account: %v, want no error or ErrTaken", err)
			}
			continue
		}
		if table.Name == "delivered" {
			row[table.At("queue_id")], row[table.At("number")] = id[:], int64(2)
		}
		// What a later version has is left out, and a repeat changes nothing.
		names, values := append(table.Names(), "later"), append(slices.Clone(row), int64(1))
		for range 2 {
			if err := s.Whole.PutRows(ctx, account, table.Name, names, [][]any{values}); err != nil {
				t.Fatalf("PutRows of %s: %v", table.Name, err)
			}
		}
	}
	got := s.dumped(t, 7, queued)
	for name := range want {
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Errorf("%s: got %v, want %v", name, got[name], want[name])
		}
	}
	if len(got["domain_quota"]) != 0 {
		t.Errorf("an account has limits of domains: %v", got["domain_quota"])
	}
	if got := s.dumped(t, 0); !reflect.DeepEqual(got, farm) {
		t.Errorf("of no account: got %v, want %v", got, farm)
	}
	if p, err := s.Whole.Presence(ctx, 7); err != nil || p != whole.PutBack {
		t.Errorf("Presence: %v, %v, want PutBack", p, err)
	}
	if err := s.Whole.PutRows(ctx, 7, "none", nil, nil); !errors.Is(err, whole.ErrUnknown) {
		t.Errorf("a table that is none: %v", err)
	}
	if err := s.Whole.PutRows(ctx, 7, "subscription", []string{"name"}, [][]any{{int64(1)}}); !errors.Is(err, whole.ErrUnknown) {
		t.Errorf("a value of another kind: %v", err)
	}
	// A column that an earlier version did not have is empty.
	if err := s.Whole.PutRows(ctx, 9, "subscription", nil, [][]any{{}}); err != nil {
		t.Errorf("a row without columns: %v", err)
	}
	if got := s.dumped(t, 9)["subscription"]; !reflect.DeepEqual(got, [][]any{{""}}) {
		t.Errorf("a row without columns is %v", got)
	}
}

// live gives an account something of most kinds.
func (s *WholeSubject) live(t tester) (inbox mailbox.ID, delivered index.Delivery) {
	t.Helper()
	ctx := t.Context()
	var list []index.Message
	for i := range 700 {
		m := newMessage(int64(500+i), []string{`\Seen`, "work", `\Flagged`}[i%3])
		if i%5 == 0 {
			m.Overlay = &mailv1.Overlay{Prefix: []byte("Return-Path: <>\r\n")}
		}
		list = append(list, m)
	}
	inbox = s.append(t, 7, index.Inbox, list...).Mailbox
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"Work/2026", "Old"} {
		_, _, err := s.Mailboxes.Create(ctx, 7, name, "")
		must("Create", err)
	}
	_, err := s.Mailboxes.Copy(ctx, 7, inbox, mailbox.UIDSet{{First: 10, Last: 300}}, "Work/2026")
	must("Copy", err)
	_, err = s.Mailboxes.Copy(ctx, 7, inbox, one(3), "Old")
	must("Copy", err)
	s.expunge(t, 7, inbox, mailbox.UIDSet{{First: 5, Last: 5}, {First: 200, Last: 290}})
	_, err = s.Mailboxes.Delete(ctx, 7, "Old")
	must("Delete", err)
	_, err = s.Mailboxes.Subscribe(ctx, 7, "Work/2026", true)
	must("Subscribe", err)
	s.grant(t, 7, inbox, acl.User(9), "lrs")
	must("SetQuota", s.Quotas.SetQuota(ctx, 7, "Work/2026", index.Limits{Messages: 1000}))
	must("Hold", s.Retention.Hold(ctx, 7, "case 12", true))
	must("SetRule", s.Retention.SetRule(ctx, index.RetentionRule{Account: 7, Keep: time.Hour}))
	must("SetExpireRule", s.Retention.SetExpireRule(ctx, index.ExpireRule{ExpireKey: index.ExpireKey{Account: 7, Folder: "Old"}, Flag: "$Done", Keep: 3}))
	delivered = s.newDelivery(t, 7)
	s.deliver(t, delivered)
	return inbox, delivered
}

func (s *WholeSubject) putAll(t tester, rows map[string][][]any) {
	t.Helper()
	var emails []whole.Email
	table := whole.Find(whole.Emails)
	for _, r := range rows[whole.Emails] {
		id, err := blob.IDFrom(r[table.At("blob_id")].([]byte))
		if err != nil {
			t.Fatalf("row of an email: %v", err)
		}
		e := whole.Email{ID: mailbox.EmailID(r[0].(int64)), Thread: mailbox.ThreadID(r[1].(int64)),
			Message: index.Message{Blob: id, Size: r[2].(int64), Received: time.Unix(0, r[3].(int64))}}
		if o := r[table.At("overlay")].([]byte); len(o) > 0 {
			e.Overlay = &mailv1.Overlay{}
			if err := proto.Unmarshal(o, e.Overlay); err != nil {
				t.Fatalf("overlay: %v", err)
			}
		}
		emails = append(emails, e)
	}
	if err := s.Whole.PutEmails(t.Context(), 7, emails); err != nil {
		t.Fatalf("PutEmails: %v", err)
	}
	for _, table := range whole.Tables {
		if table.Name == whole.Emails || len(rows[table.Name]) == 0 {
			continue
		}
		if err := s.Whole.PutRows(t.Context(), 7, table.Name, table.Names(), rows[table.Name]); err != nil {
			t.Fatalf("PutRows of %s: %v", table.Name, err)
		}
	}
}

func comesBack(t *testing.T, open func(testing.TB) WholeSubject) {
	s, ctx := open(t), t.Context()
	if p, err := s.Whole.Presence(ctx, 7); err != nil || p != whole.Absent {
		t.Errorf("Presence before all: %v, %v, want Absent", p, err)
	}
	inbox, delivered := s.live(t)
	queued := whole.Queued{ID: delivered.QueueID, Number: delivered.Number}
	rows := s.dumped(t, 7, queued)
	for name, least := range map[string]int{"mailbox": 7, "email": 701, "chunk": 4, "removed": 2, "removed_mailbox": 1, "subscription": 1, "acl": 1,
		"account": 1, "quota": 1, "legal_hold": 1, "retention_rule": 1, "expire_rule": 1, "delivered": 1, "tombstone": 1, "kept": 1} {
		if len(rows[name]) < least {
			t.Errorf("%s has %d rows, want %d or more", name, len(rows[name]), least)
		}
	}
	if got := s.dumped(t, 7)["delivered"]; len(got) != 0 {
		t.Errorf("what nobody asked about: %v", got)
	}
	want := s.look(t, 7, inbox)
	other := open(t)
	for range 2 { // a repeat changes nothing
		other.putAll(t, rows)
		if got := other.dumped(t, 7, queued); !reflect.DeepEqual(got, rows) {
			for name := range rows {
				if !reflect.DeepEqual(got[name], rows[name]) {
					t.Errorf("%s differs: %d rows, want %d", name, len(got[name]), len(rows[name]))
				}
			}
		}
	}
	if missing, err := other.Whole.Missing(ctx, 7, []mailbox.EmailID{mailbox.EmailID(rows["email"][0][0].(int64)), 5}); err != nil || !slices.Equal(missing, []mailbox.EmailID{5}) {
		t.Errorf("Missing: %v, %v", missing, err)
	}
	if p, err := other.Whole.Presence(ctx, 7); err != nil || p != whole.PutBack {
		t.Errorf("Presence: %v, %v, want PutBack", p, err)
	}
	got := other.look(t, 7, inbox)
	if !reflect.DeepEqual(got.entries(), want.entries()) {
		t.Error("entries of INBOX differ")
	}
	if owners, err := other.Sharing.Owners(ctx, []string{acl.User(9)}, 0, 10); err != nil || !slices.Equal(owners, []mailbox.AccountID{7}) {
		t.Errorf("whom it is shared with: %v, %v", owners, err)
	}
	// What was delivered is not delivered again, and new numbers are above all that were given before.
	before := other.find(t, 7, index.Inbox)
	other.route(t, delivered, 1)
	if r := other.deliver(t, delivered); r[0].Status != index.Duplicate {
		t.Errorf("delivered again: %+v", r[0])
	}
	r := other.append(t, 7, index.Inbox, newMessage(100))
	if r.UIDs[0] < before.UIDNext+unit.TimelineUIDs || r.UIDValidity != before.UIDValidity {
		t.Errorf("the next message has UID %d, UIDVALIDITY %d, behind UIDNEXT %d, UIDVALIDITY %d", r.UIDs[0], r.UIDValidity, before.UIDNext, before.UIDValidity)
	}
	if p, err := other.Whole.Presence(ctx, 7); err != nil || p != whole.Lives {
		t.Errorf("Presence behind a write: %v, %v, want Lives", p, err)
	}
	// A body that is about to go cannot be referred to.
	m := newMessage(10)
	if err := other.Condemn(m.Blob); err != nil {
		t.Fatal(err)
	}
	if err := other.Whole.PutEmails(ctx, 8, []whole.Email{{ID: 99, Message: m}}); !errors.Is(err, index.ErrCondemned) {
		t.Errorf("a condemned body: %v, want ErrCondemned", err)
	}
}

// ofNoAccount: rules and limits of domains and of all come back as they were set, more of them than one page has, and are found
// by what asks for them.
func ofNoAccount(t *testing.T, open func(testing.TB) WholeSubject) {
	s, ctx := open(t), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const domains = 1200
	for i := range domains {
		must(s.Domains.SetDomainQuota(ctx, fmt.Sprintf("d%04d.example", i), index.Limits{Size: int64(1 + i)}, index.Limits{Messages: -1}))
	}
	must(s.Retention.SetRule(ctx, index.RetentionRule{Domain: "example.org", Keep: 48 * time.Hour}))
	must(s.Retention.SetRule(ctx, index.RetentionRule{Domain: "example.org", Folder: `\Junk`, Keep: time.Hour}))
	must(s.Retention.SetExpireRule(ctx, index.ExpireRule{ExpireKey: index.ExpireKey{Folder: index.EveryFolder}, OlderThan: 1000 * time.Hour}))
	must(s.Retention.SetExpireRule(ctx, index.ExpireRule{ExpireKey: index.ExpireKey{Domain: "example.org", Folder: "Archive"}, Never: true}))
	s.live(t) // what an account has of these is no part of it
	rows := s.dumped(t, 0)
	if len(rows["domain_quota"]) != domains || len(rows["retention_rule"]) != 2 || len(rows["expire_rule"]) != 2 || len(rows) != 3 {
		t.Fatalf("of no account: %d limits, %v, %v", len(rows["domain_quota"]), rows["retention_rule"], rows["expire_rule"])
	}
	other := open(t)
	for range 2 { // a repeat changes nothing
		for name, list := range rows {
			must(other.Whole.PutRows(ctx, 0, name, whole.Find(name).Names(), list))
		}
		if got := other.dumped(t, 0); !reflect.DeepEqual(got, rows) {
			t.Errorf("put back: %v, want %v", got, rows)
		}
	}
	limits, err := other.Domains.DomainQuotas(ctx)
	if err != nil || len(limits) != domains || limits[7].Limits.Size != 8 || limits[7].Each.Messages != -1 {
		t.Errorf("limits of domains: %d, %v", len(limits), err)
	}
	rules, err := other.Retention.Rules(ctx)
	if err != nil || len(rules) != 2 || rules[0] != (index.RetentionRule{Domain: "example.org", Keep: 48 * time.Hour}) {
		t.Errorf("rules of retention: %+v, %v", rules, err)
	}
	expire, err := other.Retention.ExpireRules(ctx)
	if err != nil || len(expire) != 2 || expire[0].OlderThan != 1000*time.Hour || !expire[1].Never {
		t.Errorf("rules of expiry: %+v, %v", expire, err)
	}
}

// fingerprints change with all that a backup keeps.
func fingerprints(t *testing.T, s WholeSubject) {
	ctx := t.Context()
	inbox, _ := s.live(t)
	s.append(t, 3, index.Inbox, newMessage(100))
	s.append(t, 9, index.Inbox, newMessage(100))
	state := func() whole.State {
		t.Helper()
		list, err := s.Whole.States(ctx, 3, 1)
		if err != nil || len(list) != 1 || list[0].Account != 7 {
			t.Fatalf("States: %+v, %v", list, err)
		}
		return list[0]
	}
	all, err := s.Whole.States(ctx, 0, 10)
	if err != nil || len(all) != 3 {
		t.Fatalf("States: %+v, %v", all, err)
	}
	before := state()
	if again := state(); again != before {
		t.Error("the fingerprint changes by itself")
	}
	for _, tt := range []struct {
		name   string
		change func() error
	}{
		{"append", func() error { s.append(t, 7, "Work/2026", newMessage(10)); return nil }},
		{"expunge", func() error { s.expunge(t, 7, inbox, one(1)); return nil }},
		{"subscription", func() error { _, err := s.Mailboxes.Subscribe(ctx, 7, "Elsewhere", true); return err }},
		{"acl", func() error { s.grant(t, 7, inbox, acl.User(12), "lr"); return nil }},
		{"quota", func() error { return s.Quotas.SetQuota(ctx, 7, "", index.Limits{Messages: 5000}) }},
		{"hold", func() error { return s.Retention.Hold(ctx, 7, "", false) }},
		{"rule of expiry", func() error {
			return s.Retention.SetExpireRule(ctx, index.ExpireRule{ExpireKey: index.ExpireKey{Account: 7, Folder: "Old"}, Keep: 4})
		}},
		{"rule", func() error { return s.Retention.SetRule(ctx, index.RetentionRule{Account: 7, Keep: 2 * time.Hour}) }},
		{"rename", func() error { _, err := s.Mailboxes.Rename(ctx, 7, "Work/2026", "Done"); return err }},
		{"delete", func() error { _, err := s.Mailboxes.Delete(ctx, 7, "Done"); return err }},
	} {
		if err := tt.change(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		after := state()
		if after.Fingerprint == before.Fingerprint {
			t.Errorf("%s: the fingerprint stays", tt.name)
		}
		before = after
	}
}

// dumpsWhatChanged: an account whose MODSEQ is known is left out, any other comes with all of its rows, as Dump gives them.
func dumpsWhatChanged(t *testing.T, s WholeSubject) {
	s.live(t)
	s.append(t, 3, index.Inbox, newMessage(100))
	s.append(t, 9, index.Inbox, newMessage(100))
	known := map[mailbox.AccountID]whole.Known{}
	look := func() (changed []whole.State, rows map[mailbox.AccountID]map[string][][]any) {
		t.Helper()
		rows = map[mailbox.AccountID]map[string][][]any{}
		err := s.Whole.DumpChanged(t.Context(), known, func(st whole.State) error {
			changed, rows[st.Account] = append(changed, st), map[string][][]any{}
			return nil
		}, func(table *whole.Table, row []any) error {
			of := rows[changed[len(changed)-1].Account]
			of[table.Name] = append(of[table.Name], row)
			return nil
		})
		if err != nil {
			t.Fatalf("DumpChanged: %v", err)
		}
		return changed, rows
	}
	all, rows := look()
	states, err := s.Whole.States(t.Context(), 0, 10)
	if err != nil || len(all) != 3 || !slices.Equal(all, states) {
		t.Fatalf("with nothing known: %+v, want %+v, %v", all, states, err)
	}
	for _, st := range all {
		if want := s.dumped(t, st.Account); !reflect.DeepEqual(rows[st.Account], want) {
			t.Errorf("account %d: got %v, want %v", st.Account, rows[st.Account], want)
		}
		known[st.Account] = whole.Known{ModSeq: st.ModSeq}
	}
	if same, _ := look(); len(same) != 0 {
		t.Errorf("with all known: %+v", same)
	}
	s.append(t, 9, index.Inbox, newMessage(100))
	if one, rows := look(); len(one) != 1 || one[0].Account != 9 || !reflect.DeepEqual(rows[9], s.dumped(t, 9)) {
		t.Errorf("one changed: %+v", one)
	}
}
