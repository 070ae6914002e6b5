package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// RestoreDeps is what restoring needs.
type RestoreDeps struct {
	Store     storev1.BackupsClient
	Mailboxes storev1.MailboxesClient
	Imports   storev1.ImportsClient
	Directory directoryv1.BackupsClient
	// Names and Accounts are the directory's other doors.
	Names    directoryv1.DirectoryClient
	Accounts directoryv1.AccountsClient
	Removed  directoryv1.RemovedAccountsClient
	// Retention tells the rules and holds of accounts that live; nil where these are not compared.
	Retention storev1.RetentionClient
	Repo      *repo.Repo
	// SkipDamaged files a word in the place of a message whose body is damaged or missing in the repository, where restoring
	// ends otherwise: another copy of the repository may have it whole.
	SkipDamaged bool
	// Say is told how far it is.
	Say func(Restored)
}

// Restored counts what was restored. A repeat finds what is there, and goes on.
type Restored struct {
	// Accounts were put back as they were; Merged lived, or live under another id, and got what they lacked.
	Accounts int `json:"accounts"`
	Merged   int `json:"merged"`
	// Messages were written by this run, Present were there.
	Messages int64 `json:"messages"`
	Present  int64 `json:"present"`
	Octets   int64 `json:"octets"`
	// Queued are messages that are held in the queue now; Known are those that the farm knew.
	Queued uint64 `json:"queued"`
	Known  uint64 `json:"known"`
	// Unreadable are messages that the backup has no whole body of.
	Unreadable int64 `json:"unreadable"`
	// Rules are limits and rules of domains and of all that this run brought back, by what people call them.
	Rules []string `json:"rules"`
	// Conflicts are sentences about what is there in another way, and stays so.
	Conflicts []string `json:"conflicts"`
}

type restore struct {
	RestoreDeps
	snap *repo.Snapshot
	out  *Restored
	// stored are bodies that this process put back, by their digests: a letter to many is stored once.
	stored map[[20]byte][]byte
	// removed are accounts that the directory could bring back when the restore began; nil before it is asked.
	removed map[uint64]bool
}

func newRestore(snap *repo.Snapshot, deps RestoreDeps) *restore {
	return &restore{RestoreDeps: deps, snap: snap, out: &Restored{Rules: []string{}, Conflicts: []string{}}, stored: map[[20]byte][]byte{}}
}

func (r *restore) conflict(format string, args ...any) {
	r.out.Conflicts = append(r.out.Conflicts, fmt.Sprintf(format, args...))
}

// All restores everything: an account's mail before the directory knows it, so that nobody meets half of it; the queue last,
// of which nothing goes out before an operator releases it.
func All(ctx context.Context, snap *repo.Snapshot, deps RestoreDeps) (*Restored, error) {
	r := newRestore(snap, deps)
	lines := map[uint64]accountLine{}
	for _, object := range snap.Accounts {
		if err := eachAccount(ctx, r.Repo, object, func(l accountLine) error {
			lines[l.Account] = l
			return nil
		}); err != nil {
			return r.out, fmt.Errorf("read snapshot %s: %w", snap.Name, err)
		}
	}
	// What keeps mail is there ahead of the mail, and what takes it away behind it.
	if err := r.farm(ctx, keeps); err != nil {
		return r.out, err
	}
	err := r.eachRecord(ctx, func(rec *directoryv1.Record) error {
		a := rec.GetAccount()
		if a == nil {
			return r.load(ctx, rec)
		}
		if err := r.account(ctx, rec, lines[a.GetId()]); err != nil {
			return fmt.Errorf("account %s: %w", a.GetAddress(), err)
		}
		return nil
	})
	if err == nil {
		err = r.farm(ctx, func(t *whole.Table, v values) bool { return !keeps(t, v) })
	}
	if err != nil {
		return r.out, err
	}
	for _, object := range snap.Queue {
		if err := r.queue(ctx, object); err != nil {
			return r.out, fmt.Errorf("queue: %w", err)
		}
	}
	return r.out, nil
}

