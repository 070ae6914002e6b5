package indextest

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func snapshot(t *testing.T, s Subject) {
	ctx := t.Context()
	var list []index.Message
	for range mailbox.ChunkSize*index.PageChunks + 300 { // more than one page
		list = append(list, newMessage(300))
	}
	r := s.append(t, 7, "INBOX", list...)
	v := s.look(t, 7, r.Mailbox)
	if len(v.entries()) != len(list) || v.mailbox.Messages != uint32(len(list)) || v.complete {
		t.Fatalf("%d entries, %+v", len(v.entries()), v.mailbox)
	}
	f, err := s.Mailboxes.Flag(ctx, index.FlagChange{Account: 7, Mailbox: r.Mailbox, UIDs: one(4000), Mode: index.AddFlags, Flags: []string{`\Seen`}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.update(ctx, 7, r.Mailbox, r.ModSeq, &v); err != nil || v.sent != 1 || v.complete {
		t.Errorf("after one flag: %d chunks, %v", v.sent, err)
	}
	if _, err := s.Mailboxes.Expunge(ctx, 7, r.Mailbox, mailbox.UIDSet{{First: 10, Last: 2000}}, true); err != nil {
		t.Fatal(err)
	}
	if err := s.update(ctx, 7, r.Mailbox, f.ModSeq, &v); err != nil || v.expunged.Len() != 1991 {
		t.Errorf("expunged %d, %v", v.expunged.Len(), err)
	}
	if whole := s.look(t, 7, r.Mailbox); !reflect.DeepEqual(v.uids(), whole.uids()) {
		t.Errorf("brought up to date: %d entries, want %d", len(v.uids()), len(whole.uids()))
	}
	if err := s.update(ctx, 7, r.Mailbox, v.mailbox.HighestModSeq, &v); err != nil || v.sent != 0 || len(v.expunged) != 0 || v.complete {
		t.Errorf("nothing new: %d chunks, %v expunged, %v", v.sent, v.expunged, err)
	}
	if err := s.update(ctx, 7, r.Mailbox, v.mailbox.HighestModSeq+1000, &v); err != nil || !v.complete || len(v.entries()) != len(list)-1991 {
		t.Errorf("from a future that never was: complete %v, %d entries, %v", v.complete, len(v.entries()), err)
	}
	stop := errors.New("stop")
	if err := s.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: 7, Mailbox: r.Mailbox}, func(*index.Page) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what each returned", err)
	}
	if err := s.update(ctx, 8, r.Mailbox, 0, &view{}); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("another's mailbox: got %v, want ErrNoMailbox", err)
	}
}

