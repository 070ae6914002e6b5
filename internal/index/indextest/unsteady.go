package indextest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Trouble is what befalls the way to a database.
type Trouble struct {
	// Begin lets calls with the context that it gives fail now and then, until End.
	Begin func(context.Context, *rand.Rand) context.Context
	End   func()
	// Settle returns once nothing of earlier calls is under way in the database any more.
	Settle func(context.Context) error
	// Struck is how often a call was befallen.
	Struck func() int
}

// RunUnsteady plays random histories of calls that fail now and then: what returned without error is there, what returned
// an error is there in whole or not at all, a repeated delivery has its effect once, and what is read is never anything else.
func RunUnsteady(t *testing.T, s Subject, trouble Trouble) {
	steps := 300
	if testing.Short() {
		steps = 100
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d steps", seed, steps)
	u := &unsteady{T: t, s: s, trouble: trouble, rand: rand.New(rand.NewPCG(seed, 0)), account: 7, boxes: map[string]mailbox.ID{}, filed: map[uint32]bool{}}
	if _, _, err := s.Mailboxes.Create(t.Context(), u.account, "Other", ""); err != nil {
		t.Fatal(err)
	}
	list, _, err := s.Mailboxes.List(t.Context(), u.account)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		u.boxes[m.Name] = m.ID
	}
	u.now = u.mustRead()
	for range steps {
		u.step()
	}
	t.Logf("%d of %d calls failed, %d of them with all of their effect; struck %d times", u.failed, steps, u.whole, trouble.Struck())
	if trouble.Struck() == 0 || u.failed == 0 {
		t.Error("no call was befallen: the test shows nothing")
	}
}

// unsteady is one history with its model.
type unsteady struct {
	*testing.T
	s       Subject
	trouble Trouble
	rand    *rand.Rand
	account mailbox.AccountID
	boxes   map[string]mailbox.ID
	now     content
	work    []index.Delivery
	// filed are the messages that were delivered; fresh those that the step at hand delivers.
	filed map[uint32]bool
	fresh []uint32
	// failed calls, and those of them that had their effect.
	failed, whole int
}

// content is an account as it is, or must be: its MODSEQ and its two mailboxes.
type content struct {
	seq   mailbox.ModSeq
	boxes map[string]folder
}

type folder struct {
	next    mailbox.UID
	highest mailbox.ModSeq
	entries []item
}

// item is an entry; which names its message.
type item struct {
	uid   mailbox.UID
	which uint32
	flags string
	seq   mailbox.ModSeq
}

func (c content) clone() content {
	out := content{c.seq, map[string]folder{}}
	for name, f := range c.boxes {
		f.entries = slices.Clone(f.entries)
		out.boxes[name] = f
	}
	return out
}

// String is the same for what may be the same: within a batch an implementation may file in any order.
func (c content) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "MODSEQ %d", c.seq)
	for _, name := range []string{index.Inbox, "Other"} {
		f := c.boxes[name]
		batches := map[mailbox.ModSeq][]uint32{}
		fmt.Fprintf(&b, "\n%s UIDNEXT %d, HIGHESTMODSEQ %d:", name, f.next, f.highest)
		for _, e := range f.entries {
			fmt.Fprintf(&b, " %d(%s)@%d", e.uid, e.flags, e.seq)
			batches[e.seq] = append(batches[e.seq], e.which)
		}
		for _, which := range batches {
			slices.Sort(which)
		}
		fmt.Fprintf(&b, " messages by MODSEQ %v", batches)
	}
	return b.String()
}

// add puts messages at the end of a mailbox.
func (c *content) add(name string, flags string, which ...uint32) {
	c.seq++
	f := c.boxes[name]
	for _, w := range which {
		f.entries = append(f.entries, item{f.next, w, flags, c.seq})
		f.next++
	}
	f.highest = c.seq
	c.boxes[name] = f
}

