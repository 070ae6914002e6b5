package join_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/account"
	accountpostgres "github.com/mailfarm/mailfarm/internal/account/postgres"
	accountsqlite "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/join"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

var quiet = slog.New(slog.DiscardHandler)

// horizon is recovery's, in these tests.
const horizon = 7 * 24 * time.Hour

// site is one of a single process, made without its roles.
type site struct {
	testing.TB
	ctx      context.Context
	folder   string
	index    *sqlite.DB
	accounts *accountsqlite.Store
	blobs    *dir.Store
	rand     *rand.Rand
	// now is the clock of the blobs.
	now time.Time
	// ids are the accounts'.
	ids []mailbox.AccountID
	// unrouted are messages that recovery must publish; old ones an operator must release; told are settled without rows.
	unrouted, old, told []envelope.QueueID
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func openSite(t testing.TB, folder string) *site {
	t.Helper()
	s := &site{TB: t, ctx: context.Background(), folder: folder, rand: rand.New(rand.NewPCG(1, 2)), now: time.Now()}
	s.index = must(sqlite.Open(s.ctx, filepath.Join(folder, "index.db"), sqlite.Options{QuotaLevels: []int{1}}))
	s.accounts = must(accountsqlite.Open(s.ctx, filepath.Join(folder, "directory.db")))
	s.openBlobs()
	return s
}

func (s *site) openBlobs() {
	s.blobs = must(dir.Open(s.ctx, filepath.Join(s.folder, "blob"), dir.Options{Log: quiet, Now: func() time.Time { return s.now }}))
}

// stop closes the site; the end of one incarnation of its blobs.
func (s *site) stop() {
	s.Helper()
	for _, c := range []io.Closer{s.blobs, s.accounts, s.index} {
		if err := c.Close(); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *site) body(n int) []byte {
	b := bytes.Repeat([]byte("Subject: x\r\n\r\n"), n/14+1)[:n]
	for range 16 {
		b[s.rand.IntN(n)] = byte('a' + s.rand.IntN(26))
	}
	return b
}

// frame writes one and returns what the bus would carry of it.
func (s *site) frame(kind blob.Kind, body []byte, share blob.ID, verdict *mailv1.Verdict, rcpts ...string) *mailv1.Accepted {
	s.Helper()
	id := envelope.NewQueueID(s.now)
	env := &mailv1.Envelope{QueueId: id[:], AcceptedNs: s.now.UnixNano(), Kind: mailv1.Kind(kind), ReversePath: "sender@far.example", Size: int64(len(body))}
	for i, r := range rcpts {
		env.Recipients = append(env.Recipients, &mailv1.Recipient{Number: uint32(i), ForwardPath: r})
	}
	if kind == blob.Appended {
		id, env = envelope.QueueID{}, nil
	}
	tail := must(proto.Marshal(&mailv1.FrameTail{Envelope: env, Verdict: verdict}))
	d := must(s.blobs.Create(share))
	defer d.Discard()
	if share.IsZero() {
		must(d.Write(body))
	}
	at := must(d.Commit(s.ctx, blob.Meta{Kind: kind, QueueID: id, Tail: tail}))
	return &mailv1.Accepted{QueueId: id[:], BlobId: at.Bytes(), Envelope: env, Verdict: verdict}
}

func (s *site) append(acc mailbox.AccountID, box string, n int, flags ...string) mailbox.UID {
	s.Helper()
	body := s.body(n)
	m := s.frame(blob.Appended, body, blob.ID{}, nil)
	r, err := s.index.Mailboxes().Append(s.ctx, acc, box, []index.Message{{Blob: must(blob.IDFrom(m.BlobId)), PartIndex: []byte{1, 2, 3},
		Size: int64(n), Received: s.now, Flags: flags}})
	if err != nil {
		s.Fatal(err)
	}
	return r.UIDs[0]
}

// record routes a message; rows are numbered in order.
func (s *site) record(m *mailv1.Accepted, rows ...*storev1.RecipientRow) {
	s.Helper()
	for i, r := range rows {
		r.Number = uint32(i)
		if r.ExpiryNs == 0 {
			r.ExpiryNs = time.Now().Add(24 * time.Hour).UnixNano()
		}
	}
	r, err := s.index.Ledger().Record(s.ctx, []*storev1.Routed{{Message: m, Recipients: rows}})
	if err != nil || !r[0].Recorded {
		s.Fatalf("record: %v, %v", r, err)
	}
}

func local(acc mailbox.AccountID, path string) *storev1.RecipientRow {
	return &storev1.RecipientRow{ForwardPath: path, State: storev1.State_STATE_QUEUED, Destination: storev1.Destination_DESTINATION_LOCAL, Account: uint64(acc)}
}

func remote(path string) *storev1.RecipientRow {
	return &storev1.RecipientRow{ForwardPath: path, State: storev1.State_STATE_QUEUED, Destination: storev1.Destination_DESTINATION_REMOTE, Group: "far.example"}
}

func (s *site) deliver(m *mailv1.Accepted, number int, acc mailbox.AccountID, size int, children ...*mailv1.Accepted) {
	s.Helper()
	r, err := s.index.Mailboxes().Deliver(s.ctx, []index.Delivery{{QueueID: envelope.QueueID(m.QueueId), Number: uint32(number), Account: acc,
		Message: index.Message{Blob: must(blob.IDFrom(m.BlobId)), PartIndex: []byte{1}, Size: int64(size), Received: s.now}, Children: children}})
	if err != nil || r[0].Status != index.Delivered {
		s.Fatalf("deliver: %+v, %v", r, err)
	}
}

func (s *site) id(m *mailv1.Accepted) envelope.QueueID { return envelope.QueueID(m.QueueId) }

// fill makes mail of all kinds: accounts with folders, and a queue.
func (s *site) fill(accounts, each int) {
	s.Helper()
	for _, d := range []account.Domain{{Name: "example.org", Created: s.now}, {Name: "example.net", CatchAll: "user0@example.org", Created: s.now}} {
		if err := s.accounts.AddDomain(s.ctx, d); err != nil {
			s.Fatal(err)
		}
	}
	var changes []account.Change
	for i := range accounts {
		id := mailbox.AccountID(1000 + i)
		s.ids = append(s.ids, id)
		changes = append(changes, account.Change{Account: account.Account{ID: id, Address: fmt.Sprintf("user%d@example.org", i),
			Credential: fmt.Sprintf("secret %d", i), Created: s.now, Disabled: i == 3}})
	}
	changes = append(changes, account.Change{Account: account.Account{ID: 900, Address: "removed@example.org", Credential: "secret", Created: s.now}})
	must(s.accounts.PutAccounts(s.ctx, changes))
	if err := s.accounts.RemoveAccount(s.ctx, "removed@example.org", s.now); err != nil {
		s.Fatal(err)
	}
	kept := s.index.Retention()
	for _, err := range []error{
		kept.Hold(s.ctx, 1000, "case 12", true), kept.BeginDrop(s.ctx, 900, s.now),
		kept.SetRule(s.ctx, index.RetentionRule{Account: 1001, Folder: `\Trash`, Keep: time.Hour}),
		kept.SetExpireRule(s.ctx, index.ExpireRule{ExpireKey: index.ExpireKey{Account: 1001, Folder: `\Trash`, Name: "large"}, LargerThan: 1 << 40, NoFlag: "$Keep"}),
		kept.SetExpireRule(s.ctx, index.ExpireRule{ExpireKey: index.ExpireKey{Domain: "example.org", Folder: "*"}, OlderThan: 1e6 * time.Hour, Received: true}),
	} {
		if err != nil {
			s.Fatal(err)
		}
	}
	must(kept.Mark(s.ctx, 1000, 7, 12, s.now, true))
	must(s.index.Domains().Place(s.ctx, map[mailbox.AccountID]string{1000: "example.org", 1001: "example.org"}))
	if err := s.index.Domains().SetDomainQuota(s.ctx, "example.org", index.Limits{Size: 1 << 50}, index.Limits{Messages: -1}); err != nil {
		s.Fatal(err)
	}
	for _, a := range []account.Alias{{Address: "postmaster", Targets: []string{"user0@example.org"}}, {Address: "all@example.org", Targets: []string{"user1@example.org", "x@far.example"}}} {
		if err := s.accounts.SetAlias(s.ctx, a); err != nil {
			s.Fatal(err)
		}
	}
	s.old = append(s.old, s.oldMail()...)
	for i, acc := range s.ids {
		s.mail(acc, i, each)
	}
	s.shared()
	s.timelines()
	s.queue()
	s.conversation()
	s.imported()
}

// conversation files a message that names others.
func (s *site) conversation() {
	s.Helper()
	body := []byte("Message-ID: <b@far.example>\r\nIn-Reply-To: <a@far.example>\r\n\r\nyes\r\n")
	var x message.Indexer
	must(x.Write(body))
	m := s.frame(blob.Appended, body, blob.ID{}, nil)
	must(s.index.Mailboxes().Append(s.ctx, s.ids[1], index.Inbox, []index.Message{{Blob: must(blob.IDFrom(m.BlobId)),
		PartIndex: must(x.Finish()).Encode(nil), Size: int64(len(body)), Received: s.now}}))
}

// imported brings a message from elsewhere, with its numbers.
func (s *site) imported() {
	s.Helper()
	body := s.body(300)
	m := s.frame(blob.Appended, body, blob.ID{}, nil)
	must(s.index.Imports().Import(s.ctx, index.Import{Account: s.ids[1], Name: "Trash", UIDValidity: 1_700_000_000, Messages: []index.ImportMessage{{
		Message: index.Message{Blob: must(blob.IDFrom(m.BlobId)), PartIndex: []byte{1}, Size: int64(len(body)), Received: s.now},
		Key:     index.NewImportKey([]byte("1")), UID: 1000, UIDL: "a.1000"}}}))
}

// shared lets the second account read the first one's INBOX, and copies a message to it.
func (s *site) shared() {
	s.Helper()
	check := func(err error) {
		if err != nil {
			s.Fatal(err)
		}
	}
	check(s.accounts.AddToGroup(s.ctx, "staff", []string{"user0@example.org", "user1@example.org"}))
	check(s.accounts.SetShared(s.ctx, "user2@example.org", true))
	owner, reader := s.ids[0], s.ids[1]
	boxes, _, err := s.index.Mailboxes().List(s.ctx, owner)
	check(err)
	inbox := boxes[0].ID
	must(s.index.Sharing().SetACL(s.ctx, index.ACLChange{Account: owner, Mailbox: inbox, Identifier: acl.User(reader), Mode: index.ReplaceRights, Rights: acl.Read}))
	must(s.index.Mailboxes().Flag(s.ctx, index.FlagChange{Account: owner, Mailbox: inbox, UIDs: mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}},
		Mode: index.AddFlags, Flags: []string{`\Seen`}, Reader: index.Reader{Account: reader, Own: []string{`\Seen`}}}))
	check(s.index.Annotations().SetAnnotations(s.ctx, owner, inbox, []index.Annotation{{Name: "/shared/comment", Value: []byte("ours")},
		{Reader: reader, Name: "/private/comment", Value: []byte{}}}))
	body := s.body(700)
	m := s.frame(blob.Appended, body, blob.ID{}, nil)
	must(s.index.Mailboxes().AppendOnce(s.ctx, reader, "Archive", []index.Message{{Blob: must(blob.IDFrom(m.BlobId)), PartIndex: []byte{1}, Size: 700, Received: s.now}},
		index.Once{Operation: index.Operation{1}, Source: mailbox.UIDSet{{First: 1, Last: 1}}}))
}