func recent(t *testing.T, s Subject) {
	box := s.append(t, 7, "INBOX", newMessage(500), newMessage(600)).Mailbox
	take := func(take bool) mailbox.UID {
		var got mailbox.UID
		if err := s.Mailboxes.Snapshot(t.Context(), index.SnapshotQuery{Account: 7, Mailbox: box, TakeRecent: take}, func(p *index.Page) error {
			got = p.Mailbox.RecentUID
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for i, want := range []mailbox.UID{1, 1, 3, 3} {
		if got := take(i > 0); got != want {
			t.Errorf("look %d: recent from %d, want %d", i, got, want)
		}
	}
	seq := s.find(t, 7, "INBOX").HighestModSeq
	s.append(t, 7, "INBOX", newMessage(500))
	if got := take(true); got != 3 {
		t.Errorf("recent from %d, want 3", got)
	}
	if got := s.find(t, 7, "INBOX").HighestModSeq; got != seq+1 {
		t.Errorf("taking the mark counted as a change: MODSEQ %d after %d", got, seq)
	}
}

func emails(t *testing.T, s Subject) {
	var list []index.Message
	for range 150 {
		list = append(list, newMessage(400))
	}
	list[5].Overlay = nil
	list[6].PartIndex = nil
	v := s.look(t, 7, s.append(t, 7, "INBOX", list...).Mailbox)
	other := s.look(t, 8, s.append(t, 8, "INBOX", newMessage(500)).Mailbox).entries()[0].Email
	var ids []mailbox.EmailID
	for _, e := range v.entries() {
		ids = append(ids, e.Email)
	}
	slices.Reverse(ids)
	asked := append([]mailbox.EmailID{1, other, ids[3]}, ids...)
	got, err := s.Mailboxes.Emails(t.Context(), 7, asked, true)
	if err != nil || len(got) != 151 || got[0].ID != ids[3] {
		t.Fatalf("%d emails, %v", len(got), err)
	}
	threads := map[mailbox.ThreadID]bool{}
	for i, e := range got[1:] {
		want := list[len(list)-1-i]
		if e.ID != ids[i] || e.Blob != want.Blob || !proto.Equal(e.Overlay, want.Overlay) || string(e.PartIndex) != string(want.PartIndex) ||
			e.Size != want.Size || !e.Received.Equal(want.Received) || threads[e.Thread] {
			t.Fatalf("email %d: %+v, want %+v", i, e, want)
		}
		threads[e.Thread] = true
	}
	if got, err := s.Mailboxes.Emails(t.Context(), 7, ids[:2], false); err != nil || len(got) != 2 || len(got[0].PartIndex) != 0 {
		t.Errorf("without part index: %+v, %v", got, err)
	}
	for _, tt := range []struct {
		account mailbox.AccountID
		want    string
	}{{8, string(list[149].PartIndex)}, {7, "\x02new"}} {
		if err := s.Mailboxes.SetPartIndex(t.Context(), tt.account, ids[0], []byte("\x02new")); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Mailboxes.Emails(t.Context(), 7, ids[:1], true); err != nil || len(got) != 1 || string(got[0].PartIndex) != tt.want {
			t.Errorf("part index set by account %d: %+v, %v", tt.account, got, err)
		}
	}
	if got, err := s.Mailboxes.Emails(t.Context(), 7, nil, true); err != nil || len(got) != 0 {
		t.Errorf("none: %+v, %v", got, err)
	}
}

// emailsAmongOthers asks for emails, some of which are nobody's and some another account's, that lie between others in all
// densities, and in any order.
func emailsAmongOthers(t *testing.T, s Subject) {
	r := rand.New(rand.NewPCG(1, 2))
	ours := map[mailbox.EmailID]index.Message{}
	var all []mailbox.EmailID
	add := func(account mailbox.AccountID, n int) {
		var list []index.Message
		for range n {
			list = append(list, newMessage(400))
		}
		entries := s.look(t, account, s.append(t, account, "INBOX", list...).Mailbox).entries()
		for i, e := range entries[len(entries)-n:] {
			all = append(all, e.Email)
			if account == 7 {
				ours[e.Email] = list[i]
			}
		}
	}
	for _, others := range []int{0, 1, 3, 40, 1, 90} {
		for range 6 {
			add(7, 1+r.IntN(12))
			if others > 0 {
				add(8, others)
			}
		}
		add(7, 100)
	}
	for i := range len(all) {
		all = append(all, all[i]+1) // mostly the next one, at times nobody's
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for range 200 {
		at := r.IntN(len(all))
		asked := slices.Clone(all[at:min(len(all), at+1+r.IntN(300))])
		switch r.IntN(3) {
		case 0: // as they lie
		case 1: // every third or so
			asked = slices.DeleteFunc(asked, func(mailbox.EmailID) bool { return r.IntN(3) > 0 })
		case 2:
			asked = append(asked, asked[r.IntN(len(asked))])
			r.Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
		}
		var want []mailbox.EmailID
		for _, id := range asked {
			if _, ok := ours[id]; ok {
				want = append(want, id)
			}
		}
		got, err := s.Mailboxes.Emails(t.Context(), 7, asked, true)
		if err != nil || len(got) != len(want) {
			t.Fatalf("asked for %d: got %d, want %d; %v", len(asked), len(got), len(want), err)
		}
		for i, e := range got {
			m := ours[e.ID]
			if e.ID != want[i] || e.Blob != m.Blob || string(e.PartIndex) != string(m.PartIndex) || !proto.Equal(e.Overlay, m.Overlay) {
				t.Fatalf("asked for %v: %d is %+v, want %d of %+v", asked, i, e, want[i], m)
			}
		}
	}
}

func counters(t *testing.T, s Subject) {
	var accounts []mailbox.AccountID
	want := map[mailbox.AccountID]mailbox.ModSeq{}
	for a := mailbox.AccountID(1); a <= 70; a++ {
		accounts = append(accounts, a, a+1000) // the second of them is never touched
		want[a] = s.append(t, a, "INBOX", newMessage(500)).ModSeq
	}
	seqs, err := s.Mailboxes.Counters(t.Context(), accounts)
	if err != nil || len(seqs) != len(accounts) {
		t.Fatalf("%d of %d, %v", len(seqs), len(accounts), err)
	}
	for i, seq := range seqs {
		if seq != want[accounts[i]] {
			t.Errorf("account %d: %d, want %d", accounts[i], seq, want[accounts[i]])
		}
	}
}
