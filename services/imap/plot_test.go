package imap_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// cast are the sessions of a history.
var cast = []part{
	{name: "plain"},
	{name: "condstore", enable: "CONDSTORE", process: 1, condstore: true},
	{name: "rev2", enable: "IMAP4rev2", rev2: true},
	{name: "qresync", enable: "QRESYNC", process: 1, condstore: true, quiet: true},
	{name: "uidonly", enable: "UIDONLY QRESYNC", condstore: true, quiet: true, uidonly: true},
	{name: "guest", process: 1, other: true},
	{name: "reader", process: 1, readOnly: true},
}

// deed is what a session may do, and how often of all.
type deed struct {
	name   string
	weight int
	do     func(p *plot, v *viewer, s step)
}

var deeds []deed

func init() {
	deeds = []deed{
		{"store", 26, (*plot).store}, {"fetch", 8, (*plot).fetch}, {"read", 6, (*plot).read}, {"expunge", 6, (*plot).expunge},
		{"uid expunge", 4, (*plot).uidExpunge}, {"copy", 5, (*plot).copy}, {"move", 4, (*plot).move}, {"append", 9, (*plot).append},
		{"noop", 10, (*plot).noop}, {"search", 6, (*plot).search}, {"status", 5, (*plot).status}, {"since", 4, (*plot).since},
		{"select", 3, (*plot).reselect}, {"idle", 5, (*plot).idle}, {"purge", 2, (*plot).purge},
	}
}

func weights() (sum int) {
	for _, d := range deeds {
		sum += d.weight
	}
	return sum
}

func deedOf(op int) deed {
	for _, d := range deeds {
		if op -= d.weight; op < 0 {
			return d
		}
	}
	panic("no such deed")
}

// quotaMessages is how many messages the owner may have: few enough to be reached.
const quotaMessages = 40

// entry is a message of the model.
type entry struct {
	uid   int
	flags []string        // of all, sorted; without \Seen
	seen  map[string]bool // by user
}

// plot is a history with its model: what is in the mailbox. Sessions act one after the other.
type plot struct {
	t           trial
	f           *farm
	owner, name string // the owner's address, and the guest's
	account     uint64
	archive     uint64
	at          string

	box      []*entry
	next     int // above all UIDs so far
	archived int
	viewers  []*viewer
	learners map[string]*watcher // by user; see learn
	// recent is when somebody was first told that a UID is \Recent: who selects later may not be (RFC 3501 §2.3.2). Which of
	// those who have the mailbox selected already are told is undefined.
	recent map[int]int
	clock  int
	// versions are the flags that a user was told with a MODSEQ of a UID: others are told the same.
	versions map[string]string
}

func newPlot(t trial, f *farm) *plot {
	return &plot{t: t, f: f, next: 1, recent: map[int]int{}, versions: map[string]string{}, learners: map[string]*watcher{}}
}

func (p *plot) fail(format string, args ...any) {
	panic(broken(p.at + ": " + fmt.Sprintf(format, args...)))
}

func (p *plot) begin(addrs []string) {
	ctx := context.Background()
	p.owner, p.account = p.f.account(p.t)
	p.name, _ = p.f.account(p.t)
	list, err := p.f.mailboxes.List(ctx, &storev1.ListRequest{Account: p.account})
	check(p.t, err)
	for _, m := range list.GetMailboxes() {
		if m.GetName() == "Archive" {
			p.archive = m.GetId()
		}
	}
	_, err = p.f.sharing.SetACL(ctx, &storev1.SetACLRequest{Account: p.account, Mailbox: "INBOX", Identifier: p.name, Mode: storev1.ACLMode_ACL_MODE_REPLACE, Rights: "lrswite"})
	check(p.t, err)
	_, err = p.f.quotas.SetQuota(ctx, &storev1.SetQuotaRequest{Account: p.account, Limits: &storev1.QuotaLimits{Messages: quotaMessages}})
	check(p.t, err)
	p.f.fill(p.t, p.account, "INBOX", numbered(0, 12)...)
	for range 12 {
		p.box = append(p.box, &entry{uid: p.next, seen: map[string]bool{}})
		p.next++
	}
	for _, role := range cast {
		v := &viewer{part: role, user: p.owner, box: "INBOX", modSeqs: map[int]int{}}
		if role.other {
			v.user, v.box = p.name, quote("Other Users/"+p.owner+"/INBOX")
		}
		v.watcher = watchAt(p.t, addrs[role.process], v.user)
		v.t = p.t
		p.viewers = append(p.viewers, v)
		if role.enable != "" {
			v.run("ENABLE " + role.enable)
		}
		p.enter(v, "")
	}
}