// oldMail is of an incarnation that began long ago: mail whose ledger rows are pruned, and mail that was never routed.
func (s *site) oldMail() []envelope.QueueID {
	s.Helper()
	s.now = time.Now().Add(-30 * 24 * time.Hour)
	s.reopenBlobs()
	forgotten := s.frame(blob.Accepted, s.body(500), blob.ID{}, nil, "user0@example.org")
	live := must(blob.IDFrom(forgotten.BlobId)).Incarnation
	settle := func(p blob.Position) {
		if err := s.index.Ledger().SaveCheckpoint(s.ctx, ledger.Checkpoint{Position: p}); err != nil {
			s.Fatal(err)
		}
	}
	settle(blob.Position{Incarnation: live, Segment: 0, Offset: must(blob.IDFrom(forgotten.BlobId)).Offset})
	s.reopenBlobs()
	for i := range 3 {
		body := s.body(900 + i)
		m := s.frame(blob.Accepted, body, blob.ID{}, nil, "user0@example.org")
		if _, err := s.index.Mailboxes().Append(s.ctx, s.ids[0], index.Inbox, []index.Message{{Blob: must(blob.IDFrom(m.BlobId)), PartIndex: []byte{1}, Size: int64(len(body)), Received: s.now}}); err != nil {
			s.Fatal(err)
		}
		s.told = append(s.told, s.id(m))
		at := must(blob.IDFrom(m.BlobId))
		settle(blob.Position{Incarnation: at.Incarnation, Segment: at.Segment, Offset: at.Offset + at.Length})
	}
	s.now = time.Now().Add(-time.Hour)
	s.reopenBlobs()
	return []envelope.QueueID{s.id(forgotten)}
}

