package indextest

import (
	"reflect"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// flagTold shows that who knew a mailbox has all of it with what a change of flags tells, that it tells from where that is, and that
// a snapshot takes what is remembered of it for read.
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
		r := flag(c)
		if r.Told == nil || r.Told.Before != v.mailbox.HighestModSeq {
			t.Fatalf("%+v: told %+v of what was at %d", c, r.Told, v.mailbox.HighestModSeq)
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
	if r := flag(index.FlagChange{UIDs: one(5), Flags: []string{`\Deleted`}, Reader: index.Reader{Account: 8, Own: []string{`\Seen`}}}); r.Told != nil {
		t.Errorf("a reader with flags of his own is told %+v", r.Told)
	}
	recalled(t, s, box)
}

// recalled asks for snapshots behind a change, whose flags are remembered or not.
func recalled(t *testing.T, s Subject, box mailbox.ID) {
	t.Helper()
	since := s.find(t, 7, "INBOX").HighestModSeq
	if _, err := s.Mailboxes.Flag(t.Context(), index.FlagChange{Account: 7, Mailbox: box, UIDs: all, Mode: index.AddFlags, Flags: []string{`\Draft`}}); err != nil {
		t.Fatal(err)
	}
	now := s.find(t, 7, "INBOX").HighestModSeq
	remembered := make([]mailbox.Packed, 2*index.PageChunks+1)
	for i := range remembered {
		remembered[i].FirstUID = mailbox.UID(i + 1)
	}
	for name, tt := range map[string]struct {
		since  mailbox.ModSeq
		reader index.Reader
		known  bool
		// asked tells whether Recall is, and only that only flags come.
		asked, only bool
	}{
		"all is remembered":   {since, index.Reader{}, true, true, true},
		"not all is":          {since, index.Reader{}, false, true, false},
		"nothing changed":     {now, index.Reader{}, true, false, false},
		"of everything":       {0, index.Reader{}, true, false, false},
		"of a lost history":   {now + 1, index.Reader{}, true, false, false},
		"flags of a reader's": {since, index.Reader{Account: 8, Own: []string{`\Seen`}}, true, false, false},
	} {
		asked := false
		q := index.SnapshotQuery{Account: 7, Mailbox: box, Since: tt.since, Reader: tt.reader, Recall: func(from, to mailbox.ModSeq) ([]mailbox.Packed, bool) {
			if asked = true; from != since || to != now {
				t.Errorf("%s: asked from %d to %d, want %d to %d", name, from, to, since, now)
			}
			return remembered, tt.known
		}}
		var chunks []mailbox.Packed
		pages, done := 0, false
		err := s.Mailboxes.Snapshot(t.Context(), q, func(p *index.Page) error {
			if p.FlagsOnly != tt.only || (p.Mailbox != nil) != (pages == 0) || len(p.Chunks) > index.PageChunks || done {
				t.Errorf("%s: page %d of %d chunks: flags only %v", name, pages, len(p.Chunks), p.FlagsOnly)
			}
			chunks, done = append(chunks, p.Chunks...), p.Done
			pages++
			return nil
		})
		if err != nil || !done || asked != tt.asked {
			t.Errorf("%s: done %v, asked %v; %v", name, done, asked, err)
		}
		if tt.only && !reflect.DeepEqual(chunks, remembered) {
			t.Errorf("%s: %d chunks, want %d", name, len(chunks), len(remembered))
		}
	}
}
