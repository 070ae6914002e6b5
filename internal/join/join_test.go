package join_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/join"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// newSite makes one that is stopped, and returns what it is to be compared by.
func newSite(t testing.TB, accounts, each int) *site {
	t.Helper()
	s := openSite(t, t.TempDir())
	s.ids = nil
	s.fill(accounts, each)
	s.stop()
	return s
}

// check opens both and compares them.
func (s *site) check(t testing.TB, p place) {
	t.Helper()
	again := openSite(t, s.folder)
	again.ids, again.unrouted, again.old, again.told, again.now = s.ids, s.unrouted, s.old, s.told, s.now
	defer again.stop()
	again.compare(t, p.open(t))
}

func TestJoin(t *testing.T) {
	s, p := newSite(t, 12, 30), newPlace(t, servers.S3(t))
	var told []string
	r, err := join.Run(t.Context(), p.config(s.folder), join.Deps{Say: func(f string, a ...any) { told = append(told, fmt.Sprintf(f, a...)) }})
	if err != nil || !r.Same {
		t.Fatalf("join: %+v, %v", r, err)
	}
	for _, table := range r.Tables {
		if table.Rows == 0 {
			t.Errorf("%s: nothing was copied: the test tells nothing of it", table.Name)
		}
	}
	if r.Bodies.Read != r.Bodies.Frames || r.Bodies.Unrouted != 3 || r.Bodies.Withheld != 1 || r.Bodies.Gone != 1 {
		t.Errorf("got %+v", r.Bodies)
	}
	if !join.Begun(s.folder) || len(told) == 0 {
		t.Error("nobody was told")
	}
	// Comparing again finds the same; a second join does nothing.
	only := p.config(s.folder)
	only.VerifyOnly, only.OneBodyIn = true, 10
	if again, err := join.Run(t.Context(), only, join.Deps{}); err != nil || !again.Same || again.Bodies.Read >= r.Bodies.Read {
		t.Errorf("verify only: %+v, %v", again, err)
	}
	if again, err := join.Run(t.Context(), p.config(s.folder), join.Deps{}); err != nil || len(again.Tables) != 0 {
		t.Errorf("join again: %+v, %v", again, err)
	}
	s.check(t, p)
	// By now the site has gone on as well.
	if _, err := join.Run(t.Context(), only, join.Deps{}); !errors.Is(err, join.ErrConflict) {
		t.Errorf("verify of a site that changed: %v", err)
	}
}

