package imap_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

var storyFlags = []string{`\Seen`, `\Deleted`, `\Flagged`, `$One`, `\Seen`, `\Answered`}

// prefixed tells whether a step is done by UID, and how its verb begins then.
func prefixed(v *viewer, s step) (uid bool, prefix string) {
	if v.uidonly || s.c%2 == 0 {
		return true, "UID "
	}
	return false, ""
}

func (p *plot) store(v *viewer, s step) {
	uid, prefix := prefixed(v, s)
	set, meant := p.choose(v, s, uid)
	if set == "" || v.readOnly {
		p.noop(v, s)
		return
	}
	mode := []string{"+FLAGS", "-FLAGS", "FLAGS", "+FLAGS"}[s.b%4]
	silent := s.c%5 == 0
	name := storyFlags[(s.a+s.c)%len(storyFlags)]
	hit := p.those(meant)
	command := mode
	if silent {
		command += ".SILENT"
	}
	r := v.run(fmt.Sprintf("%sSTORE %s %s (%s)", prefix, set, command, name))
	if strings.HasPrefix(r, "NO") && uid {
		p.fail("%s", r)
	}
	for _, e := range hit {
		e.set(mode, name, v.user)
		// Of what it did itself a silent STORE is told nothing, of what others did it is.
		if i := slices.Index(v.uids, e.uid); silent && i >= 0 && !slices.Contains(v.spoken, e.uid) {
			v.flags[i] = after(v.flags[i], mode, name)
		}
	}
	p.settle(v)
}

// after is what a client believes that flags are which it has changed.
func after(flags, mode, flag string) string {
	have := strings.Fields(flags)
	if mode == "FLAGS" {
		have = nil
	}
	have = slices.DeleteFunc(have, func(f string) bool { return f == flag })
	if mode != "-FLAGS" {
		have = append(have, flag)
	}
	slices.Sort(have)
	return strings.Join(have, " ")
}

// set does to a message what STORE does: \Seen is the user's own.
func (e *entry) set(mode, flag, user string) {
	if mode == "FLAGS" {
		e.flags = nil
		e.seen[user] = false
	}
	if flag == `\Seen` {
		e.seen[user] = mode != "-FLAGS"
		return
	}
	e.flags = slices.DeleteFunc(slices.Clone(e.flags), func(f string) bool { return f == flag })
	if mode != "-FLAGS" {
		e.flags = append(e.flags, flag)
	}
}

func (p *plot) fetch(v *viewer, s step) {
	uid, prefix := prefixed(v, s)
	if set, _ := p.choose(v, s, uid); set != "" {
		v.run(fmt.Sprintf("%sFETCH %s (UID FLAGS)", prefix, set))
		p.settle(v)
	}
}

// read fetches of bodies, which are seen then.
func (p *plot) read(v *viewer, s step) {
	uid, prefix := prefixed(v, s)
	set, meant := p.choose(v, s, uid)
	if set == "" {
		return
	}
	// What it knows to be seen is not marked again, though another may have taken that back just now.
	var hit []*entry
	for _, e := range p.those(meant) {
		if i := slices.Index(v.uids, e.uid); !v.readOnly && !strings.Contains(v.flags[i], `\Seen`) {
			hit = append(hit, e)
		}
	}
	v.run(fmt.Sprintf("%sFETCH %s (UID BODY[]<0.7>)", prefix, set))
	for _, e := range hit {
		e.seen[v.user] = true
	}
	p.settle(v)
}

func deleted(e *entry) bool { return slices.Contains(e.flags, `\Deleted`) }

func (p *plot) expunge(v *viewer, _ step) {
	r := v.run("EXPUNGE")
	if v.readOnly == strings.HasPrefix(r, "OK") {
		p.fail("%s", r)
	}
	if v.readOnly {
		return // one that is refused tells nothing else
	}
	p.remove(deleted)
	p.settle(v)
}

func (p *plot) uidExpunge(v *viewer, s step) {
	set, meant := p.choose(v, s, true)
	r := v.run("UID EXPUNGE " + set)
	done := strings.HasPrefix(r, "OK")
	switch {
	case v.readOnly == done && len(meant) > 0:
		p.fail("%s", r)
	case !done:
		return
	case !v.readOnly:
		p.remove(func(e *entry) bool { return deleted(e) && slices.Contains(meant, e.uid) })
	}
	p.settle(v)
}

func (p *plot) copy(v *viewer, s step) {
	uid, prefix := prefixed(v, s)
	set, meant := p.choose(v, s, uid)
	if set == "" {
		return
	}
	hit := p.those(meant)
	stale := !uid && len(hit) != len(meant) // some are gone, of which it was not told
	r := v.run(fmt.Sprintf("%sCOPY %s %s", prefix, set, v.box))
	if stale && strings.HasPrefix(r, "NO") && !strings.Contains(r, "[OVERQUOTA]") || len(hit) == 0 {
		p.settle(v)
		return
	}
	if !p.full(r, len(hit)) {
		var copies []*entry
		for _, e := range hit {
			copies = append(copies, &entry{flags: slices.Clone(e.flags), seen: map[string]bool{v.user: e.seen[v.user]}})
		}
		p.add(r, copies)
		p.learn(copies, v.user)
	}
	p.settle(v)
}

