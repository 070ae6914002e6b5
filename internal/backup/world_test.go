package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/account"
	accountsqlite "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/backup"
	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/directory"
	"github.com/mailfarm/mailfarm/services/store"
)

// site is store and directory over real databases and a blob directory, spoken to by gRPC.
type site struct {
	t         *testing.T
	conn      *grpc.ClientConn
	db        *sqlite.DB
	blobs     *dir.Store
	directory *accountsqlite.Store
	mailboxes storev1.MailboxesClient
	folder    string
	// rules are the rows that belong to no account, in the database that serves backups.
	rules rulesDB
}

// rulesDB is a database of any engine.
type rulesDB interface {
	Whole() *whole.Store
	Retention() *kept.Store
	Domains() *domainquota.Store
}

// blobsFolder is where bodies are.
func (s *site) blobsFolder() string { return filepath.Join(s.folder, "blobs") }

type quiet struct{}

func (quiet) Notify(string, []byte) error { return nil }

// newSite has one domain and no account.
func newSite(t *testing.T) *site { return newSiteOn(t, nil) }

// newSiteOn has its rules in another database; nil: its own. What accounts need is in its own one in any case.
func newSiteOn(t *testing.T, rules rulesDB) *site {
	t.Helper()
	ctx, log, folder := context.Background(), slog.New(slog.DiscardHandler), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &site{t: t, folder: folder}
	var err error
	s.db, err = sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{})
	must(err)
	t.Cleanup(func() { s.db.Close() })
	if s.rules = rules; rules == nil {
		s.rules = s.db
	}
	s.blobs, err = dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	must(err)
	t.Cleanup(func() { s.blobs.Close() })
	s.directory, err = accountsqlite.Open(ctx, filepath.Join(folder, "directory.db"))
	must(err)
	t.Cleanup(func() { s.directory.Close() })
	people, err := directory.New(directory.Config{}, directory.Deps{Store: s.directory, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	must(err)
	srv := rpc.NewServer(log)
	people.Register(srv)
	conn, stop, err := rpc.Local(srv)
	must(err)
	t.Cleanup(stop)
	identities := directoryv1.NewIdentitiesClient(conn)

	boxes, err := store.New(store.Config{}, store.Deps{Mailboxes: s.db.Mailboxes(), Quotas: s.db.Mailboxes(), Leases: s.db.Leases(), Blobs: s.blobs, Notify: quiet{},
		Log: log, Sharing: s.db.Sharing(), Directory: identities, Imports: s.db.Imports(), Metrics: prometheus.NewRegistry(), Now: time.Now})
	must(err)
	boxes.AddBackups(store.BackupDeps{Whole: s.rules.Whole(), Ledger: s.db.Ledger(), Blobs: s.blobs, Directory: identities, Now: time.Now})
	must(boxes.AddRetention(store.RetentionDeps{Retention: s.db.Retention(), Check: s.db.Retention(), Leases: s.db.Leases(), Log: log, Now: time.Now, Holder: "test"}))
	all := rpc.NewServer(log)
	people.Register(all)
	boxes.Register(all)
	s.conn, stop, err = rpc.Local(all)
	must(err)
	t.Cleanup(stop)
	s.mailboxes = storev1.NewMailboxesClient(s.conn)
	must(s.directory.AddDomain(ctx, account.Domain{Name: "example.org", Created: time.Now()}))
	return s
}

// account makes one without a password.
func (s *site) account(address string) uint64 {
	s.t.Helper()
	id := mailbox.NewID(time.Now())
	out, err := s.directory.PutAccounts(context.Background(), []account.Change{{Account: account.Account{ID: mailbox.AccountID(id), Address: address, Credential: "none", Created: time.Now()}}})
	if err != nil || out[0].Err != nil {
		s.t.Fatal(err, out)
	}
	return id
}

// append files messages.
func (s *site) append(id uint64, folder string, bodies ...[]byte) {
	s.t.Helper()
	stream, err := s.mailboxes.Append(context.Background())
	for _, b := range bodies {
		for _, part := range []*storev1.AppendRequest{
			{Part: &storev1.AppendRequest_Start{Start: &storev1.AppendStart{Account: id, Mailbox: folder, Size: int64(len(b)), Flags: []string{`\Seen`, "work"}}}},
			{Part: &storev1.AppendRequest_Data{Data: b}}, {Part: &storev1.AppendRequest_End{End: true}},
		} {
			if err == nil {
				err = stream.Send(part)
			}
		}
	}
	if err == nil {
		_, err = stream.CloseAndRecv()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// body is a message of about so many octets.
func body(number, size int) []byte {
	b := fmt.Appendf(nil, "Subject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\n", number, number)
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "%d line %d\r\n", number, i)
	}
	return b
}

// open opens a repository.
func open(t *testing.T, folder string) *repo.Repo {
	t.Helper()
	b, err := repo.OpenDir(folder, true)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	r.Temp = t.TempDir()
	t.Cleanup(func() { r.Close() })
	return r
}

func (s *site) deps(r *repo.Repo) backup.Deps {
	return backup.Deps{Store: storev1.NewBackupsClient(s.conn), Bodies: storev1.NewBodiesClient(s.conn), Directory: directoryv1.NewBackupsClient(s.conn),
		Repo: r, Now: time.Now, Say: func(backup.Progress) {}}
}

// backup makes one that must end well.
func (s *site) backup(folder string) *backup.Result {
	s.t.Helper()
	r, err := backup.Run(context.Background(), backup.Config{Version: "test", Wait: 20 * time.Millisecond}, s.deps(open(s.t, folder)))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *site) restoreDeps(r *repo.Repo) backup.RestoreDeps {
	return backup.RestoreDeps{Store: storev1.NewBackupsClient(s.conn), Mailboxes: s.mailboxes, Imports: storev1.NewImportsClient(s.conn),
		Directory: directoryv1.NewBackupsClient(s.conn), Names: directoryv1.NewDirectoryClient(s.conn), Accounts: directoryv1.NewAccountsClient(s.conn),
		Removed: directoryv1.NewRemovedAccountsClient(s.conn), Retention: storev1.NewRetentionClient(s.conn), Repo: r, Say: func(backup.Restored) {}}
}

// restore puts all back from the latest backup.
func (s *site) restore(folder string) *backup.Restored {
	s.t.Helper()
	r := open(s.t, folder)
	snap, err := r.At(s.t.Context(), time.Time{})
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := backup.All(s.t.Context(), snap, s.restoreDeps(r))
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// bodies are the messages of a folder as a reader sees them, in the order of UIDs.
func (s *site) bodies(id uint64, folder string) (all [][]byte) {
	s.t.Helper()
	ctx := context.Background()
	found, err := s.mailboxes.Find(ctx, &storev1.FindRequest{Account: id, Names: []string{folder}})
	if err != nil || found.Found[0].GetMailbox() == nil {
		return nil
	}
	snapshot, err := s.mailboxes.Snapshot(ctx, &storev1.SnapshotRequest{Account: id, Mailbox: found.Found[0].Mailbox.Id})
	var ids []uint64
	for err == nil {
		var page *storev1.SnapshotResponse
		if page, err = snapshot.Recv(); err == nil {
			for _, c := range page.Chunks {
				list, e := mailbox.AllEmails(nil, c.Emails)
				if e != nil {
					s.t.Fatal(e)
				}
				for _, x := range list {
					ids = append(ids, uint64(x))
				}
			}
		}
	}
	if err != io.EOF {
		s.t.Fatal(err)
	}
	emails, err := s.mailboxes.Emails(ctx, &storev1.EmailsRequest{Account: id, Emails: ids})
	for err == nil {
		var page *storev1.EmailsResponse
		if page, err = emails.Recv(); err == nil {
			for _, e := range page.Emails {
				all = append(all, s.read(e))
			}
		}
	}
	if err != io.EOF {
		s.t.Fatal(err)
	}
	return all
}

func (s *site) read(e *storev1.Email) []byte {
	s.t.Helper()
	stream, err := storev1.NewBodiesClient(s.conn).Open(context.Background(), &storev1.OpenRequest{Ranges: []*storev1.BodyRange{{BlobId: e.BlobId, Overlay: e.Overlay, Length: -1}}})
	var b bytes.Buffer
	for err == nil {
		var piece *storev1.OpenResponse
		if piece, err = stream.Recv(); err == nil {
			b.Write(piece.Data)
		}
	}
	if err != io.EOF {
		s.t.Fatal(err)
	}
	return b.Bytes()
}
