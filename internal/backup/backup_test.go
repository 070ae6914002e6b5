package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/backup"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func same(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s: %d messages, want %d, octet by octet", what, len(got), len(want))
	}
}

// TestOnlyWhatChanged counts what each backup writes.
func TestOnlyWhatChanged(t *testing.T) {
	s := newSite(t)
	alice, bob := s.account("alice@example.org"), s.account("bob@example.org")
	const least = 500
	n := 3 * least
	if testing.Short() {
		n = least
	}
	var all [][]byte
	for i := range n {
		all = append(all, body(i, 100))
	}
	for part := range slices.Chunk(all, least) {
		s.append(alice, "INBOX", part...)
	}
	s.append(bob, "INBOX", all[0], body(9000, 3<<20))
	folder := filepath.Join(t.TempDir(), "repository")
	first := s.backup(folder)
	if w := first.Written; w.Bodies != n+1 || first.Counts.Messages != int64(n+2) || first.Accounts.Read != 2 {
		t.Errorf("the first backup: %+v", first)
	}
	for _, tt := range []struct {
		name         string
		change       func()
		read, bodies int
		rows         int // at most
	}{
		{"nothing", func() {}, 0, 0, 0},
		{"one message", func() { s.append(alice, "INBOX", body(5000, 100)) }, 1, 1, 5},
		{"one that is there by its body", func() { s.append(bob, "INBOX", all[17]) }, 1, 0, 3},
		{"a flag", func() {
			found, err := s.mailboxes.Find(t.Context(), &storev1.FindRequest{Account: alice, Names: []string{"INBOX"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.mailboxes.Flag(t.Context(), &storev1.FlagRequest{Account: alice, Mailbox: found.Found[0].Mailbox.Id, Uids: []byte{1, 0},
				Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Flagged`}}); err != nil {
				t.Fatal(err)
			}
		}, 1, 0, 4},
	} {
		tt.change()
		r := s.backup(folder)
		if r.Accounts.Read != tt.read || r.Written.Bodies != tt.bodies || r.Written.Rows > tt.rows {
			t.Errorf("%s: %d accounts were read, %d bodies and %d lists written; want %d, %d, at most %d", tt.name,
				r.Accounts.Read, r.Written.Bodies, r.Written.Rows, tt.read, tt.bodies, tt.rows)
		}
	}
	want := map[uint64][][]byte{alice: s.bodies(alice, "INBOX"), bob: s.bodies(bob, "INBOX")}

	other := newSite(t)
	out := other.restore(folder)
	if out.Accounts != 2 || out.Messages != int64(n+4) || len(out.Conflicts) != 0 {
		t.Errorf("restored: %+v", out)
	}
	for id, bodies := range want {
		same(t, fmt.Sprint("account ", id), other.bodies(id, "INBOX"), bodies)
	}
	// The backup of what was restored has the same messages, and so nothing to write of them.
	again := other.backup(folder)
	if again.Written.Bodies != 0 || again.Counts != first.Counts && again.Counts.Messages != int64(n+4) {
		t.Errorf("the backup of the other site: %+v", again)
	}
}

// TestRunDiesAnywhere ends backups at each step in turn: the next goes on, and what it makes is whole.
func TestRunDiesAnywhere(t *testing.T) {
	died := errors.New("died")
	s := newSite(t)
	alice := s.account("alice@example.org")
	folder := filepath.Join(t.TempDir(), "repository")
	steps := 0
	for at := 1; ; at++ {
		s.append(alice, "INBOX", body(2*at, 6000), body(2*at+1, 100))
		r := open(t, folder)
		r.PackBytes = 4 << 10
		n := 0
		r.Fault = func(string) error {
			if n++; n == at {
				return died
			}
			return nil
		}
		_, err := backup.Run(t.Context(), backup.Config{}, s.deps(r))
		if err == nil {
			break
		}
		if !errors.Is(err, died) {
			t.Fatal(err)
		}
		steps++
		s.backup(folder)
		again := open(t, folder)
		if v, err := again.Verify(t.Context(), func(int, int) {}); err != nil || len(v.Problems) > 0 {
			t.Fatalf("behind step %d: %+v, %v", at, v, err)
		}
	}
	if steps < 3 {
		t.Errorf("%d steps were tried", steps)
	}
	want := s.bodies(alice, "INBOX")
	other := newSite(t)
	other.restore(folder)
	same(t, "restored", other.bodies(alice, "INBOX"), want)
}

// TestRestoreEndsAnywhere ends restores after some calls: the next goes on.
func TestRestoreEndsAnywhere(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	for i := range 6 {
		var list [][]byte
		for k := range 100 {
			list = append(list, body(100*i+k, 200))
		}
		s.append(alice, "INBOX", list...)
	}
	folder := filepath.Join(t.TempDir(), "repository")
	s.backup(folder)
	want := s.bodies(alice, "INBOX")
	other := newSite(t)
	r := open(t, folder)
	snap, err := r.At(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for stop := int64(1); ; stop += 256 {
		ctx, cancel := context.WithCancel(t.Context())
		deps := other.restoreDeps(r)
		deps.Say = func(at backup.Restored) {
			if at.Messages+at.Present >= stop {
				cancel()
			}
		}
		_, err := backup.All(ctx, snap, deps)
		cancel()
		if err == nil {
			break
		}
		if who, err := other.directory.ListAccounts(t.Context(), ""); err != nil || len(who) != 0 {
			t.Fatalf("the directory knows half an account: %+v, %v", who, err)
		}
		if stop > 10_000 {
			t.Fatal("it never ends")
		}
	}
	same(t, "restored", other.bodies(alice, "INBOX"), want)
}

// TestMissingBody takes a body away: all else is in the backup, and a word in its place when it comes back.
func TestMissingBody(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	s.append(alice, "INBOX", body(1, 500), body(2, 2<<20), body(3, 500))
	files, err := filepath.Glob(filepath.Join(s.blobsFolder(), "*", "body", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files: %v, %v", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "repository")
	r := s.backup(folder)
	if len(r.Missing) != 1 || r.Missing[0].Account != alice || r.Written.Bodies != 2 {
		t.Fatalf("backup: %+v", r)
	}
	if again := s.backup(folder); len(again.Missing) != 1 || again.Accounts.Read != 1 {
		t.Errorf("the next backup: %+v", again)
	}
	other := newSite(t)
	out := other.restore(folder)
	got := other.bodies(alice, "INBOX")
	if out.Unreadable != 1 || len(got) != 3 || !bytes.Equal(got[0], body(1, 500)) || !bytes.Equal(got[2], body(3, 500)) || !bytes.Contains(got[1], []byte("could not be read")) {
		t.Errorf("restored: %+v, %d messages, the second %q", out, len(got), got[min(1, len(got)-1)])
	}
}

// TestDamagedBody flips an octet of one body in the repository: restoring ends and says so, or goes on without it where that
// is asked for, into an account that is new and into one that lives.
func TestDamagedBody(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	s.append(alice, "INBOX", body(1, 500), body(2, 500), body(3, 500))
	folder := filepath.Join(t.TempDir(), "repository")
	s.backup(folder)
	indexes, err := filepath.Glob(filepath.Join(folder, "packs", "*.jsonl"))
	if err != nil || len(indexes) != 1 {
		t.Fatalf("indexes: %v, %v", indexes, err)
	}
	index, err := os.ReadFile(indexes[0])
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ At, Stored int64 }
	for one := range bytes.Lines(index) {
		if bytes.Contains(one, fmt.Appendf(nil, "%x", sha256.Sum256(body(2, 500)))) {
			if err := json.Unmarshal(one, &line); err != nil {
				t.Fatal(err)
			}
		}
	}
	pack := strings.TrimSuffix(indexes[0], ".jsonl") + ".tar.zst"
	octets, err := os.ReadFile(pack)
	if err != nil || line.Stored == 0 {
		t.Fatalf("line %+v, %v", line, err)
	}
	octets[line.At+line.Stored/2] ^= 1
	if err := os.WriteFile(pack, octets, 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, folder)
	snap, err := r.At(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	fresh := newSite(t)
	if _, err := backup.All(t.Context(), snap, fresh.restoreDeps(r)); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
	lives := newSite(t)
	bob := lives.account("bob@example.org")
	for name, restore := range map[string]func(backup.RestoreDeps) (*backup.Restored, error){
		"as it was": func(d backup.RestoreDeps) (*backup.Restored, error) { return backup.All(t.Context(), snap, d) },
		"into another": func(d backup.RestoreDeps) (*backup.Restored, error) {
			return backup.Account(t.Context(), snap, d, "alice@example.org", "bob@example.org")
		},
	} {
		to, id := fresh, alice
		if name != "as it was" {
			to, id = lives, bob
		}
		deps := to.restoreDeps(r)
		deps.SkipDamaged = true
		out, err := restore(deps)
		if err != nil || out.Unreadable != 1 {
			t.Fatalf("%s: %+v, %v", name, out, err)
		}
		got := to.bodies(id, "INBOX")
		if len(got) != 3 || !bytes.Equal(got[0], body(1, 500)) || !bytes.Equal(got[2], body(3, 500)) || !bytes.Contains(got[1], []byte("could not be read")) {
			t.Errorf("%s: %d messages, the second %q", name, len(got), got[min(1, len(got)-1)])
		}
	}
}

// TestCopiesComeBack deletes a folder whose messages lie in INBOX too: it comes back whole, and what was moved stays where it is.
func TestCopiesComeBack(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	s.append(alice, "INBOX", body(1, 500), body(2, 500), body(3, 500))
	found, err := s.mailboxes.Find(t.Context(), &storev1.FindRequest{Account: alice, Names: []string{"INBOX"}})
	if err != nil {
		t.Fatal(err)
	}
	inbox := found.Found[0].Mailbox.Id
	uids := func(first, last mailbox.UID) []byte {
		return mailbox.AppendUIDSet(nil, mailbox.UIDSet{{First: first, Last: last}})
	}
	if _, err := s.mailboxes.Create(t.Context(), &storev1.CreateRequest{Account: alice, Name: "Work"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.mailboxes.Copy(t.Context(), &storev1.CopyRequest{Account: alice, Mailbox: inbox, Uids: uids(1, 2), Target: "Work"}); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "repository")
	s.backup(folder)
	if _, err := s.mailboxes.Delete(t.Context(), &storev1.DeleteRequest{Account: alice, Name: "Work"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.mailboxes.Move(t.Context(), &storev1.MoveRequest{Account: alice, Mailbox: inbox, Uids: uids(3, 3), Target: "Trash"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.restore(folder)
		same(t, "Work", s.bodies(alice, "Work"), [][]byte{body(1, 500), body(2, 500)})
		same(t, "INBOX", s.bodies(alice, "INBOX"), [][]byte{body(1, 500), body(2, 500)})
		same(t, "Trash", s.bodies(alice, "Trash"), [][]byte{body(3, 500)})
	}
}

// wandering moves a message between accounts while they are read: away from where it is, to one that was read already.
type wandering struct {
	storev1.BackupsClient
	s     *site
	boxes []uint64 // by id
	at    int
	moves int
	// none tells that the store knows no DumpChanged.
	none bool
}

func (w *wandering) move(to int) {
	t, from := w.s.t, w.boxes[w.at]
	w.s.append(w.boxes[to], "INBOX", body(7, 300))
	found, err := w.s.mailboxes.Find(t.Context(), &storev1.FindRequest{Account: from, Names: []string{"INBOX"}})
	if err != nil {
		t.Fatal(err)
	}
	box := found.Found[0].Mailbox
	if _, err := w.s.mailboxes.Expunge(t.Context(), &storev1.ExpungeRequest{Account: from, Mailbox: box.Id, Uids: mailbox.AppendUIDSet(nil, mailbox.UIDSet{{First: 1, Last: mailbox.UID(box.UidNext)}}), Force: true}); err != nil {
		t.Fatal(err)
	}
	w.at, w.moves = to, w.moves+1
}

func (w *wandering) Dump(ctx context.Context, req *storev1.DumpRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.DumpResponse], error) {
	if i := slices.Index(w.boxes, req.Account); i == w.at && i > 0 {
		w.move(i - 1) // just before it is read
	} else if i >= 0 && i == w.at {
		// It is read now where it is; the next round finds it at the end again.
		defer w.move(len(w.boxes) - 1)
	}
	return w.BackupsClient.Dump(ctx, req, opts...)
}

func (w *wandering) DumpChanged(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[storev1.DumpChangedRequest, storev1.DumpChangedResponse], error) {
	if w.none {
		return nil, status.Error(codes.Unimplemented, "not yet")
	}
	return w.BackupsClient.DumpChanged(ctx, opts...)
}

// TestMovesBetweenAccounts has a message wander between accounts while a backup runs: it is in the backup, once.
func TestMovesBetweenAccounts(t *testing.T) {
	for name, none := range map[string]bool{"one moment": false, "an old store": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			w := &wandering{BackupsClient: storev1.NewBackupsClient(s.conn), s: s, at: 2, none: none}
			for _, who := range []string{"alice", "bob", "carol"} {
				id := s.account(who + "@example.org")
				s.append(id, "INBOX", body(1, 100))
				w.boxes = append(w.boxes, id)
			}
			slices.Sort(w.boxes)
			s.append(w.boxes[2], "INBOX", body(7, 300))
			folder := filepath.Join(t.TempDir(), "repository")
			deps := s.deps(open(t, folder))
			deps.Store = w
			r, err := backup.Run(t.Context(), backup.Config{Wait: time.Millisecond}, deps)
			if err != nil || w.moves < 2 {
				t.Fatalf("%+v, %v, %d moves", r, err, w.moves)
			}
			if (r.Apart != "") != none {
				t.Errorf("apart: %q", r.Apart)
			}
			other := newSite(t)
			other.restore(folder)
			n := 0
			for _, id := range w.boxes {
				for _, b := range other.bodies(id, "INBOX") {
					if bytes.Equal(b, body(7, 300)) {
						n++
					}
				}
			}
			if want := map[bool]int{false: 1}[none]; n != want { // of what is not of one moment it is lost: the test moves it so
				t.Errorf("the backup has the message %d times, want %d", n, want)
			}
			rep := open(t, folder)
			if snap, err := rep.At(t.Context(), time.Time{}); err != nil || snap.Apart != r.Apart {
				t.Errorf("the snapshot says %q, %v", snap.Apart, err)
			}
			if again := s.backup(folder); again.Counts.Messages != r.Counts.Messages && !none || again.Apart != "" {
				t.Errorf("the next backup: %+v", again)
			}
		})
	}
}

// TestUniqueIDsComeAlong restores into another account: POP3 calls messages as it did before.
func TestUniqueIDsComeAlong(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	f, err := importer.File(t.Context(), storev1.NewImportsClient(s.conn), &storev1.ImportBegin{Account: alice, Mailbox: "INBOX", Create: true, UidValidity: 1_700_000_000, UidNext: 50})
	if err != nil {
		t.Fatal(err)
	}
	for i, uidl := range []string{"theirs-1", "", "theirs-3"} {
		b := body(i, 100)
		if err := f.Message(&storev1.ImportStart{Key: []byte{byte(i)}, Uid: uint32(10 + i), Uidl: uidl, Size: int64(len(b)), ReceivedNs: 1e18}, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Done(); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "repository")
	s.backup(folder)
	other := newSite(t)
	bob := other.account("bob@example.org")
	other.append(bob, "INBOX", body(9, 100))
	r := open(t, folder)
	snap, err := r.At(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := backup.Account(t.Context(), snap, other.restoreDeps(r), "alice@example.org", "bob@example.org"); err != nil {
			t.Fatal(err)
		}
	}
	found, err := other.mailboxes.Find(t.Context(), &storev1.FindRequest{Account: bob, Names: []string{"INBOX"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := storev1.NewImportsClient(other.conn).UIDLs(t.Context(), &storev1.UIDLsRequest{Account: bob, Mailbox: found.Found[0].Mailbox.Id})
	want := []string{"theirs-1", fmt.Sprintf("%08x%08x", 1_700_000_000, 11), "theirs-3"}
	if err != nil || !slices.Equal(got.Uidls, want) {
		t.Errorf("got %v, %v, want %q", got, err, want)
	}
}

// TestEmptyBody has a message of no octets at all, which is what an empty list of rows is made of too.
func TestEmptyBody(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	s.append(alice, "INBOX", body(1, 500), []byte{})
	folder := filepath.Join(t.TempDir(), "repository")
	s.backup(folder)
	other := newSite(t)
	other.restore(folder)
	if got := other.bodies(alice, "INBOX"); len(got) != 2 || !bytes.Equal(got[0], body(1, 500)) || len(got[1]) != 0 {
		t.Errorf("restored: %q", got)
	}
}

// TestQueueComesBackHeld has messages that are routed, and such that no router has met.
func TestQueueComesBackHeld(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	s.append(alice, "INBOX", body(1, 100))
	routed, unrouted := s.accept(body(10, 2000)), s.accept(body(11, 300<<10))
	env := routed.Envelope
	if _, err := s.db.Ledger().Record(t.Context(), []*storev1.Routed{{Message: routed, Recipients: []*storev1.RecipientRow{
		{Number: 0, ForwardPath: "x@remote.example", State: storev1.State_STATE_QUEUED, Destination: storev1.Destination_DESTINATION_REMOTE, Group: "remote.example", Attempts: 3},
		{Number: 1, ForwardPath: "y@remote.example", State: storev1.State_STATE_RELAYED, Destination: storev1.Destination_DESTINATION_REMOTE, Group: "remote.example"},
	}}}); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "repository")
	if r := s.backup(folder); r.Counts.Queued != 2 || r.Written.Bodies != 3 {
		t.Errorf("backup: %+v", r)
	}
	other := newSite(t)
	for i, want := range []backup.Restored{{Queued: 2}, {Known: 2}} {
		if out := other.restore(folder); out.Queued != want.Queued || out.Known != want.Known {
			t.Errorf("restore %d: %+v", i+1, out)
		}
	}
	entries, err := other.db.Ledger().Load(t.Context(), [][]byte{env.QueueId, unrouted.Envelope.QueueId})
	if err != nil || entries[0].Message == nil || entries[1].Message != nil {
		t.Fatalf("the ledger has %+v, %v", entries, err)
	}
	rows := entries[0].Recipients
	if len(rows) != 2 || rows[0].State != storev1.State_STATE_HELD || rows[0].Attempts != 3 || rows[1].State != storev1.State_STATE_RELAYED || entries[0].Message.Envelope.ReversePath != env.ReversePath {
		t.Errorf("recipients: %+v", rows)
	}
	decisions, err := other.db.Ledger().Decisions(t.Context(), [][]byte{unrouted.Envelope.QueueId})
	if err != nil || decisions[0] != ledger.Undecided {
		t.Errorf("what was not routed: %v, %v, want that it waits for a decision", decisions, err)
	}
	for _, tt := range []struct {
		what string
		id   []byte
		want []byte
		kind blob.Kind
	}{{"routed", entries[0].Message.BlobId, body(10, 2000), blob.Generated}, {"unrouted", other.withheld(t), body(11, 300<<10), blob.Accepted}} {
		id, err := blob.IDFrom(tt.id)
		if err != nil {
			t.Fatal(err)
		}
		f, err := other.blobs.Open(t.Context(), id)
		if err != nil {
			t.Fatalf("%s: %v", tt.what, err)
		}
		var tail mailv1.FrameTail
		got := make([]byte, f.Size)
		_, err = f.Body.ReadAt(got, 0)
		if f.Size != int64(len(tt.want)) || !bytes.Equal(got, tt.want) || f.Meta.Kind != tt.kind || proto.Unmarshal(f.Meta.Tail, &tail) != nil || len(tail.Envelope.Recipients) != 2 {
			t.Errorf("%s: frame of kind %d with %d octets, %v", tt.what, f.Meta.Kind, f.Size, err)
		}
		f.Close()
	}
}

func (s *site) withheld(t *testing.T) []byte {
	t.Helper()
	list, err := s.db.Ledger().Withheld(t.Context(), ledger.Undecided, envelope.QueueID{}, 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("withheld: %+v, %v", list, err)
	}
	return list[0].BlobID.Bytes()
}

// accept stores a message as ingress does.
func (s *site) accept(b []byte) *mailv1.Accepted {
	s.t.Helper()
	id := envelope.NewQueueID(time.Now())
	var x message.Indexer
	x.Write(b)
	ix, err := x.Finish()
	if err != nil {
		s.t.Fatal(err)
	}
	env := &mailv1.Envelope{QueueId: id[:], ReversePath: "carol@sender.example", Kind: mailv1.Kind_KIND_ACCEPTED, Size: int64(len(b)), AcceptedNs: time.Now().UnixNano(),
		Recipients: []*mailv1.Recipient{{Number: 0, ForwardPath: "x@remote.example"}, {Number: 1, ForwardPath: "y@remote.example"}}}
	tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: env, PartIndex: ix.Encode(nil)})
	if err != nil {
		s.t.Fatal(err)
	}
	draft, err := s.blobs.Create(blob.ID{})
	if err != nil {
		s.t.Fatal(err)
	}
	draft.Write(b)
	at, err := draft.Commit(s.t.Context(), blob.Meta{Kind: blob.Accepted, QueueID: id, Tail: tail})
	if err != nil {
		s.t.Fatal(err)
	}
	return &mailv1.Accepted{QueueId: id[:], BlobId: at.Bytes(), Envelope: env}
}

// TestRandomLife compares accounts with random lives before and behind.
func TestRandomLife(t *testing.T) {
	s := newSite(t)
	r := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	alice := s.account("alice@example.org")
	folder := filepath.Join(t.TempDir(), "repository")
	s.append(alice, "INBOX", body(0, 100))
	for i := range 60 {
		switch r.IntN(5) {
		case 0, 1:
			s.append(alice, []string{"INBOX", "Archive"}[r.IntN(2)], body(i, 50+r.IntN(5000)))
		case 2:
			found, err := s.mailboxes.Find(t.Context(), &storev1.FindRequest{Account: alice, Names: []string{"INBOX"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.mailboxes.Copy(t.Context(), &storev1.CopyRequest{Account: alice, Mailbox: found.Found[0].Mailbox.Id, Uids: []byte{1, byte(r.IntN(5))}, Target: "Archive"}); err != nil {
				t.Fatal(err)
			}
		case 3:
			s.mailboxes.Create(t.Context(), &storev1.CreateRequest{Account: alice, Name: fmt.Sprint("Folder ", r.IntN(4))})
			s.mailboxes.Delete(t.Context(), &storev1.DeleteRequest{Account: alice, Name: fmt.Sprint("Folder ", r.IntN(4))})
		case 4:
			s.backup(folder)
		}
	}
	s.backup(folder)
	other := newSite(t)
	other.restore(folder)
	for _, name := range []string{"INBOX", "Archive"} {
		same(t, name, other.bodies(alice, name), s.bodies(alice, name))
	}
	rep := open(t, folder)
	if v, err := rep.Verify(t.Context(), func(int, int) {}); err != nil || len(v.Problems) > 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
	if _, err := rep.Prune(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	third := newSite(t)
	if out := third.restore(folder); out.Messages == 0 {
		t.Errorf("restored behind prune: %+v", out)
	}
	same(t, "behind prune", third.bodies(alice, "INBOX"), s.bodies(alice, "INBOX"))
}
