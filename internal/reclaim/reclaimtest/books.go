package reclaimtest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func sorted(ids []blob.ID) []blob.ID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b blob.ID) int {
		switch {
		case a.Less(b):
			return -1
		case b.Less(a):
			return 1
		}
		return 0
	})
	return slices.Compact(ids)
}

func wantIDs(t *testing.T, what string, got []blob.ID, want ...blob.ID) {
	t.Helper()
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func segment(t *testing.T, s Subject, n uint32) *reclaim.Referrers {
	t.Helper()
	r, err := s.Books.Segment(t.Context(), 7, n)
	must(t, "Segment", err)
	return r
}

func locations(t *testing.T, s Subject) {
	ctx := t.Context()
	a, b, c := id(1, 64), id(1, 164), id(1, 264)
	move := func(want bool, m reclaim.Move) {
		t.Helper()
		moved, err := s.Books.Move(ctx, []reclaim.Move{m})
		if err != nil || len(moved) != 1 || moved[0] != want {
			t.Errorf("Move %+v: %v, %v; want %v", m, moved, err, want)
		}
	}
	move(true, reclaim.Move{First: a, From: a, To: id(5, 64)})
	move(false, reclaim.Move{First: a, From: a, To: id(6, 64)})
	move(false, reclaim.Move{First: a, From: id(6, 64), To: id(8, 64)})
	move(true, reclaim.Move{First: a, From: id(5, 64), To: id(6, 64)})
	move(true, reclaim.Move{First: b, From: b, To: id(6, 164)})
	must(t, "Condemn", s.Books.Condemn(ctx, []blob.ID{id(9, 64)}))
	move(false, reclaim.Move{First: b, From: id(6, 164), To: id(9, 64)})
	move(false, reclaim.Move{First: c, From: c, To: id(9, 64)})
	move(false, reclaim.Move{First: c, From: id(6, 264), To: id(8, 64)})
	places, err := s.Books.Locate(ctx, []blob.ID{c, b, a, b})
	if err != nil || !slices.Equal(places, []blob.ID{{}, id(6, 164), id(6, 64), id(6, 164)}) {
		t.Errorf("Locate: %v, %v", places, err)
	}
	if places, err := s.Books.Locate(ctx, nil); err != nil || len(places) != 0 {
		t.Errorf("Locate of nothing: %v, %v", places, err)
	}
	wantIDs(t, "moved away", segment(t, s, 1).Away, a, b)
	here := segment(t, s, 6).Here
	if len(here) != 2 || !slices.Contains(here, reclaim.Located{First: a, Place: id(6, 64)}) || !slices.Contains(here, reclaim.Located{First: b, Place: id(6, 164)}) {
		t.Errorf("moved here: %+v", here)
	}
	if r := segment(t, s, 5); len(r.Here) > 0 {
		t.Errorf("still there: %+v", r.Here)
	}
}

// routed is an accepted message with a frame, to one local account.
func routed(s Subject, n uint32, frame blob.ID, account mailbox.AccountID) *storev1.Routed {
	m := ledgertest.Message(s.Now(), n, ledgertest.Local("a@example.org", uint64(account)))
	m.Message.BlobId = frame.Bytes()
	return m
}

func record(t *testing.T, s Subject, m *storev1.Routed) {
	t.Helper()
	r, err := s.Ledger.Record(t.Context(), []*storev1.Routed{m})
	if err != nil || !r[0].Recorded {
		t.Fatalf("Record: %v, %v", r, err)
	}
}

func message(frame blob.ID) index.Message {
	return index.Message{Blob: frame, PartIndex: []byte{1}, Size: 10, Received: time.Unix(1_800_000_000, 0)}
}

func referrers(t *testing.T, s Subject) {
	ctx := t.Context()
	waits, final, email, withheld, discarded := id(2, 64), id(2, 164), id(2, 264), id(2, 364), id(2, 464)
	record(t, s, routed(s, 1, waits, 9))
	done := ledgertest.Message(s.Now(), 2, ledgertest.Settled("b@example.org", storev1.State_STATE_DISCARDED))
	done.Message.BlobId = final.Bytes()
	record(t, s, done)
	for _, box := range []string{index.Inbox, "Archive"} {
		_, err := s.Mailboxes.Append(ctx, 9, box, []index.Message{message(email)})
		must(t, "Append", err)
	}
	late := [2]*storev1.Routed{routed(s, 3, withheld, 9), routed(s, 4, discarded, 9)}
	for i, frame := range []blob.ID{withheld, discarded} {
		must(t, "Withhold", s.Ledger.Withhold(ctx, []ledger.Withheld{{ID: [16]byte(late[i].Message.QueueId), BlobID: frame}}))
	}
	if n, err := s.Ledger.Act(ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_DELETE, QueueIds: [][]byte{late[1].Message.QueueId}}); err != nil || n == 0 {
		t.Fatalf("discard what is withheld: %d, %v", n, err)
	}
	wantIDs(t, "used", segment(t, s, 2).Used, waits, email, withheld)
	wantIDs(t, "used in the next segment", segment(t, s, 3).Used)
	used, err := s.Books.InUse(ctx, []blob.ID{discarded, waits, final, email, withheld, id(2, 999)})
	if err != nil || !slices.Equal(used, []bool{false, true, false, true, true, false}) {
		t.Errorf("InUse: %v, %v", used, err)
	}
}

