package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func annotations(t *testing.T, s Subject) {
	const owner, reader, other = 301, 302, 303
	ctx := t.Context()
	set := func(box mailbox.ID, entries ...index.Annotation) error {
		return s.Annotations.SetAnnotations(ctx, owner, box, entries)
	}
	// The first write is to an account that was never touched.
	if err := set(0, index.Annotation{Reader: owner, Name: "/private/comment", Value: []byte("mine")}); err != nil {
		t.Fatal(err)
	}
	inbox, sent := s.find(t, owner, index.Inbox).ID, s.find(t, owner, "Sent").ID
	want := func(who mailbox.AccountID, boxes []mailbox.ID, want ...index.Annotation) {
		t.Helper()
		got, err := s.Annotations.Annotations(ctx, owner, boxes, who)
		if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("Annotations of %v for %d: %v, %v; want %v", boxes, who, got, err, want)
		}
	}
	shared := index.Annotation{Name: "/shared/comment", Value: []byte("ours")}
	own := index.Annotation{Reader: owner, Name: "/private/x", Value: []byte{0, 255}}
	theirs := index.Annotation{Reader: reader, Name: "/private/x", Value: []byte{}}
	before := s.find(t, owner, "Sent").HighestModSeq
	if err := set(sent, own, shared, theirs); err != nil {
		t.Fatal(err)
	}
	if after := s.find(t, owner, "Sent").HighestModSeq; after <= before {
		t.Errorf("HIGHESTMODSEQ is %d behind SetAnnotations, was %d", after, before)
	}
	at := func(a index.Annotation, box mailbox.ID) index.Annotation { a.Mailbox = box; return a }
	want(owner, []mailbox.ID{sent}, at(shared, sent), at(own, sent))
	want(reader, []mailbox.ID{sent}, at(shared, sent), at(theirs, sent))
	want(other, []mailbox.ID{sent, inbox, 0}, at(shared, sent))
	want(owner, []mailbox.ID{inbox})
	want(owner, []mailbox.ID{0, sent}, index.Annotation{Reader: owner, Name: "/private/comment", Value: []byte("mine")}, at(shared, sent), at(own, sent))

	// One too large takes the others with it.
	var many []index.Annotation
	for i := range index.MaxAnnotationOctets/index.MaxAnnotation + 1 {
		many = append(many, index.Annotation{Name: fmt.Sprintf("/shared/%d", i), Value: make([]byte, index.MaxAnnotation)})
	}
	if err := set(sent, append(many, index.Annotation{Name: "/shared/comment"})...); !errors.Is(err, index.ErrAnnotations) {
		t.Errorf("SetAnnotations of too much: %v, want ErrAnnotations", err)
	}
	want(other, []mailbox.ID{sent}, at(shared, sent))
	if err := set(nowhere, shared); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("SetAnnotations of no mailbox: %v, want ErrNoMailbox", err)
	}

	changed := index.Annotation{Name: "/shared/comment", Value: []byte("changed")}
	if err := set(sent, changed, index.Annotation{Reader: owner, Name: "/private/x"}, index.Annotation{Name: "/shared/none"}); err != nil {
		t.Fatal(err)
	}
	want(owner, []mailbox.ID{sent}, at(changed, sent))

	if err := set(sent, index.Annotation{Name: "/shared/comment", Value: []byte("again"), IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	want(owner, []mailbox.ID{sent}, at(changed, sent))

	// They go where the mailbox goes, and with it.
	if err := set(inbox, shared); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailboxes.Rename(ctx, owner, "Sent", "Old/Sent"); err != nil {
		t.Fatal(err)
	}
	want(owner, []mailbox.ID{sent}, at(changed, sent))
	if _, err := s.Mailboxes.Delete(ctx, owner, "Old/Sent"); err != nil {
		t.Fatal(err)
	}
	want(owner, []mailbox.ID{inbox}, at(shared, inbox))
	// What is kept of it gives way to what is there.
	want(other, []mailbox.ID{sent}, at(changed, sent))
	if err := set(inbox, many[1:]...); !errors.Is(err, index.ErrAnnotations) {
		t.Errorf("SetAnnotations of too much beside what is there: %v, want ErrAnnotations", err)
	}
	if err := set(inbox, append(many[1:], index.Annotation{Name: "/shared/comment"})...); err != nil {
		t.Errorf("SetAnnotations of as much as there may be: %v", err)
	}
	want(other, []mailbox.ID{sent})
}

// annotationsCopied: RENAME of INBOX copies what is noted about it (RFC 5464 §4.1), as far as there is room.
func annotationsCopied(t *testing.T, s Subject) {
	const owner, reader = 311, 312
	ctx := t.Context()
	s.append(t, owner, index.Inbox, newMessage(500))
	inbox := s.find(t, owner, index.Inbox).ID
	set := func(box mailbox.ID, entries ...index.Annotation) {
		t.Helper()
		if err := s.Annotations.SetAnnotations(ctx, owner, box, entries); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(to string) mailbox.ID {
		t.Helper()
		if _, err := s.Mailboxes.Rename(ctx, owner, index.Inbox, to); err != nil {
			t.Fatal(err)
		}
		return s.find(t, owner, to).ID
	}
	want := func(who mailbox.AccountID, box mailbox.ID, names ...string) {
		t.Helper()
		list, err := s.Annotations.Annotations(ctx, owner, []mailbox.ID{box}, who)
		var got []string
		for _, a := range list {
			got = append(got, a.Name)
		}
		if err != nil || !slices.Equal(got, names) {
			t.Errorf("Annotations of mailbox %d for %d: %q, %v; want %q", box, who, got, err, names)
		}
	}
	set(inbox, index.Annotation{Name: "/shared/comment", Value: []byte("ours")}, index.Annotation{Reader: owner, Name: "/private/x", Value: []byte{0}},
		index.Annotation{Reader: reader, Name: "/private/y", Value: []byte{}})
	was := rename("Was")
	want(owner, inbox, "/shared/comment", "/private/x")
	want(owner, was, "/shared/comment", "/private/x")
	want(reader, was, "/shared/comment", "/private/y")

	var fill []index.Annotation
	for i := range index.MaxAnnotationOctets / index.MaxAnnotation {
		fill = append(fill, index.Annotation{Reader: reader, Name: fmt.Sprintf("/private/%d", i), Value: make([]byte, index.MaxAnnotation)})
	}
	set(inbox, fill[0])
	set(was, fill[1:]...)
	later := rename("Later")
	want(reader, later, "/shared/comment")
	want(owner, later, "/shared/comment", "/private/x")
}

// annotationsRestored: what was noted about a deleted mailbox comes back with it, and ends with it.
func annotationsRestored(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	team, _, err := s.Mailboxes.Create(ctx, 7, "Team", "")
	if err != nil {
		t.Fatal(err)
	}
	s.append(t, 7, "Team", newMessage(500)) // purges look at accounts of which messages are kept
	note := index.Annotation{Reader: 7, Name: "/private/comment", Value: []byte("x")}
	if err := s.Annotations.SetAnnotations(ctx, 7, team.ID, []index.Annotation{note}); err != nil {
		t.Fatal(err)
	}
	remove := func() {
		t.Helper()
		if _, err := s.Mailboxes.Delete(ctx, 7, "Team"); err != nil {
			t.Fatal(err)
		}
	}
	noted := func(box mailbox.ID) int {
		t.Helper()
		list, err := s.Annotations.Annotations(ctx, 7, []mailbox.ID{box}, 7)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	remove()
	r := s.restore(t, index.Restore{Account: 7, Target: "Team", From: team.ID})
	if !r.Made || noted(r.Mailbox) != 1 || noted(team.ID) != 0 {
		t.Errorf("restored: %+v, with %d entries and %d left", r, noted(r.Mailbox), noted(team.ID))
	}
	remove()
	s.Advance(100 * 24 * time.Hour)
	s.purge(t, index.Rules{Keep: time.Hour})
	if n := noted(r.Mailbox); n != 0 {
		t.Errorf("%d entries of a mailbox that was forgotten", n)
	}
}