// eachRecord hands over what the directory had, in its order.
func (r *restore) eachRecord(ctx context.Context, each func(*directoryv1.Record) error) error {
	for _, object := range r.snap.Directory {
		b, err := readObject(ctx, r.Repo, object)
		if err != nil {
			return fmt.Errorf("read the directory of snapshot %s: %w", r.snap.Name, err)
		}
		err = repo.EachLine(strings.NewReader(string(b)), func(line []byte) error {
			rec := &directoryv1.Record{}
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, rec); err != nil {
				return fmt.Errorf("%w: %w", ErrLine, err)
			}
			return each(rec)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// load puts a record back into the directory.
func (r *restore) load(ctx context.Context, rec *directoryv1.Record) error {
	resp, err := r.Directory.Load(ctx, &directoryv1.LoadRequest{Records: []*directoryv1.Record{rec}})
	if err != nil {
		return err
	}
	if len(resp.GetOutcomes()) == 1 && resp.GetOutcomes()[0].GetConflict() != "" {
		r.conflict("%s: %s", nameOf(rec), resp.GetOutcomes()[0].GetConflict())
	}
	return nil
}

func nameOf(rec *directoryv1.Record) string {
	switch what := rec.GetWhat().(type) {
	case *directoryv1.Record_Domain:
		return "domain " + what.Domain.GetName()
	case *directoryv1.Record_Account:
		return "account " + what.Account.GetAddress()
	case *directoryv1.Record_Alias:
		return "alias " + what.Alias.GetAddress()
	case *directoryv1.Record_Group:
		return "group " + what.Group.GetName()
	}
	return "something of a later version"
}

// standing is what the farm has of an account's id and address.
type standing struct {
	// lives is the account's own id, other the id of another account that has the address.
	lives   bool
	removed bool
	other   uint64
}

func (r *restore) standing(ctx context.Context, a *directoryv1.StoredAccount) (s standing, err error) {
	who, err := r.Removed.Who(ctx, &directoryv1.WhoRequest{Ids: []uint64{a.GetId()}})
	if err != nil {
		return s, err
	}
	s.lives = len(who.GetAddresses()) == 1 && who.GetAddresses()[0] != ""
	if r.removed == nil {
		list, err := r.Removed.ListRemoved(ctx, &directoryv1.ListRemovedRequest{})
		if err != nil {
			return s, err
		}
		r.removed = map[uint64]bool{}
		for _, m := range list.GetAccounts() {
			r.removed[m.GetId()] = true
		}
	}
	s.removed = !s.lives && r.removed[a.GetId()]
	found, err := r.Names.Resolve(ctx, &directoryv1.ResolveRequest{Addresses: []string{a.GetAddress()}})
	if err != nil {
		return s, err
	}
	if len(found.GetResolutions()) == 1 {
		if f := found.GetResolutions()[0]; f.GetKind() == directoryv1.Kind_KIND_ACCOUNT && f.GetAccount() != a.GetId() && strings.EqualFold(f.GetAddress(), a.GetAddress()) {
			s.other = f.GetAccount()
		}
	}
	return s, nil
}

// account restores one: as it was where there is nothing of it, and else what it lacks.
func (r *restore) account(ctx context.Context, rec *directoryv1.Record, line accountLine) error {
	a := rec.GetAccount()
	s, err := r.standing(ctx, a)
	if err != nil {
		return err
	}
	gone := a.GetRemovedNs() != 0
	switch {
	case s.lives && gone, s.removed && gone:
		return nil // it was on its way out
	case s.removed:
		// Its mail is there still, by its id.
		if err := r.load(ctx, rec); err != nil {
			return err
		}
		return r.merge(ctx, line, a.GetId(), mergeAll())
	case s.lives:
		return r.merge(ctx, line, a.GetId(), mergeAll())
	case s.other != 0 && gone:
		r.conflict("account %s, removed: there is another account of this address, so that it cannot be kept", a.GetAddress())
		return nil
	case s.other != 0:
		fresh, err := r.fresh(ctx, s.other)
		if err != nil {
			return err
		}
		if fresh {
			// It was made with the farm, for an account that comes back now.
			if _, err := r.Accounts.RemoveAccount(ctx, &directoryv1.RemoveAccountRequest{Address: a.GetAddress()}); err != nil {
				return err
			}
			break
		}
		r.conflict("account %s has another id here: what it lacks was added to it", a.GetAddress())
		return r.merge(ctx, line, s.other, mergeAll())
	}
	dropped, err := r.exact(ctx, line, a.GetId())
	if err != nil {
		return err
	}
	if dropped {
		if gone {
			return nil
		}
		return r.anew(ctx, a, a.GetAddress(), line)
	}
	r.out.Accounts++
	return r.load(ctx, rec)
}

// fresh tells that an account has no mailboxes, and had none.
func (r *restore) fresh(ctx context.Context, id uint64) (bool, error) {
	resp, err := r.Mailboxes.Counters(ctx, &storev1.CountersRequest{Accounts: []uint64{id}})
	if err != nil {
		return false, err
	}
	return len(resp.GetModSeqs()) == 1 && resp.GetModSeqs()[0] == 0, nil
}

// anew makes an account with another id, and the password that it had, for the mail of one.
func (r *restore) anew(ctx context.Context, a *directoryv1.StoredAccount, address string, line accountLine) error {
	if _, err := r.find(ctx, address); err != nil {
		stream, err := r.Accounts.ImportAccounts(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(&directoryv1.ImportAccountsRequest{Address: address, Secret: a.GetCredential()}); err != nil {
			return err
		}
		resp, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		if f := resp.GetFaults(); len(f) > 0 {
			return fmt.Errorf("make account %s: %s", address, f[0].GetProblem())
		}
	}
	id, err := r.find(ctx, address)
	if err != nil {
		return err
	}
	return r.merge(ctx, line, id, mergeAll())
}

// find is the id of an account that lives.
func (r *restore) find(ctx context.Context, address string) (uint64, error) {
	resp, err := r.Names.Resolve(ctx, &directoryv1.ResolveRequest{Addresses: []string{address}})
	if err != nil {
		return 0, err
	}
	if len(resp.GetResolutions()) == 1 && resp.GetResolutions()[0].GetKind() == directoryv1.Kind_KIND_ACCOUNT {
		return resp.GetResolutions()[0].GetAccount(), nil
	}
	return 0, fmt.Errorf("there is no account %s: restore it first, by `mailfarm restore account`", address)
}

// lookUp finds an account of the snapshot by its address; one that lived then before one that was removed.
func (r *restore) lookUp(ctx context.Context, address string) (rec *directoryv1.Record, line accountLine, err error) {
	err = r.eachRecord(ctx, func(x *directoryv1.Record) error {
		if a := x.GetAccount(); a != nil && strings.EqualFold(a.GetAddress(), address) && (rec == nil || a.GetRemovedNs() == 0) {
			rec = x
		}
		return nil
	})
	if err != nil {
		return nil, line, err
	}
	if rec == nil {
		return nil, line, fmt.Errorf("snapshot %s has no account %s", r.snap.Name, address)
	}
	for _, object := range r.snap.Accounts {
		if err := eachAccount(ctx, r.Repo, object, func(l accountLine) error {
			if l.Account == rec.GetAccount().GetId() {
				line = l
			}
			return nil
		}); err != nil {
			return nil, line, err
		}
	}
	return rec, line, nil
}

// Account restores an account, or, with as, its mail into an account of another address, which is made where it is not there.
func Account(ctx context.Context, snap *repo.Snapshot, deps RestoreDeps, address, as string) (*Restored, error) {
	r := newRestore(snap, deps)
	rec, line, err := r.lookUp(ctx, address)
	if err != nil {
		return r.out, err
	}
	if as != "" && !strings.EqualFold(as, address) {
		return r.out, r.anew(ctx, rec.GetAccount(), as, line)
	}
	rec.GetAccount().RemovedNs = 0
	return r.out, r.account(ctx, rec, line)
}

// Folder restores what a folder lacks, or, with into, all that it had into another one.
func Folder(ctx context.Context, snap *repo.Snapshot, deps RestoreDeps, address, folder, into string) (*Restored, error) {
	return part(ctx, snap, deps, address, merging{folder: folder, into: into})
}

// Message restores a message by its email id, with the flags it had, to the folder where it was.
func Message(ctx context.Context, snap *repo.Snapshot, deps RestoreDeps, address string, email uint64, into string) (*Restored, error) {
	return part(ctx, snap, deps, address, merging{email: email, into: into})
}

func part(ctx context.Context, snap *repo.Snapshot, deps RestoreDeps, address string, m merging) (*Restored, error) {
	r := newRestore(snap, deps)
	_, line, err := r.lookUp(ctx, address)
	if err != nil {
		return r.out, err
	}
	id, err := r.find(ctx, address)
	if err != nil {
		return r.out, err
	}
	if err := r.merge(ctx, line, id, m); err != nil {
		return r.out, err
	}
	if r.out.Messages+r.out.Present == 0 {
		return r.out, fmt.Errorf("snapshot %s has nothing of that in account %s: see `mailfarm restore list`", snap.Name, address)
	}
	return r.out, nil
}

// stringOf reads a field of a line; empty where it is none.
func stringOf(fields map[string]json.RawMessage, name string) (s string) {
	if json.Unmarshal(fields[name], &s) != nil {
		return ""
	}
	return s
}