func notes(t *testing.T, s Subject) {
	ctx := t.Context()
	shares := []reclaim.Share{{Owner: id(1, 64), Child: id(2, 64)}, {Owner: id(1, 64), Child: id(2, 164)}, {Owner: id(3, 64), Child: id(2, 264)}}
	aparts := []reclaim.Apart{{Place: id(1, 164), Bytes: 1 << 33}, {Place: id(9, 64), Bytes: 5}}
	for range 2 {
		must(t, "Note", s.Books.Note(ctx, shares, aparts))
	}
	if r := segment(t, s, 1); len(r.Shares) != 2 || len(r.Aparts) != 1 || r.Aparts[0] != aparts[0] {
		t.Errorf("notes of a segment: %+v", r)
	}
	_, err := s.Books.Move(ctx, []reclaim.Move{{First: id(3, 64), From: id(3, 64), To: id(9, 64)}})
	must(t, "Move", err)
	if r := segment(t, s, 9); len(r.Shares) != 1 || r.Shares[0] != shares[2] || len(r.Aparts) != 1 || r.Aparts[0] != aparts[1] {
		t.Errorf("notes of a frame that was moved: %+v", r)
	}
	must(t, "Freed", s.Books.Freed(ctx, []blob.ID{id(1, 164)}))
	if r := segment(t, s, 1); len(r.Aparts) != 0 {
		t.Errorf("notes of a body that was freed: %+v", r.Aparts)
	}
	if gaps, err := s.Books.Gaps(ctx); err != nil || len(gaps) > 0 {
		t.Errorf("gaps of a new database: %v, %v", gaps, err)
	}
}

func condemned(t *testing.T, s Subject) {
	ctx := t.Context()
	frame, other := id(4, 64), id(4, 164)
	must(t, "Condemn", s.Books.Condemn(ctx, []blob.ID{frame}))
	must(t, "Condemn again", s.Books.Condemn(ctx, []blob.ID{frame, other}))
	wantIDs(t, "condemned", segment(t, s, 4).Condemned, frame, other)
	if _, err := s.Mailboxes.Append(ctx, 9, index.Inbox, []index.Message{message(frame)}); !errors.Is(err, index.ErrCondemned) {
		t.Errorf("Append of a condemned frame: %v, want %v", err, index.ErrCondemned)
	}
	m := routed(s, 1, frame, 9)
	record(t, s, m)
	d := index.Delivery{QueueID: [16]byte(m.Message.QueueId), Account: 9, Message: message(frame)}
	r, err := s.Mailboxes.Deliver(ctx, []index.Delivery{d})
	if err != nil || r[0].Status != index.Failed || !errors.Is(r[0].Err, index.ErrCondemned) {
		t.Errorf("Deliver of a condemned frame: %+v, %v", r, err)
	}
	must(t, "Pardon", s.Books.Pardon(ctx, []blob.ID{frame}))
	if r, err = s.Mailboxes.Deliver(ctx, []index.Delivery{d}); err != nil || r[0].Status != index.Delivered {
		t.Errorf("Deliver of a pardoned frame: %+v, %v", r, err)
	}
	wantIDs(t, "condemned", segment(t, s, 4).Condemned, other)
}