func TestVerifyFindsWhatDiffers(t *testing.T) {
	s, srv := newSite(t, 4, 10), servers.S3(t)
	p := newPlace(t, srv)
	if _, err := join.Run(t.Context(), p.config(s.folder), join.Deps{}); err != nil {
		t.Fatal(err)
	}
	only := p.config(s.folder)
	only.VerifyOnly = true
	differs := func(what string, in func(*join.Result) bool) {
		t.Helper()
		r, err := join.Run(t.Context(), only, join.Deps{})
		if !errors.Is(err, join.ErrDiffers) || r.Same || !in(r) {
			t.Errorf("%s: got %+v, %v", what, r, err)
		}
	}
	f := p.open(t)
	if _, err := f.index.Mailboxes().Subscribe(t.Context(), s.ids[1], "more", true); err != nil {
		t.Fatal(err)
	}
	differs("a row more", func(r *join.Result) bool {
		return slices.ContainsFunc(r.Tables, func(t join.Table) bool { return t.Name == "subscription" && t.Found == t.Rows+1 }) &&
			slices.ContainsFunc(r.Tables, func(t join.Table) bool { return t.Name == "account" && !t.Same && t.FirstMissing != "" }) &&
			len(r.Bodies.Differ) == 0
	})
	// One octet of a segment.
	client := srv.Client(t)
	var long []string
	for o := range client.ListObjects(t.Context(), p.Archive.Bucket, minio.ListObjectsOptions{Prefix: "blob/seg/", Recursive: true}) {
		if o.Size > 20_000 {
			long = append(long, o.Key)
		}
	}
	if len(long) == 0 {
		t.Fatal("no segment is long enough")
	}
	got, err := client.GetObject(t.Context(), p.Archive.Bucket, long[0], minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	b, err := io.ReadAll(got)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if _, err := client.PutObject(t.Context(), p.Archive.Bucket, long[0], bytes.NewReader(b), int64(len(b)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	differs("an octet", func(r *join.Result) bool { return len(r.Bodies.Differ) == 1 })
}

// TestDamage breaks a body of the site: it is told, and nothing of the rest is held up by it.
func TestDamage(t *testing.T) {
	s, p := newSite(t, 4, 10), newPlace(t, servers.S3(t))
	var path string
	var sound []byte
	for _, f := range must(filepath.Glob(filepath.Join(s.folder, "blob", "*", "*.seg"))) {
		if b := must(os.ReadFile(f)); len(b) > len(sound) {
			path, sound = f, b
		}
	}
	// Frames of accounts have long runs of this text in their bodies.
	at := bytes.Index(sound, []byte(strings.Repeat("Subject: x\r\n\r\n", 50)))
	if at < 0 {
		t.Fatal("no body found")
	}
	broken := bytes.Clone(sound)
	broken[at+100] ^= 1
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := join.Run(t.Context(), p.config(s.folder), join.Deps{})
	if !errors.Is(err, join.ErrDamaged) || len(r.Damaged) != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	t.Run("restored", func(t *testing.T) {
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.WriteFile(path, broken, 0o600)
		until := errors.New("enough")
		if _, err := join.Run(t.Context(), p.config(s.folder), join.Deps{Fault: func(step string) error {
			if step == "before-rows" {
				return until
			}
			return nil
		}}); !errors.Is(err, until) {
			t.Fatalf("got %v, want it to go on", err)
		}
	})
	other := newPlace(t, servers.S3(t))
	for _, name := range must(filepath.Glob(filepath.Join(s.folder, "join.db*"))) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	cfg := other.config(s.folder)
	cfg.Damaged = true
	if r, err = join.Run(t.Context(), cfg, join.Deps{}); err != nil || len(r.Damaged) != 1 || !r.Same || len(r.Bodies.Differ) != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// errFault ends a run early.
var errFault = errors.New("fault")

func TestResume(t *testing.T) {
	srv := servers.S3(t)
	for seed := range 4 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s, p := newSite(t, 4, 10), newPlace(t, srv)
			random := rand.New(rand.NewPCG(uint64(seed), 7))
			runs := 0
			for done := false; !done; runs++ {
				if runs > 200 {
					t.Fatal("it never ends")
				}
				left := 1 + random.IntN(40)
				faults := make(chan struct{}, left)
				_, err := join.Run(t.Context(), p.config(s.folder), join.Deps{Fault: func(string) error {
					select {
					case faults <- struct{}{}:
						return nil
					default:
						return errFault
					}
				}})
				if err != nil && !errors.Is(err, errFault) {
					t.Fatal(err)
				}
				if done = err == nil; !done {
					f := p.openOnce(t)
					s.halfway(t, f)
					f.close()
				}
			}
			if runs < 3 {
				t.Errorf("%d runs: nothing was resumed", runs)
			}
			s.check(t, p)
		})
	}
}

// TestFarmWithOthers joins a site to a farm that has mail already.
func TestFarmWithOthers(t *testing.T) {
	s, p := newSite(t, 4, 10), newPlace(t, servers.S3(t))
	f := p.open(t)
	if err := f.accounts.AddDomain(t.Context(), account.Domain{Name: "example.org", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	other := account.Account{ID: 77, Address: "other@example.org", Credential: "secret", Created: time.Now()}
	if o := must(f.accounts.PutAccounts(t.Context(), []account.Change{{Account: other}})); o[0].Err != nil {
		t.Fatal(o[0].Err)
	}
	m := index.Message{Blob: blob.ID{Incarnation: 1, Offset: 64, Length: 300}, PartIndex: []byte{1}, Size: 10, Received: time.Now()}
	if _, err := f.index.Mailboxes().Append(t.Context(), 77, index.Inbox, []index.Message{m}); err != nil {
		t.Fatal(err)
	}
	secret, boxes := must(f.accounts.Secret(t.Context())), must2(f.index.Mailboxes().List(t.Context(), 77))
	r, err := join.Run(t.Context(), p.config(s.folder), join.Deps{})
	if err != nil || !r.Same {
		t.Fatalf("join: %+v, %v", r, err)
	}
	if again := must2(f.index.Mailboxes().List(t.Context(), 77)); !reflect.DeepEqual(again, boxes) {
		t.Errorf("the other's mailboxes are %+v; they were %+v", again, boxes)
	}
	reader := p.open(t)
	if string(must(reader.accounts.Secret(t.Context()))) != string(secret) {
		t.Error("unknown users get other salts than before")
	}
	domains := must(reader.accounts.Domains(t.Context()))
	if len(domains) != 2 || domains[0].Name != "example.org" || domains[1].Name != "example.net" {
		t.Errorf("got domains %+v", domains)
	}
	s.stay(t, reader)
}

// stay compares the accounts.
func (s *site) stay(t *testing.T, f *farm) {
	t.Helper()
	again := openSite(t, s.folder)
	defer again.stop()
	for _, acc := range s.ids {
		again.compareAccount(t, f, acc)
	}
}

func must2[T, U any](v T, _ U, err error) T { return must(v, err) }

func TestRefusals(t *testing.T) {
	s, p := newSite(t, 4, 10), newPlace(t, servers.S3(t))
	run := func(want error, text string) {
		t.Helper()
		if _, err := join.Run(t.Context(), p.config(s.folder), join.Deps{}); !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v; want %v: %s", err, want, text)
		}
		if join.Begun(s.folder) {
			t.Fatal("the site was marked")
		}
	}
	lock := must(filelock.Take(s.folder + "/lock"))
	run(join.ErrRunning, "stop it first")
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	f := p.open(t)
	if err := f.accounts.AddDomain(t.Context(), account.Domain{Name: "example.net", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	run(join.ErrConflict, "domain example.net")
	if err := f.accounts.RemoveDomain(t.Context(), "example.net"); err != nil {
		t.Fatal(err)
	}
	// A domain that says the same is no conflict; an account with another id is.
	if err := f.accounts.AddDomain(t.Context(), account.Domain{Name: "example.org", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	other := account.Account{ID: 77, Address: "user1@example.org", Credential: "secret 1", Created: time.Now()}
	if o := must(f.accounts.PutAccounts(t.Context(), []account.Change{{Account: other}})); o[0].Err != nil {
		t.Fatal(o[0].Err)
	}
	run(join.ErrConflict, "account user1@example.org (id 77)")
	if err := f.accounts.RemoveAccount(t.Context(), "user1@example.org", time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.index.Mailboxes().List(t.Context(), s.ids[2]); err != nil {
		t.Fatal(err)
	}
	run(join.ErrConflict, "mailboxes of the account with id 1002")
	if holder, err := f.index.Leases().Acquire(t.Context(), "store", "somebody", time.Minute); err != nil || holder != "somebody" {
		t.Fatal(holder, err)
	}
	run(join.ErrRunning, "stop its roles")
}