// learn asks what the others see of copies: \Seen is theirs, and the copy's maker cannot know it.
func (p *plot) learn(copies []*entry, maker string) {
	for _, user := range []string{p.owner, p.name} {
		if user == maker {
			continue
		}
		box := "INBOX"
		if user != p.owner {
			box = quote("Other Users/" + p.owner + "/INBOX")
		}
		w := p.learners[user]
		if w == nil {
			w = watchAt(p.t, p.f.addr, user)
			p.learners[user] = w
		}
		w.uids, w.flags = nil, nil
		w.do("EXAMINE " + box)
		w.do("UID FETCH " + strconv.Itoa(copies[0].uid) + ":* (UID FLAGS)")
		for _, e := range copies {
			if i := slices.Index(w.uids, e.uid); i >= 0 {
				e.seen[user] = strings.Contains(w.flags[i], `\Seen`)
			}
		}
	}
}

func (p *plot) move(v *viewer, s step) {
	uid, prefix := prefixed(v, s)
	set, meant := p.choose(v, s, uid)
	if set == "" || v.other || v.readOnly {
		p.noop(v, s)
		return
	}
	r := v.run(fmt.Sprintf("%sMOVE %s Archive", prefix, set))
	if !strings.HasPrefix(r, "OK") {
		if uid || len(p.those(meant)) == len(meant) {
			p.fail("%s", r)
		}
		return // one that is refused, for messages are gone that it does not know of, tells nothing else
	}
	p.archived += p.remove(func(e *entry) bool { return slices.Contains(meant, e.uid) })
	p.settle(v)
}

func (p *plot) append(v *viewer, s step) {
	e := &entry{seen: map[string]bool{}}
	flags := ""
	if s.a%3 == 0 {
		flags, e.flags = `(\Flagged) `, []string{`\Flagged`}
	}
	message := numbered(s.b%50, s.b%50+1)[0]
	r := v.run(fmt.Sprintf("APPEND %s %s{%d+}\r\n%s", v.box, flags, len(message), message))
	if !p.full(r, 1) {
		p.add(r, []*entry{e})
	}
	p.settle(v)
}

func (p *plot) noop(v *viewer, _ step) {
	v.run("NOOP")
	p.settle(v)
}

// search finds what the session knows: changes are told behind it.
func (p *plot) search(v *viewer, s step) {
	uid, prefix := prefixed(v, s)
	key, flag := "FLAGGED", `\Flagged`
	if s.a%2 == 0 {
		key, flag = "SEEN", `\Seen`
	}
	var want []int
	for i, flags := range v.flags {
		switch {
		case !strings.Contains(flags, flag):
		case uid:
			want = append(want, v.uids[i])
		default:
			want = append(want, i+1)
		}
	}
	v.run(prefix + "SEARCH " + key)
	if !slices.Equal(v.found, want) {
		p.fail("found %v, want %v: %q", v.found, want, v.lines)
	}
	p.settle(v)
}

// status compares the counters, and remembers what there is.
func (p *plot) status(v *viewer, _ step) {
	v.run("STATUS " + v.box + " (MESSAGES UIDNEXT UNSEEN HIGHESTMODSEQ)")
	var m []string
	for _, line := range v.lines {
		if m == nil {
			m = countersLine.FindStringSubmatch(line)
		}
	}
	unseen := 0
	for _, e := range p.box {
		if !e.seen[v.user] {
			unseen++
		}
	}
	if m == nil || m[1] != strconv.Itoa(len(p.box)) || m[3] != strconv.Itoa(unseen) {
		p.fail("%d messages, %d unseen: %q", len(p.box), unseen, v.lines)
	}
	if next, _ := strconv.Atoi(m[2]); next < p.next {
		p.fail("UIDNEXT %d, and there was %d", next, p.next-1)
	}
	highest, _ := strconv.Atoi(m[4])
	if highest < v.highest {
		p.fail("HIGHESTMODSEQ %d, it was %d", highest, v.highest)
	}
	p.settle(v)
	v.mark = &checkpoint{highest: highest, flags: p.snapshot(v.user)}
}

func (p *plot) reselect(v *viewer, s step) {
	if s.a%2 == 0 {
		v.run("UNSELECT")
	}
	p.enter(v, "")
}

// idle begins to idle; what comes meanwhile is believed when the session wakes.
func (p *plot) idle(v *viewer, _ step) {
	v.tag++
	v.idle, v.numbered = "t"+strconv.Itoa(v.tag), false
	if _, err := fmt.Fprintf(v.c, "%s IDLE\r\n", v.idle); err != nil {
		p.fail("%v", err)
	}
	for {
		line, err := v.response()
		if err != nil {
			p.fail("%v", err)
		}
		if strings.HasPrefix(line, "+ ") {
			return
		}
		v.see(line)
	}
}

// wake ends IDLE.
func (p *plot) wake(v *viewer) {
	if v.idle == "" {
		return
	}
	if _, err := fmt.Fprint(v.c, "DONE\r\n"); err != nil {
		p.fail("%v", err)
	}
	v.until(v.idle)
	v.idle = ""
	p.settle(v)
}

// purge empties the archive, which gives room.
func (p *plot) purge(*viewer, step) {
	_, err := p.f.mailboxes.Expunge(context.Background(), &storev1.ExpungeRequest{Account: p.account, Mailbox: p.archive, Force: true})
	check(p.t, err)
	p.archived = 0
}