func work(t *testing.T, s Subject) {
	ctx := t.Context()
	list := func(want ...reclaim.Work) {
		t.Helper()
		got, err := s.Books.Work(ctx)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Work: %+v, %v; want %+v", got, err, want)
		}
	}
	list()
	must(t, "Begin", s.Books.Begin(ctx, 7, 3, reclaim.Dead))
	s.Advance(time.Minute)
	must(t, "Begin", s.Books.Begin(ctx, 7, 1, reclaim.Bodies))
	s.Advance(time.Minute)
	list(reclaim.Work{Incarnation: 7, Segment: 3, Step: reclaim.Dead, Age: 2 * time.Minute},
		reclaim.Work{Incarnation: 7, Segment: 1, Step: reclaim.Bodies, Age: time.Minute})
	must(t, "Begin", s.Books.Begin(ctx, 7, 3, reclaim.Empty))
	list(reclaim.Work{Incarnation: 7, Segment: 1, Step: reclaim.Bodies, Age: time.Minute},
		reclaim.Work{Incarnation: 7, Segment: 3, Step: reclaim.Empty})
	must(t, "Drop", s.Books.Drop(ctx, 7, 1))
	must(t, "Drop again", s.Books.Drop(ctx, 7, 1))
	must(t, "Finish", s.Books.Finish(ctx, 7, 3))
	list()
}

// finishForgets looks what is left when a segment is gone from which one frame was moved, and to which two were.
func finishForgets(t *testing.T, s Subject) {
	ctx := t.Context()
	dead, moved := id(5, 64), id(5, 164)
	came, wentOn := id(1, 64), id(1, 164)
	all := []blob.ID{dead, moved, came, wentOn}
	_, err := s.Books.Move(ctx, []reclaim.Move{{First: moved, From: moved, To: id(8, 64)}, {First: came, From: came, To: id(5, 264)},
		{First: wentOn, From: wentOn, To: id(5, 364)}})
	must(t, "Move", err)
	_, err = s.Books.Move(ctx, []reclaim.Move{{First: wentOn, From: id(5, 364), To: id(8, 164)}})
	must(t, "Move", err)
	must(t, "Condemn", s.Books.Condemn(ctx, all))
	var shares []reclaim.Share
	var aparts []reclaim.Apart
	for _, frame := range all {
		shares = append(shares, reclaim.Share{Owner: id(20, 64), Child: frame})
		aparts = append(aparts, reclaim.Apart{Place: frame, Bytes: 1})
	}
	must(t, "Note", s.Books.Note(ctx, shares, aparts))
	must(t, "Begin", s.Books.Begin(ctx, 7, 5, reclaim.Empty))
	for range 2 {
		must(t, "Finish", s.Books.Finish(ctx, 7, 5))
	}
	places, err := s.Books.Locate(ctx, all)
	if err != nil || !slices.Equal(places, []blob.ID{{}, id(8, 64), {}, id(8, 164)}) {
		t.Errorf("Locate: %v, %v", places, err)
	}
	var children, bodies, still []blob.ID
	for _, r := range []*reclaim.Referrers{segment(t, s, 20), segment(t, s, 5), segment(t, s, 8), segment(t, s, 1)} {
		for _, share := range r.Shares {
			children = append(children, share.Child)
		}
		for _, a := range r.Aparts {
			bodies = append(bodies, a.Place)
		}
		still = append(still, r.Condemned...)
	}
	wantIDs(t, "children", children, moved, wentOn)
	wantIDs(t, "bodies apart", bodies, came, wentOn)
	wantIDs(t, "condemned", still, moved, wentOn)
}

func states(t *testing.T, s Subject) {
	ctx := t.Context()
	if b, asked, err := s.Books.State(ctx); err != nil || len(b) > 0 || !asked.IsZero() {
		t.Errorf("State of a new database: %q, %v, %v", b, asked, err)
	}
	must(t, "SaveState", s.Books.SaveState(ctx, []byte("one")))
	must(t, "Ask", s.Books.Ask(ctx))
	must(t, "SaveState", s.Books.SaveState(ctx, []byte("two")))
	if b, asked, err := s.Books.State(ctx); err != nil || string(b) != "two" || !asked.Equal(s.Now()) {
		t.Errorf("State: %q, %v, %v; asked at %v", b, asked, err, s.Now())
	}
}

var everything = mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}