// end compares all sessions, and the counters, a last time.
func (p *plot) end() {
	p.at = "at the end"
	for _, v := range p.viewers {
		p.wake(v)
		v.run("NOOP")
		p.settle(v)
		p.status(v, step{})
	}
}

func (p *plot) step(s step) {
	v := p.viewers[s.who]
	p.clock++
	p.wake(v)
	deedOf(s.op).do(p, v, s)
}

// enter selects the mailbox.
func (p *plot) enter(v *viewer, with string) {
	verb := "SELECT "
	if v.readOnly {
		verb = "EXAMINE "
	}
	if r := v.run(verb + v.box + with); !strings.HasPrefix(r, "OK") {
		p.fail("%s", r)
	}
	v.selected = p.clock
	p.settle(v)
}

// settle looks whether a session knows what it must know behind a command.
func (p *plot) settle(v *viewer) {
	alive := map[int]*entry{}
	for _, e := range p.box {
		alive[e.uid] = e
	}
	// New messages whose UIDs were not told are those above all that it knew, in order.
	top := 0
	for _, uid := range v.uids[:max(0, slices.Index(v.uids, 0))] {
		top = max(top, uid)
	}
	fresh := slices.DeleteFunc(slices.Clone(p.box), func(e *entry) bool { return e.uid <= top || slices.Contains(v.uids, e.uid) })
	for i, uid := range v.uids {
		if uid != 0 {
			continue
		}
		if len(fresh) == 0 {
			p.fail("%s was told of more messages than there are: %s", v.name, v.state())
		}
		v.uids[i], fresh = fresh[0].uid, fresh[1:]
	}
	if !slices.IsSorted(v.uids) || slices.Contains(v.uids, 0) {
		p.fail("UIDs of %s do not ascend: %s", v.name, v.state())
	}
	known := 0
	for i, uid := range v.uids {
		e := alive[uid]
		if e == nil {
			if !v.numbered {
				p.fail("%s was not told that UID %d is gone: %s", v.name, uid, v.state())
			}
			continue
		}
		known++
		want := e.flagsOf(v.user)
		if v.flags[i] == "?" { // what was never told is no fault: from now on it is
			v.flags[i] = want
		}
		if v.flags[i] != want {
			p.fail("%s was told that UID %d has (%s), it has (%s)", v.name, uid, v.flags[i], want)
		}
	}
	if known != len(p.box) {
		p.fail("%s knows %d messages, there are %d: %s", v.name, known, len(p.box), v.state())
	}
	p.claims(v)
}

// claims looks at \Recent and MODSEQ of the last answers.
func (p *plot) claims(v *viewer) {
	for _, line := range v.lines {
		m := fetchLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		u := uidItem.FindStringSubmatch(m[2])
		if u == nil {
			continue
		}
		uid, _ := strconv.Atoi(u[1])
		if recentClaimed.MatchString(m[2]) {
			switch told, ok := p.recent[uid]; {
			case v.rev2 || v.other:
				p.fail("%s was told of \\Recent: %s", v.name, line)
			case v.readOnly: // it sees, and takes nothing
			case !ok:
				p.recent[uid] = p.clock
			case told < v.selected:
				p.fail("UID %d is \\Recent to %s, who has selected behind another who was told so", uid, v.name)
			}
		}
		if s, f := modSeqItem.FindStringSubmatch(m[2]), flagsItem.FindStringSubmatch(m[2]); s != nil && f != nil {
			key := fmt.Sprint(v.user, " ", uid, " ", s[1])
			if had, ok := p.versions[key]; ok && had != sortFlags(f[1]) {
				p.fail("MODSEQ %s of UID %d stands for (%s) and for (%s)", s[1], uid, had, sortFlags(f[1]))
			}
			p.versions[key] = sortFlags(f[1])
		}
	}
}

