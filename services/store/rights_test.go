package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// fakePeople is a directory in which account N is userN@example.org, 11 and 12 are in the group staff, 13 is nobody, and 30
// is a shared account.
type fakePeople struct{ asked int }

func (p *fakePeople) Identify(_ context.Context, in *directoryv1.IdentifyRequest, _ ...grpc.CallOption) (*directoryv1.IdentifyResponse, error) {
	p.asked++
	who := func(id uint64) *directoryv1.Identity {
		if id == 0 || id == 13 || id > 99 {
			return &directoryv1.Identity{}
		}
		v := &directoryv1.Identity{Account: id, Address: fmt.Sprintf("user%d@example.org", id), Shared: id == 30}
		if id == 11 || id == 12 {
			v.Groups = []string{"staff"}
		}
		return v
	}
	resp := &directoryv1.IdentifyResponse{}
	for _, id := range in.GetAccounts() {
		resp.ByAccount = append(resp.ByAccount, who(id))
	}
	for _, address := range in.GetAddresses() {
		var id uint64
		fmt.Sscanf(address, "user%d@example.org", &id)
		resp.ByAddress = append(resp.ByAddress, who(id))
	}
	for _, g := range in.GetGroups() {
		if g != "staff" {
			g = ""
		}
		resp.Groups = append(resp.Groups, g)
	}
	return resp, nil
}

const owner, actor = 10, 11

// share gives somebody rights on a mailbox of owner.
func (r *role) share(t testing.TB, name, identifier, rights string) {
	t.Helper()
	_, err := r.sharing.SetACL(t.Context(), &storev1.SetACLRequest{
		Account: owner, Mailbox: name, Identifier: identifier, Mode: storev1.ACLMode_ACL_MODE_REPLACE, Rights: rights,
	})
	if err != nil {
		t.Fatalf("SetACL(%s, %s, %s): %v", name, identifier, rights, err)
	}
}

// box is a mailbox's id.
func (r *role) box(t testing.TB, account uint64, name string) uint64 {
	t.Helper()
	list, err := r.List(t.Context(), &storev1.ListRequest{Account: account})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.GetMailboxes() {
		if m.GetName() == name {
			return m.GetId()
		}
	}
	t.Fatalf("no mailbox %q", name)
	return 0
}

// appendAs files one message for actor.
func (r *role) appendAs(ctx context.Context, account, actor uint64, name string, flags ...string) error {
	stream, err := r.Append(ctx)
	if err != nil {
		return err
	}
	body := []byte("Subject: x\r\n\r\nhello\r\n")
	for _, part := range []*storev1.AppendRequest{
		{Part: &storev1.AppendRequest_Start{Start: &storev1.AppendStart{Account: account, Actor: actor, Mailbox: name, Flags: flags, Size: int64(len(body))}}},
		{Part: &storev1.AppendRequest_Data{Data: body}}, {Part: &storev1.AppendRequest_End{End: true}},
	} {
		if err := stream.Send(part); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

var everyUID = mailbox.AppendUIDSet(nil, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}})