func (s *site) reopenBlobs() {
	s.Helper()
	if err := s.blobs.Close(); err != nil {
		s.Fatal(err)
	}
	s.openBlobs()
}

func (s *site) mail(acc mailbox.AccountID, i, each int) {
	s.Helper()
	m := s.index.Mailboxes()
	must2 := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	_, _, err := m.Create(s.ctx, acc, "Work/Größe", "")
	must2(err)
	// Limits far from what is used, of which a level is passed nevertheless.
	for _, name := range []string{"", index.Inbox} {
		must2(m.SetQuota(s.ctx, acc, name, index.Limits{Messages: int64(10*each + 100), Size: 1 << 40}))
	}
	_, err = m.Subscribe(s.ctx, acc, "gone/elsewhere", true)
	must2(err)
	var last mailbox.UID
	for n := range each {
		last = s.append(acc, index.Inbox, 100+s.rand.IntN(4000), []string{`\Seen`, "$Label1"}[n%2])
	}
	s.append(acc, "Work/Größe", 40_000, `\Flagged`)
	if i%5 == 0 {
		s.append(acc, "Work/Größe", 700_000)
	}
	boxes, _, err := m.List(s.ctx, acc)
	must2(err)
	inbox := boxes[0].ID
	_, err = m.Copy(s.ctx, acc, inbox, mailbox.UIDSet{{First: 1, Last: last / 2}}, "Work/Größe")
	must2(err)
	_, err = m.Expunge(s.ctx, acc, inbox, mailbox.UIDSet{{First: 2, Last: 3}}, true)
	must2(err)
	_, _, err = m.Create(s.ctx, acc, "Gone", "")
	must2(err)
	s.append(acc, "Gone", 300)
	_, err = m.Delete(s.ctx, acc, "Gone")
	must2(err)
}