// step makes one call, in trouble, and compares what is there with what may be there.
func (u *unsteady) step() {
	name, other := index.Inbox, "Other"
	if u.rand.IntN(2) == 0 {
		name, other = other, name
	}
	after := u.now.clone()
	u.fresh = nil
	var call func(context.Context) error
	switch u.rand.IntN(6) {
	case 0, 1:
		call = u.deliver()
	case 2:
		call = u.append(&after, name)
	case 3:
		call = u.flag(&after, name)
	case 4:
		call = u.move(&after, name, other)
	case 5:
		call = u.expunge(&after, name)
	}
	ctx := u.trouble.Begin(u.Context(), u.rand)
	err := call(ctx)
	seen, readErr := u.read(ctx)
	u.trouble.End()
	if serr := u.trouble.Settle(u.Context()); serr != nil {
		u.Fatalf("settle: %v", serr)
	}
	is := u.mustRead()
	if err == nil && readErr == nil && seen.String() != is.String() {
		u.Fatalf("read in trouble:\n%v\nwant\n%v", seen, is)
	}
	whole := is.String() == after.String()
	if len(u.fresh) > 0 {
		whole = u.file(is)
		after = is
	}
	switch {
	case err == nil && !whole:
		u.Fatalf("a call succeeded; there is\n%v\nwant\n%v", is, after)
	case err != nil && is.String() != after.String() && is.String() != u.now.String():
		u.Fatalf("a call failed with %v; there is\n%v\nwant\n%v\nor\n%v", err, is, u.now, after)
	}
	if err != nil {
		u.failed++
		if whole {
			u.whole++
		}
	}
	u.now = is
}

// file compares with what was there before a batch of deliveries. Each is filed once or not at all: a batch that failed is
// tried one by one. It tells whether all are filed.
func (u *unsteady) file(is content) (all bool) {
	before, inbox := u.now.boxes[index.Inbox], is.boxes[index.Inbox]
	n := len(before.entries)
	if !slices.Equal(inbox.entries[:min(n, len(inbox.entries))], before.entries) || fmt.Sprint(is.boxes["Other"]) != fmt.Sprint(u.now.boxes["Other"]) {
		u.Fatalf("deliveries changed something else: there is\n%v\nwas\n%v", is, u.now)
	}
	next, seq := before.next, u.now.seq
	for _, e := range inbox.entries[n:] {
		if e.uid != next || e.seq < seq || e.seq > seq+1 || e.flags != "" || !slices.Contains(u.fresh, e.which) || u.filed[e.which] {
			u.Fatalf("deliveries of %v: entry %+v of\n%v\nwas\n%v", u.fresh, e, is, u.now)
		}
		u.filed[e.which] = true
		next, seq = next+1, e.seq
	}
	if inbox.next != next || is.seq != seq {
		u.Fatalf("deliveries of %v: there is\n%v\nwas\n%v", u.fresh, is, u.now)
	}
	return len(inbox.entries)-n == len(u.fresh)
}

// mustRead reads without trouble.
func (u *unsteady) mustRead() content {
	u.Helper()
	c, err := u.read(u.Context())
	if err != nil {
		u.Fatalf("read: %v", err)
	}
	return c
}

// read reads everything that can be read of the account, and fails the test where its counters are not those of its entries.
func (u *unsteady) read(ctx context.Context) (content, error) {
	list, seq, err := u.s.Mailboxes.List(ctx, u.account)
	if err != nil {
		return content{}, err
	}
	c := content{seq, map[string]folder{}}
	for _, m := range list {
		if m.Name != index.Inbox && m.Name != "Other" {
			continue
		}
		var v view
		if err := u.s.update(ctx, u.account, m.ID, 0, &v); err != nil {
			return c, err
		}
		f := folder{next: v.mailbox.UIDNext, highest: v.mailbox.HighestModSeq}
		var ids []mailbox.EmailID
		for _, e := range v.entries() {
			ids = append(ids, e.Email)
		}
		emails, err := u.s.Mailboxes.Emails(ctx, u.account, ids, false)
		if err != nil {
			return c, err
		}
		which := map[mailbox.EmailID]uint32{}
		for _, e := range emails {
			which[e.ID] = e.Blob.Segment
		}
		var size int64
		for _, e := range v.entries() {
			if which[e.Email] == 0 {
				u.Fatalf("%s: entry %d is of no email", m.Name, e.UID)
			}
			size += e.Size
			f.entries = append(f.entries, item{e.UID, which[e.Email], joinFlags(e.Flags.Names(nil)), e.ModSeq})
		}
		if int(v.mailbox.Messages) != len(f.entries) || v.mailbox.Size != size {
			u.Fatalf("%s counts %d messages of %d octets, and has %d of %d", m.Name, v.mailbox.Messages, v.mailbox.Size, len(f.entries), size)
		}
		c.boxes[m.Name] = f
	}
	return c, nil
}