func (e *entry) flagsOf(user string) string {
	all := slices.Clone(e.flags)
	if e.seen[user] {
		all = append(all, `\Seen`)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// snapshot is what a user sees.
func (p *plot) snapshot(user string) map[int]string {
	all := map[int]string{}
	for _, e := range p.box {
		all[e.uid] = e.flagsOf(user)
	}
	return all
}

// choose makes a set of a step, as UIDs or sequence numbers, and gives the messages it means.
func (p *plot) choose(v *viewer, s step, uid bool) (set string, meant []int) {
	if uid {
		a := 1 + s.a%(p.next+1)
		b := a + s.b%6
		for _, u := range v.uids { // those that it does not know of yet are not meant
			if a <= u && u <= b {
				meant = append(meant, u)
			}
		}
		return fmt.Sprintf("%d:%d", a, b), meant
	}
	if len(v.uids) == 0 {
		return "", nil
	}
	a := 1 + s.a%len(v.uids)
	b := min(len(v.uids), a+s.b%6)
	return fmt.Sprintf("%d:%d", a, b), slices.Clone(v.uids[a-1 : b])
}

// those are the messages of the model with such UIDs.
func (p *plot) those(uids []int) (found []*entry) {
	for _, e := range p.box {
		if slices.Contains(uids, e.uid) {
			found = append(found, e)
		}
	}
	return found
}

// remove takes messages out of the model.
func (p *plot) remove(gone func(*entry) bool) (n int) {
	before := len(p.box)
	p.box = slices.DeleteFunc(p.box, gone)
	return before - len(p.box)
}

// add takes new messages in, by the UIDs that an answer names.
func (p *plot) add(tagged string, entries []*entry) {
	m := newUIDs.FindStringSubmatch(tagged)
	if m == nil {
		p.fail("no UIDs in %q", tagged)
	}
	uids := numbersOf(p.t, m[1])
	if len(uids) != len(entries) {
		p.fail("%d UIDs in %q for %d messages", len(uids), tagged, len(entries))
	}
	for i, uid := range uids {
		if uid < p.next {
			p.fail("UID %d again, or not above all before: %q", uid, tagged)
		}
		p.next = uid + 1
		entries[i].uid = uid
		p.box = append(p.box, entries[i])
	}
}

// full tells whether so many messages more are too many, and looks whether the answer says the same.
func (p *plot) full(tagged string, more int) bool {
	over := len(p.box)+p.archived+more > quotaMessages
	if over != strings.Contains(tagged, "[OVERQUOTA]") || over == strings.HasPrefix(tagged, "OK") {
		p.fail("with %d messages and %d archived, %d more: %s", len(p.box), p.archived, more, tagged)
	}
	return over
}

// since asks what changed since a checkpoint; with it a client that went away knows all.
func (p *plot) since(v *viewer, s step) {
	if !v.quiet || v.mark == nil {
		p.noop(v, s)
		return
	}
	mark := v.mark
	var knew []int // those of which EXISTS told during the command it will ask for
	if v.name == "qresync" && s.c%2 == 0 {
		v.run("UNSELECT")
		v.modSeqs = map[int]int{}
		p.enter(v, fmt.Sprintf(" (QRESYNC (%d %d))", v.valid, mark.highest))
	} else {
		knew = slices.Clone(v.uids)
		v.run(fmt.Sprintf("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d VANISHED)", mark.highest))
		p.settle(v)
	}
	have := maps.Clone(mark.flags)
	maps.Copy(have, v.changed)
	for _, uid := range v.earlier { // a UID never comes back
		delete(have, uid)
	}
	want := p.snapshot(v.user)
	for uid, flags := range want {
		if knew != nil && !slices.Contains(knew, uid) {
			have[uid] = flags
		}
	}
	if !maps.Equal(have, want) {
		p.fail("%s knew %v at MODSEQ %d, was told of %v and that %v are gone, and wants %v", v.name, mark.flags, mark.highest, v.changed, v.earlier, want)
	}
}