// timelines begins one; only the first half of the accounts has jumped.
func (s *site) timelines() {
	s.Helper()
	if err := s.index.BeginTimeline(s.ctx, "restored"); err != nil {
		s.Fatal(err)
	}
	for _, acc := range s.ids[:len(s.ids)/2] {
		s.append(acc, index.Inbox, 200)
	}
}

func (s *site) queue() {
	s.Helper()
	l := s.index.Ledger()
	accept := &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT}
	// Delivered, with a shared body for another, and one that still waits.
	m := s.frame(blob.Accepted, s.body(3000), blob.ID{}, accept, "user0@example.org", "user1@example.org")
	s.record(m, local(s.ids[0], "user0@example.org"), local(s.ids[1], "user1@example.org"))
	child := s.frame(blob.Generated, nil, must(blob.IDFrom(m.BlobId)), accept, "friend@far.example")
	s.deliver(m, 0, s.ids[0], 3000, child)
	// Expanded, the children share a large body and have rows.
	big := s.frame(blob.Accepted, s.body(600_000), blob.ID{}, accept, "list@example.org")
	s.record(big, &storev1.RecipientRow{ForwardPath: "list@example.org", State: storev1.State_STATE_EXPANDED, Destination: storev1.Destination_DESTINATION_NONE})
	for range 3 {
		c := s.frame(blob.Generated, nil, must(blob.IDFrom(big.BlobId)), accept, "user2@example.org")
		c.Envelope.Parent = big.QueueId
		s.record(c, local(s.ids[2], "user2@example.org"))
		s.deliver(c, 0, s.ids[2], 600_000)
	}
	// Deferred, claimed, held, bounced, and one with a NUL in a reply.
	for i, outcome := range []*storev1.Outcome{
		{State: storev1.State_STATE_QUEUED, Reply: "451 4.3.0 later \x00 please", Relay: "mx.far.example", DueNs: time.Now().Add(time.Hour).UnixNano()},
		{State: storev1.State_STATE_BOUNCED, Reply: "550 5.1.1 no such user", Relay: "mx.far.example"},
		{State: storev1.State_STATE_RELAYED, Reply: "250 2.0.0 ok", Relay: "mx.far.example"},
		nil,
	} {
		m := s.frame(blob.Accepted, s.body(2000+i), blob.ID{}, accept, "a@far.example", "b@far.example")
		s.record(m, remote("a@far.example"), remote("b@far.example"))
		claims, err := l.Claim(s.ctx, &storev1.ClaimRequest{Owner: "me", Work: []*mailv1.RemoteWork{{QueueId: m.QueueId, Group: "far.example"}}})
		if err != nil || !claims[0].Claimed {
			s.Fatalf("claim: %v, %v", claims, err)
		}
		if outcome == nil {
			continue // still claimed
		}
		outcome.Number = 0
		other := proto.CloneOf(outcome)
		other.Number = 1
		r, err := l.Report(s.ctx, []*storev1.Report{{QueueId: m.QueueId, Owner: "me", Outcomes: []*storev1.Outcome{outcome, other}}})
		if err != nil || !r[0].Accepted {
			s.Fatalf("report: %v, %v", r, err)
		}
	}
	held := s.frame(blob.Accepted, s.body(1000), blob.ID{}, accept, "user1@example.org")
	s.record(held, local(s.ids[1], "user1@example.org"))
	if n := must(l.Act(s.ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_HOLD, QueueIds: [][]byte{held.QueueId}})); n != 1 {
		s.Fatal("nothing was held")
	}
	// One whose body was given back.
	final := s.frame(blob.Accepted, s.body(1000), blob.ID{}, accept, "c@far.example")
	at := must(blob.IDFrom(final.BlobId))
	at.Segment += 1000
	final.BlobId = at.Bytes()
	s.record(final, &storev1.RecipientRow{ForwardPath: "c@far.example", State: storev1.State_STATE_DISCARDED, Destination: storev1.Destination_DESTINATION_NONE})
	s.told = append(s.told, s.id(final))
	// Never routed: to be published; refused, and noted by an operator.
	for range 3 {
		s.unrouted = append(s.unrouted, s.id(s.frame(blob.Accepted, s.body(1500), blob.ID{}, nil, "user1@example.org")))
	}
	s.told = append(s.told, s.id(s.frame(blob.Accepted, s.body(100), blob.ID{}, &mailv1.Verdict{Action: mailv1.Action_ACTION_REJECT}, "user1@example.org")))
	noted := s.frame(blob.Accepted, s.body(100), blob.ID{}, nil, "user1@example.org")
	if err := l.Withhold(s.ctx, []ledger.Withheld{{ID: s.id(noted), BlobID: must(blob.IDFrom(noted.BlobId))}}); err != nil {
		s.Fatal(err)
	}
	s.old = append(s.old, s.id(noted))
}