// commands are the calls about mailboxes, with the rights that each takes.
var commands = []struct {
	name, needs string
	// where the rights are asked for: on Team, unless it says the mailbox that is the target.
	run func(ctx context.Context, r *role, t testing.TB, actor uint64) error
}{
	{"Snapshot", "r", func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		stream, err := r.Snapshot(ctx, &storev1.SnapshotRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team")})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}},
	{"Emails", "r", func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		stream, err := r.Emails(ctx, &storev1.EmailsRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Emails: []uint64{1}})
		if err == nil {
			if _, err = stream.Recv(); err == io.EOF {
				err = nil
			}
		}
		return err
	}},
	{"Flag seen", "s", flagCall(`\Seen`)},
	{"Flag deleted", "t", flagCall(`\Deleted`)},
	{"Flag flagged", "w", flagCall(`\Flagged`)},
	{"Flag keyword", "w", flagCall(`$Work`)},
	{"Append", "i", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		return r.appendAs(ctx, owner, actor, "Team")
	}},
	{"Copy from", "r", func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		_, err := r.Copy(ctx, &storev1.CopyRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, Target: "Open"})
		return err
	}},
	{"Copy to", "i", func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		_, err := r.Copy(ctx, &storev1.CopyRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Open"), Uids: everyUID, Target: "Team"})
		return err
	}},
	{"Move from", "rte", func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		_, err := r.Move(ctx, &storev1.MoveRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, Target: "Open"})
		return err
	}},
	{"Move to", "i", func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		_, err := r.Move(ctx, &storev1.MoveRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Open"), Uids: everyUID, Target: "Team"})
		return err
	}},
	{"Expunge", "e", func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		_, err := r.Expunge(ctx, &storev1.ExpungeRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team")})
		return err
	}},
	{"Create", "k", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		_, err := r.Create(ctx, &storev1.CreateRequest{Account: owner, Actor: actor, Name: "Team/new/sub"})
		return err
	}},
	{"Create for a use", "ka", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		_, err := r.Create(ctx, &storev1.CreateRequest{Account: owner, Actor: actor, Name: "Team/used", SpecialUse: `\Sent`})
		if status.Code(err) == codes.AlreadyExists {
			err = nil // the owner has one: the rights were enough
		}
		return err
	}},
	{"Delete", "x", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		_, err := r.Delete(ctx, &storev1.DeleteRequest{Account: owner, Actor: actor, Name: "Team"})
		return err
	}},
	{"Rename from", "x", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		_, err := r.Rename(ctx, &storev1.RenameRequest{Account: owner, Actor: actor, From: "Team", To: "Open/team"})
		return err
	}},
	{"Rename to", "k", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		_, err := r.Rename(ctx, &storev1.RenameRequest{Account: owner, Actor: actor, From: "Open", To: "Team/open"})
		return err
	}},
	{"GetACL", "a", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		_, err := r.sharing.GetACL(ctx, &storev1.GetACLRequest{Account: owner, Actor: actor, Mailbox: "Team"})
		return err
	}},
	{"SetACL", "a", func(ctx context.Context, r *role, _ testing.TB, actor uint64) error {
		_, err := r.sharing.SetACL(ctx, &storev1.SetACLRequest{
			Account: owner, Actor: actor, Mailbox: "Team", Identifier: "anyone", Mode: storev1.ACLMode_ACL_MODE_ADD, Rights: "l",
		})
		return err
	}},
}

func flagCall(flag string) func(context.Context, *role, testing.TB, uint64) error {
	return func(ctx context.Context, r *role, t testing.TB, actor uint64) error {
		_, err := r.Flag(ctx, &storev1.FlagRequest{
			Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{flag},
		})
		return err
	}
}