// deliver hands in new work and, often, old; a batch that failed stays work, so that it is repeated.
func (u *unsteady) deliver() func(context.Context) error {
	for range 1 + u.rand.IntN(3) {
		u.work = append(u.work, u.s.newDelivery(u, u.account))
	}
	batch := slices.Clone(u.work[max(0, len(u.work)-1-u.rand.IntN(8)):])
	for _, d := range batch {
		if !u.filed[d.Blob.Segment] {
			u.fresh = append(u.fresh, d.Blob.Segment)
		}
	}
	return func(ctx context.Context) error {
		results, err := u.s.Mailboxes.Deliver(ctx, batch)
		if err != nil {
			return err
		}
		var errs []error
		for i, r := range results {
			d := batch[i]
			switch r.Status {
			case index.Delivered, index.Duplicate:
				if r.Status == index.Delivered && u.filed[d.Blob.Segment] {
					u.Errorf("message %d was filed before, and now it is said to be new", d.Blob.Segment)
				}
			case index.Failed:
				errs = append(errs, r.Err)
			default:
				u.Errorf("message %d: %+v", d.Blob.Segment, r)
			}
		}
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
		u.trouble.End()
		for _, d := range batch {
			if state, err := u.s.State(d.QueueID, d.Number); err != nil || state != storev1.State_STATE_DELIVERED {
				u.Errorf("message %d is filed, and in the ledger it is %v, %v", d.Blob.Segment, state, err)
			}
		}
		return nil
	}
}

// append adds messages to a mailbox, some of them seen.
func (u *unsteady) append(after *content, name string) func(context.Context) error {
	flags := [][]string{nil, {`\Seen`}}[u.rand.IntN(2)]
	var list []index.Message
	var which []uint32
	for range 1 + u.rand.IntN(3) {
		m := newMessage(1000, flags...)
		list, which = append(list, m), append(which, m.Blob.Segment)
	}
	after.add(name, joinFlags(flags), which...)
	return func(ctx context.Context) error {
		_, err := u.s.Mailboxes.Append(ctx, u.account, name, list)
		return err
	}
}

// some draws a few of a mailbox's entries.
func (u *unsteady) some(f folder) (set mailbox.UIDSet, has map[mailbox.UID]bool) {
	has = map[mailbox.UID]bool{}
	var ranges []mailbox.UIDRange
	for range min(len(f.entries), 1+u.rand.IntN(4)) {
		uid := f.entries[u.rand.IntN(len(f.entries))].uid
		ranges, has[uid] = append(ranges, mailbox.UIDRange{First: uid, Last: uid}), true
	}
	return mailbox.NewUIDSet(ranges...), has
}

// flag sets or takes away a flag.
func (u *unsteady) flag(after *content, name string) func(context.Context) error {
	set, has := u.some(after.boxes[name])
	change := index.FlagChange{Account: u.account, Mailbox: u.boxes[name], UIDs: set, Mode: index.ReplaceFlags,
		Flags: [][]string{nil, {`\Seen`}, {`\Flagged`}}[u.rand.IntN(3)]}
	f := after.boxes[name]
	changed := false
	for i, e := range f.entries {
		if has[e.uid] && e.flags != joinFlags(change.Flags) {
			if !changed {
				changed = true
				after.seq++
			}
			f.entries[i].flags, f.entries[i].seq, f.highest = joinFlags(change.Flags), after.seq, after.seq
		}
	}
	after.boxes[name] = f
	return func(ctx context.Context) error {
		_, err := u.s.Mailboxes.Flag(ctx, change)
		return err
	}
}

// take removes entries and returns them.
func (c *content) take(name string, has map[mailbox.UID]bool) (taken []item) {
	f := c.boxes[name]
	f.entries = slices.DeleteFunc(f.entries, func(e item) bool {
		if has[e.uid] {
			taken = append(taken, e)
		}
		return has[e.uid]
	})
	if len(taken) > 0 {
		c.seq++
		f.highest = c.seq
	}
	c.boxes[name] = f
	return taken
}

func (u *unsteady) move(after *content, from, to string) func(context.Context) error {
	set, has := u.some(after.boxes[from])
	taken := after.take(from, has)
	target := after.boxes[to]
	for _, e := range taken {
		target.entries = append(target.entries, item{target.next, e.which, e.flags, after.seq})
		target.next++
		target.highest = after.seq
	}
	after.boxes[to] = target
	return func(ctx context.Context) error {
		_, err := u.s.Mailboxes.Move(ctx, u.account, u.boxes[from], set, to)
		return err
	}
}

func (u *unsteady) expunge(after *content, name string) func(context.Context) error {
	set, has := u.some(after.boxes[name])
	after.take(name, has)
	return func(ctx context.Context) error {
		_, err := u.s.Mailboxes.Expunge(ctx, u.account, u.boxes[name], set, true)
		return err
	}
}