// place is a farm's servers, prepared.
type place struct {
	URL     string
	Archive s3.Config
}

func newPlace(t testing.TB, srv *servers.S3Server) place {
	t.Helper()
	p := place{URL: servers.Postgres(t).URL, Archive: s3.Config{
		Endpoint: srv.Endpoint, Bucket: srv.Bucket(t), AccessKey: srv.AccessKey, SecretKey: srv.SecretKey, Spool: t.TempDir(), SegmentTime: 2 * time.Millisecond,
	}}
	cfg := p.config("").Database
	if err := postgres.Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := accountpostgres.Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p place) config(from string) join.Config {
	cfg := join.Config{From: from, Database: pgdb.Config{URL: p.URL, MaxConns: 8}, S3: p.Archive, Horizon: horizon}
	cfg.Database.Defaults()
	cfg.S3.Defaults()
	return cfg
}

// farm is what was joined, opened without roles.
type farm struct {
	index    *postgres.DB
	accounts *accountpostgres.Store
	blobs    *s3.Store
}

func (p place) open(t testing.TB) *farm {
	t.Helper()
	f := p.openOnce(t)
	t.Cleanup(f.close)
	return f
}

func (p place) openOnce(t testing.TB) *farm {
	t.Helper()
	cfg := p.config("")
	return &farm{
		index:    must(postgres.Open(t.Context(), cfg.Database, postgres.Options{})),
		accounts: must(accountpostgres.Open(t.Context(), cfg.Database, accountpostgres.Options{})),
		blobs:    must(s3.Open(t.Context(), cfg.S3, s3.Options{Log: quiet})),
	}
}

func (f *farm) close() {
	f.blobs.Close()
	f.accounts.Close()
	f.index.Close()
}
