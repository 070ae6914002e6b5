package imap

import (
	"crypto/sha256"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/metadata"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// notes are the entries of a mailbox as the client knows them: a digest of each value.
type notes map[string][sha256.Size]byte

// serverNotes is whose place among mailboxes the server's entries have.
const serverNotes = 0

// allNotes asks for all entries there are.
var allNotes = &metadataRequest{names: []string{metadata.Shared, metadata.Private}, depth: -1, maxSize: -1}

// compareNotes looks at the entries of mailboxes of which changes are wanted, and tells the names of those that changed since
// it looked last (RFC 5465 §5.6, RFC 5464 §4.4.2). With silent it only looks.
func (f *following) compareNotes(boxes []node, silent bool) error {
	ids := map[mailbox.AccountID][]uint64{}
	names := map[uint64]string{}
	for i := range boxes {
		n := &boxes[i]
		if f.wanted(n)&mailboxMetadata == 0 || !f.s.rights(n).Has(acl.Read) {
			delete(f.notes, n.GetId())
			continue
		}
		ids[n.owner] = append(ids[n.owner], n.GetId())
		names[n.GetId()] = n.GetName()
	}
	for owner, some := range ids {
		if err := f.compareNotesOf(owner, some, names, silent); err != nil {
			return err
		}
	}
	return nil
}

// compareServerNotes is compareNotes for the server's entries, if changes of them are wanted (RFC 5465 §5.7): those of this user,
// as the shared ones do not change while the server runs.
func (f *following) compareServerNotes(silent bool) error {
	if !slices.ContainsFunc(f.groups, func(g eventGroup) bool { return g.events&serverMetadata != 0 }) {
		return nil
	}
	return f.compareNotesOf(f.s.account, []uint64{serverNotes}, map[uint64]string{serverNotes: ""}, silent)
}

func (f *following) compareNotesOf(owner mailbox.AccountID, ids []uint64, names map[uint64]string, silent bool) error {
	there, err := f.s.askMetadata(owner, ids, allNotes)
	if owner != f.s.account && (status.Code(err) == codes.NotFound || status.Code(err) == codes.PermissionDenied) {
		return nil // the right went meanwhile
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		now := notes{}
		for _, a := range there[id] {
			now[a.GetName()] = sha256.Sum256(a.GetValue())
		}
		var changed []string
		for name, value := range now {
			if was, knew := f.notes[id][name]; !knew || was != value {
				changed = append(changed, name)
			}
		}
		for name := range f.notes[id] {
			if _, is := now[name]; !is {
				changed = append(changed, name)
			}
		}
		f.notes[id] = now
		if len(changed) > 0 && !silent {
			slices.Sort(changed)
			f.tellNotes(names[id], changed)
		}
	}
	return nil
}

// tellNotes writes METADATA without values.
func (f *following) tellNotes(mailbox string, changed []string) {
	s := f.s
	b := wire.AppendMailbox(append(s.out.Take(), "* METADATA "...), mailbox, s.utf8OK())
	for _, name := range changed {
		b = wire.AppendAString(append(b, ' '), name, true)
	}
	s.out.Give(append(b, "\r\n"...))
}

// changedOwn takes note of entries that this session changed itself, which it is not told of.
func (f *following) changedOwn(id uint64, changes []*storev1.AnnotationChange) {
	was, watched := f.notes[id]
	if !watched {
		return
	}
	now := maps.Clone(was)
	for _, c := range changes {
		if name, err := metadata.Name(c.GetName(), false); err != nil {
			continue
		} else if c.GetRemove() {
			delete(now, name)
		} else {
			now[name] = sha256.Sum256(c.GetValue())
		}
	}
	f.notes[id] = now
}