// shared is a store in which actor has everything in Open, and Team is there with one message.
func shared(t *testing.T) *role {
	r := start(t, store.Config{})
	for _, name := range []string{"Team", "Open"} {
		if _, err := r.Create(t.Context(), &storev1.CreateRequest{Account: owner, Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := r.appendAs(t.Context(), owner, 0, name); err != nil {
			t.Fatal(err)
		}
	}
	r.share(t, "Open", "user11@example.org", "lrswipkxtea")
	return r
}

// TestRightPerCommand: each call works with just the rights it needs, and with all but one of them it is refused: told so
// where the mailbox may be looked up, and as if there were none where not.
func TestRightPerCommand(t *testing.T) {
	const all = "rswipkxtea"
	for _, c := range commands {
		t.Run(c.name, func(t *testing.T) {
			r := shared(t)
			for _, missing := range c.needs {
				rest := strings.ReplaceAll(all, string(missing), "")
				r.share(t, "Team", "user11@example.org", "l"+rest)
				if err := c.run(t.Context(), r, t, actor); status.Code(err) != codes.PermissionDenied {
					t.Errorf("without %q: %v, want PERMISSION_DENIED", missing, err)
				}
				r.share(t, "Team", "user11@example.org", rest)
				want := codes.NotFound
				if strings.Contains(rest, "r") && !strings.HasSuffix(c.name, "ACL") {
					want = codes.PermissionDenied // who may read knows of it
				}
				if err := c.run(t.Context(), r, t, actor); status.Code(err) != want {
					t.Errorf("without %q and l: %v, want %v", missing, err, want)
				}
				r.share(t, "Team", "user11@example.org", strings.ReplaceAll(rest, "r", ""))
				if err := c.run(t.Context(), r, t, actor); status.Code(err) != codes.NotFound {
					t.Errorf("without %q, l and r: %v, want NOT_FOUND", missing, err)
				}
			}
			if err := c.run(t.Context(), r, t, 14); status.Code(err) != codes.NotFound {
				t.Errorf("somebody without any right: %v, want NOT_FOUND", err)
			}
			r.share(t, "Team", "user11@example.org", c.needs)
			if err := c.run(t.Context(), r, t, actor); err != nil {
				t.Errorf("with %q: %v", c.needs, err)
			}
		})
	}
}

// TestGrantedTo: by whatever identifier, and taken away by a negative one.
func TestGrantedTo(t *testing.T) {
	r := shared(t)
	my := func(actor uint64) string {
		t.Helper()
		resp, err := r.sharing.MyRights(t.Context(), &storev1.MyRightsRequest{Account: owner, Actor: actor, Mailbox: "Team"})
		if status.Code(err) == codes.NotFound {
			return "none"
		}
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetRights()
	}
	for _, tt := range []struct {
		identifier, rights string
		// want of 11 and 12, who are staff, and of 14, and of 13 whom the directory does not know
		want [4]string
	}{
		{"group:staff", "lr", [4]string{"lr", "lr", "none", "none"}},
		{"$staff", "lri", [4]string{"lri", "lri", "none", "none"}},
		{"-user12@example.org", "i", [4]string{"lri", "lr", "none", "none"}},
		{"anyone", "lp", [4]string{"lrip", "lrp", "lp", "none"}},
		{"authenticated", "ls", [4]string{"lrsip", "lrsp", "lsp", "none"}},
		{"-anyone", "l", [4]string{"rsip", "rsp", "none", "none"}},
		{"-group:staff", "ripsl", [4]string{"none", "none", "none", "none"}},
	} {
		r.share(t, "Team", tt.identifier, tt.rights)
		for i, who := range []uint64{11, 12, 14, 13} {
			if got := my(who); got != tt.want[i] {
				t.Errorf("%s has %s: account %d has %q, want %q", tt.identifier, tt.rights, who, got, tt.want[i])
			}
		}
	}
	list, err := r.sharing.GetACL(t.Context(), &storev1.GetACLRequest{Account: owner, Mailbox: "Team"})
	var got []string
	for _, e := range list.GetEntries() {
		got = append(got, e.GetIdentifier()+" "+e.GetRights())
	}
	slices.Sort(got)
	if want := []string{"-anyone l", "-group:staff lrsip", "-user12@example.org i", "anyone lp", "authenticated ls", "group:staff lri"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("GetACL = %q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{"nobody@example.com", "user13@example.org", "$board", "", "-"} {
		_, err := r.sharing.SetACL(t.Context(), &storev1.SetACLRequest{Account: owner, Mailbox: "Team", Identifier: bad, Mode: storev1.ACLMode_ACL_MODE_ADD, Rights: "l"})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("SetACL for %q = %v, want INVALID_ARGUMENT", bad, err)
		}
	}
	if _, err := r.sharing.SetACL(t.Context(), &storev1.SetACLRequest{Account: owner, Mailbox: "Team", Identifier: "user10@example.org", Mode: storev1.ACLMode_ACL_MODE_REPLACE}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("SetACL for the owner = %v, want FAILED_PRECONDITION", err)
	}
}

// TestOwnerCostsNoLook: nobody is asked who the owner is, or the farm's own roles.
func TestOwnerCostsNoLook(t *testing.T) {
	r := shared(t)
	asked := r.people.asked
	for _, c := range commands {
		if c.name == "Delete" || strings.HasPrefix(c.name, "Rename") || strings.HasPrefix(c.name, "GetACL") {
			continue
		}
		for _, who := range []uint64{0, owner} {
			if err := c.run(t.Context(), r, t, who); err != nil && status.Code(err) != codes.AlreadyExists {
				t.Errorf("%s by the owner: %v", c.name, err)
			}
		}
	}
	if r.people.asked != asked {
		t.Errorf("the directory was asked %d times for the owner's own commands", r.people.asked-asked)
	}
}

// TestSharedWith: what is shared with somebody is found by hints, and of it what may be looked up.
func TestSharedWith(t *testing.T) {
	r := shared(t)
	r.share(t, "Team", "$staff", "l")
	if _, err := r.sharing.SetACL(t.Context(), &storev1.SetACLRequest{Account: 30, Identifier: "user11@example.org", Mode: storev1.ACLMode_ACL_MODE_REPLACE, Rights: "lrswipkxtea"}); err != nil {
		t.Fatal(err)
	}
	look := func(actor uint64) (out []string) {
		t.Helper()
		stream, err := r.sharing.Shared(t.Context(), &storev1.SharedRequest{Actor: actor})
		if err != nil {
			t.Fatal(err)
		}
		for {
			one, err := stream.Recv()
			if err == io.EOF {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range one.GetMailboxes() {
				out = append(out, fmt.Sprintf("%s %v %s %s %d", one.GetAddress(), one.GetShared(), m.GetName(), m.GetRights(), m.GetMessages()))
			}
		}
	}
	if got, want := look(12), []string{"user10@example.org false Team l 0"}; !slices.Equal(got, want) {
		t.Errorf("12 sees %q, want %q", got, want)
	}
	got := look(11)
	if len(got) != 8 || got[0] != "user10@example.org false Open lrswipkxtea 1" || got[2] != "user30@example.org true INBOX lrswipkxtea 0" {
		t.Errorf("11 sees %q; want two of 10 and the six of the shared account", got)
	}
	if got := look(14); got != nil {
		t.Errorf("14 sees %q", got)
	}
	// A delegate has all rights in what is made later, also at the top.
	if _, err := r.Create(t.Context(), &storev1.CreateRequest{Account: 30, Actor: 11, Name: "Orders"}); err != nil {
		t.Errorf("a delegate cannot make a mailbox: %v", err)
	}
	if err := r.appendAs(t.Context(), 30, 11, "Orders"); err != nil {
		t.Errorf("a delegate cannot file in it: %v", err)
	}
}

// TestFlagsWithoutRight: what is not permitted stays as it is while the rest changes (RFC 4314 §4).
func TestFlagsWithoutRight(t *testing.T) {
	r := shared(t)
	r.share(t, "Team", "user11@example.org", "lrs")
	flag := func(actor uint64, mode storev1.FlagMode, flags ...string) {
		t.Helper()
		_, err := r.Flag(t.Context(), &storev1.FlagRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, Mode: mode, Flags: flags})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(deleted uint32, keywords ...string) {
		t.Helper()
		list, err := r.List(t.Context(), &storev1.ListRequest{Account: owner})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.GetMailboxes() {
			if m.GetName() == "Team" && (m.GetDeleted() != deleted || !slices.Equal(m.GetKeywords(), keywords)) {
				t.Errorf("%d deleted with keywords %q, want %d and %q", m.GetDeleted(), m.GetKeywords(), deleted, keywords)
			}
		}
	}
	flag(owner, storev1.FlagMode_FLAG_MODE_ADD, `\Deleted`)
	flag(actor, storev1.FlagMode_FLAG_MODE_REPLACE, `\Seen`)
	want(1)
	flag(actor, storev1.FlagMode_FLAG_MODE_REPLACE, `\Seen`, "$New")
	want(1)
	r.share(t, "Team", "user11@example.org", "lrt")
	flag(actor, storev1.FlagMode_FLAG_MODE_REPLACE)
	want(0)
}

// unseen wants the actor to have so many unseen messages in Team.
func (r *role) unseen(t *testing.T, want uint32) {
	t.Helper()
	resp, err := r.sharing.Unseen(t.Context(), &storev1.UnseenRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team")})
	if err != nil || resp.GetUnseen() != want {
		t.Errorf("the reader has %d unseen, %v; want %d", resp.GetUnseen(), err, want)
	}
}

// TestAppendOnce: a repeat adds nothing, tells the same, and leaves the reader's flags as they are by then.
func TestAppendOnce(t *testing.T) {
	r := shared(t)
	r.share(t, "Team", "user11@example.org", "lrswi")
	body := []byte("Subject: once\r\n\r\nhello\r\n")
	start := startPart(owner, "Team", len(body), `\Seen`)
	start.GetStart().Actor, start.GetStart().Operation = actor, []byte("0123456789abcdef")
	first, err := r.append(t.Context(), start, dataPart(body), endPart)
	if err != nil {
		t.Fatal(err)
	}
	r.unseen(t, 1)
	team := &storev1.FlagRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, Mode: storev1.FlagMode_FLAG_MODE_REMOVE, Flags: []string{`\Seen`}}
	if _, err := r.Flag(t.Context(), team); err != nil {
		t.Fatal(err)
	}
	r.unseen(t, 2)
	again, err := r.append(t.Context(), start, dataPart(body), endPart)
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("again %v, %v; want %v", again, err, first)
	}
	r.unseen(t, 2)
	if n := r.list(t, owner)["Team"].GetMessages(); n != 2 {
		t.Errorf("%d messages, want the one that was there and the new one", n)
	}
	// The mailbox may be gone meanwhile.
	if _, err := r.Delete(t.Context(), &storev1.DeleteRequest{Account: owner, Name: "Team"}); err != nil {
		t.Fatal(err)
	}
	start.GetStart().Actor = 0
	if again, err = r.append(t.Context(), start, dataPart(body), endPart); err != nil || again.GetUidValidity() != first.GetUidValidity() || again.GetMailbox() != 0 {
		t.Errorf("after the mailbox was deleted %v, %v", again, err)
	}
	start.GetStart().Operation = []byte("short")
	if _, err = r.append(t.Context(), start, dataPart(body), endPart); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a short operation: %v, want INVALID_ARGUMENT", err)
	}
}

// TestCopyToOnce: a copy to another account happens once, whatever its caller heard of it; a move expunges behind it.
func TestCopyToOnce(t *testing.T) {
	r := shared(t)
	r.share(t, "Team", "user11@example.org", "lrswite")
	if err := r.appendAs(t.Context(), actor, 0, "INBOX", `\Seen`, "$Work"); err != nil {
		t.Fatal(err)
	}
	req := &storev1.CopyToRequest{
		Account: actor, Actor: actor, Mailbox: r.box(t, actor, "INBOX"), Uids: everyUID, TargetAccount: owner, Target: "Team",
		Operation: []byte("0123456789abcdef"),
	}
	count := func(account uint64, name string) uint32 {
		t.Helper()
		list, err := r.List(t.Context(), &storev1.ListRequest{Account: account})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.GetMailboxes() {
			if m.GetName() == name {
				return m.GetMessages()
			}
		}
		return 0
	}
	first, err := r.sharing.CopyTo(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.sharing.CopyTo(t.Context(), req)
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("again %v, %v; want %v", again, err, first)
	}
	if n := count(owner, "Team"); n != 2 {
		t.Errorf("%d messages in the target, want the one that was there and the copy", n)
	}
	// The reader has his flags with the copies; a repeat does not undo what he did with them since.
	r.unseen(t, 1)
	team := &storev1.FlagRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, Mode: storev1.FlagMode_FLAG_MODE_REMOVE, Flags: []string{`\Seen`}}
	if _, err := r.Flag(t.Context(), team); err != nil {
		t.Fatal(err)
	}
	r.unseen(t, 2)
	if _, err := r.sharing.CopyTo(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	r.unseen(t, 2)
	req.Operation = make([]byte, 16)
	if _, err := r.sharing.CopyTo(t.Context(), req); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an operation without a name: %v, want INVALID_ARGUMENT", err)
	}
	req.Operation, req.Move = []byte("fedcba9876543210"), true
	for range 2 {
		if _, err := r.sharing.CopyTo(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if in, out := count(owner, "Team"), count(actor, "INBOX"); in != 3 || out != 0 {
		t.Errorf("after a move that was repeated %d in the target and %d in the source, want 3 and 0", in, out)
	}
	// The reader's \Seen is his own in the target.
	resp, err := r.sharing.Unseen(t.Context(), &storev1.UnseenRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team")})
	if err != nil || resp.GetUnseen() != 2 {
		t.Errorf("the reader has %d unseen, %v; want 2", resp.GetUnseen(), err)
	}
	if resp, err = r.sharing.Unseen(t.Context(), &storev1.UnseenRequest{Account: owner, Mailbox: r.box(t, owner, "Team")}); err != nil || resp.GetUnseen() != 3 {
		t.Errorf("the owner has %d unseen, %v; want 3", resp.GetUnseen(), err)
	}
	// Without i in the target, and without r in a source, nothing is copied.
	r.share(t, "Team", "user11@example.org", "lr")
	req.Operation, req.Move = []byte("yet another one."), false
	if _, err := r.sharing.CopyTo(t.Context(), req); status.Code(err) != codes.PermissionDenied {
		t.Errorf("without i: %v, want PERMISSION_DENIED", err)
	}
	back := &storev1.CopyToRequest{
		Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, TargetAccount: actor, Target: "INBOX",
		Operation: []byte("and the other wa"), Move: true,
	}
	if _, err := r.sharing.CopyTo(t.Context(), back); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a move without t and e: %v, want PERMISSION_DENIED", err)
	}
	r.share(t, "Team", "user11@example.org", "li")
	back.Move = false
	if _, err := r.sharing.CopyTo(t.Context(), back); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a copy without r: %v, want PERMISSION_DENIED", err)
	}
}

// TestCountUnseen: one call counts in mailboxes of several accounts, and tells nothing of what the actor may not read.
func TestCountUnseen(t *testing.T) {
	r := shared(t)
	r.share(t, "Team", "user11@example.org", "lrs")
	if err := r.appendAs(t.Context(), actor, 0, "INBOX"); err != nil {
		t.Fatal(err)
	}
	of := func(account uint64, name string) *storev1.SharedMailbox {
		return &storev1.SharedMailbox{Account: account, Mailbox: r.box(t, account, name)}
	}
	req := &storev1.CountUnseenRequest{Actor: actor, Mailboxes: []*storev1.SharedMailbox{
		of(owner, "INBOX"), of(owner, "Team"), of(actor, "INBOX"), {Account: owner, Mailbox: 1 << 40},
	}}
	want := []*storev1.UnseenCount{{}, {Unseen: 1, Readable: true}, {Unseen: 1, Readable: true}, {}}
	check := func() {
		t.Helper()
		resp, err := r.sharing.CountUnseen(t.Context(), req)
		if err != nil || len(resp.GetCounts()) != len(want) {
			t.Fatalf("%v, %v", resp, err)
		}
		for i := range want {
			if !proto.Equal(resp.GetCounts()[i], want[i]) {
				t.Errorf("mailbox %d: %v, want %v", i, resp.GetCounts()[i], want[i])
			}
		}
	}
	check()
	seen := &storev1.FlagRequest{Account: owner, Actor: actor, Mailbox: r.box(t, owner, "Team"), Uids: everyUID, Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Seen`}}
	if _, err := r.Flag(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	want[1].Unseen = 0
	check()
	req.Mailboxes = make([]*storev1.SharedMailbox, 10_001)
	if _, err := r.sharing.CountUnseen(t.Context(), req); status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many: %v, want INVALID_ARGUMENT", err)
	}
}
