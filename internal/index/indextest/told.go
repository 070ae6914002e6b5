package indextest

import (
	"reflect"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// flagTold shows that who knew a mailbox has all of it with what a change of flags tells, and is told nothing where that would
// not be all.
func flagTold(t *testing.T, s Subject) {
	var list []index.Message
	for range 2000 {
		list = append(list, newMessage(300))
	}
	box := s.append(t, 7, "INBOX", list...).Mailbox
	v := s.look(t, 7, box)
	flag := func(c index.FlagChange) index.FlagResult {
		t.Helper()
		c.Account, c.Mailbox, c.Mode = 7, box, index.AddFlags
		r, err := s.Mailboxes.Flag(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []index.FlagChange{
		{UIDs: one(700), Flags: []string{`\Seen`}},
		{UIDs: mailbox.UIDSet{{First: 1, Last: 3}, {First: 500, Last: 1100}, {First: 1990, Last: 5000}}, Flags: []string{`\Flagged`, "new"}},
		{UIDs: all, Flags: []string{`\Seen`, "other"}},
		{UIDs: all, Flags: []string{`\Answered`}, Conditional: true, UnchangedSince: 1},
		{UIDs: all, Flags: []string{`\Seen`}}, // changes nothing
		{Flags: []string{`\Seen`}},
	} {
		c.Since = v.mailbox.HighestModSeq
		r := flag(c)
		if r.Told == nil {
			t.Fatalf("%+v: nothing is told", c)
		}
		v.mailbox.HighestModSeq, v.mailbox.Keywords = r.Told.HighestModSeq, r.Told.Keywords
		for _, p := range r.Told.Chunks {
			known := v.chunks[p.FirstUID]
			packed := known.Pack()
			packed.MaxModSeq, packed.Flags, packed.ModSeqs = p.MaxModSeq, p.Flags, p.ModSeqs
			var next mailbox.Chunk
			if err := next.Unpack(&packed); err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			v.chunks[p.FirstUID] = next
		}
		is := s.look(t, 7, box)
		if v.mailbox.HighestModSeq != is.mailbox.HighestModSeq || !reflect.DeepEqual(v.mailbox.Keywords, is.mailbox.Keywords) || !reflect.DeepEqual(v.entries(), is.entries()) {
			t.Fatalf("%+v: told %d with %q, is %d with %q", c, v.mailbox.HighestModSeq, v.mailbox.Keywords, is.mailbox.HighestModSeq, is.mailbox.Keywords)
		}
	}
	knew := v.mailbox.HighestModSeq
	for what, c := range map[string]index.FlagChange{
		"who asked for nothing": {UIDs: one(2), Flags: []string{`\Draft`}},
		"who missed a change":   {UIDs: one(3), Flags: []string{`\Draft`}, Since: knew},
		"who knows the future":  {UIDs: one(4), Flags: []string{`\Draft`}, Since: knew + 1000},
	} {
		if what == "who missed a change" {
			flag(index.FlagChange{UIDs: one(9), Flags: []string{`\Draft`}})
		}
		if r := flag(c); r.Told != nil {
			t.Errorf("%s is told %+v", what, r.Told)
		}
	}
	since := s.find(t, 7, "INBOX").HighestModSeq
	if r := flag(index.FlagChange{UIDs: one(5), Flags: []string{`\Deleted`}, Since: since, Reader: index.Reader{Account: 8, Own: []string{`\Seen`}}}); r.Told != nil {
		t.Errorf("a reader with flags of his own is told %+v", r.Told)
	}
}