func expunge(t *testing.T, s Subject, box mailbox.ID, uids mailbox.UIDSet) {
	t.Helper()
	r, err := s.Mailboxes.Expunge(t.Context(), 9, box, uids, true)
	if err != nil || len(r.Expunged) == 0 {
		t.Fatalf("Expunge: %+v, %v", r, err)
	}
}

func doPurge(t *testing.T, s Subject, age time.Duration, want reclaim.Purged) {
	t.Helper()
	before := s.Now().Add(-age)
	got, more, err := s.Books.Purge(t.Context(), before, before, 10)
	if err != nil || more {
		t.Errorf("Purge: %+v, %v, %v", got, more, err)
	}
	kept, more, err := s.Retention.Purge(t.Context(), index.Rules{Now: s.Now(), Keep: age}, 10)
	if err != nil || more {
		t.Errorf("Purge of what is kept: %+v, %v, %v", kept, more, err)
	}
	if got.Emails += kept.Emails; got != want {
		t.Errorf("Purge: %+v, want %+v", got, want)
	}
}

func purge(t *testing.T, s Subject) {
	ctx := t.Context()
	var list []index.Message
	for i := range uint32(5) {
		list = append(list, message(id(1, 64+i*100)))
	}
	r, err := s.Mailboxes.Append(ctx, 9, index.Inbox, list)
	must(t, "Append", err)
	expunge(t, s, r.Mailbox, mailbox.UIDSet{{First: r.UIDs[0], Last: r.UIDs[1]}})
	_, first, err := s.Mailboxes.List(ctx, 9)
	must(t, "List", err)
	s.Advance(48 * time.Hour)
	expunge(t, s, r.Mailbox, mailbox.UIDSet{{First: r.UIDs[2], Last: r.UIDs[2]}})
	doPurge(t, s, 72*time.Hour, reclaim.Purged{})
	doPurge(t, s, 24*time.Hour, reclaim.Purged{Accounts: 1, Tombstones: 1, Emails: 2})
	doPurge(t, s, 24*time.Hour, reclaim.Purged{})
	wantIDs(t, "used", segment(t, s, 1).Used, list[2].Blob, list[3].Blob, list[4].Blob)
	// Who saw nothing newer than what was purged is told all; who saw it is told what went since (RFC 7162 §3.2.5).
	snapshot := func(since mailbox.ModSeq) (complete bool, expunged int) {
		t.Helper()
		must(t, "Snapshot", s.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: 9, Mailbox: r.Mailbox, Since: since}, func(p *index.Page) error {
			complete = complete || p.Complete
			for _, span := range p.Expunged {
				expunged += int(span.Last-span.First) + 1
			}
			return nil
		}))
		return complete, expunged
	}
	if complete, _ := snapshot(first - 1); !complete {
		t.Error("a reader from before what was purged is not told the whole mailbox")
	}
	if complete, n := snapshot(first); complete || n != 1 {
		t.Errorf("a reader from behind what was purged: complete %v, %d expunged, want 1", complete, n)
	}
	s.Advance(48 * time.Hour)
	doPurge(t, s, 24*time.Hour, reclaim.Purged{Accounts: 1, Tombstones: 1, Emails: 1})
	wantIDs(t, "used", segment(t, s, 1).Used, list[3].Blob, list[4].Blob)
}

func purgeKeepsCopies(t *testing.T, s Subject) {
	ctx := t.Context()
	r, err := s.Mailboxes.Append(ctx, 9, index.Inbox, []index.Message{message(id(1, 64)), message(id(1, 164))})
	must(t, "Append", err)
	copied, err := s.Mailboxes.Copy(ctx, 9, r.Mailbox, mailbox.UIDSet{{First: r.UIDs[0], Last: r.UIDs[0]}}, "Archive")
	must(t, "Copy", err)
	expunge(t, s, r.Mailbox, everything)
	s.Advance(48 * time.Hour)
	// The copy goes, too, but later: its tombstone keeps the email.
	expunge(t, s, copied.Target, everything)
	doPurge(t, s, 24*time.Hour, reclaim.Purged{Accounts: 1, Tombstones: 1, Emails: 1})
	wantIDs(t, "used", segment(t, s, 1).Used, id(1, 64))
	s.Advance(48 * time.Hour)
	doPurge(t, s, 24*time.Hour, reclaim.Purged{Accounts: 1, Tombstones: 1, Emails: 1})
	wantIDs(t, "used", segment(t, s, 1).Used)
}
