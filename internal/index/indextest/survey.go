package indextest

import (
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// survey: every account with its counter, and every email once however many entries it has; what was expunged is among them.
func survey(t *testing.T, s CheckSubject) {
	ctx := t.Context()
	var list []index.Message
	for range 30 {
		list = append(list, newMessage(500))
	}
	box := s.append(t, 7, index.Inbox, list...).Mailbox
	if _, err := s.Mailboxes.Copy(ctx, 7, box, mailbox.UIDSet{{First: 1, Last: 10}}, index.Inbox); err != nil {
		t.Fatal(err)
	}
	s.expunge(t, 7, box, mailbox.UIDSet{{First: 20, Last: 25}})
	s.append(t, 9, index.Inbox, newMessage(100))
	seqs, err := s.Mailboxes.Counters(ctx, []mailbox.AccountID{7, 9})
	if err != nil {
		t.Fatal(err)
	}
	want := []index.SurveyedAccount{{Account: 7, ModSeq: seqs[0]}, {Account: 9, ModSeq: seqs[1]}}
	if got, err := s.Survey.ModSeqs(ctx, 0, 10); err != nil || !slices.Equal(got, want) {
		t.Errorf("ModSeqs: %+v, %v, want %+v", got, err, want)
	}
	if got, err := s.Survey.ModSeqs(ctx, 7, 10); err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("ModSeqs behind 7: %+v, %v", got, err)
	}
	if got, err := s.Survey.ModSeqs(ctx, 0, 1); err != nil || !slices.Equal(got, want[:1]) {
		t.Errorf("one account: %+v, %v", got, err)
	}
	all, err := s.Survey.EmailIDs(ctx, 7, 0, 100)
	if err != nil || len(all) != 30 || !slices.IsSorted(all) {
		t.Fatalf("EmailIDs: %v, %v", all, err)
	}
	if part, err := s.Survey.EmailIDs(ctx, 7, all[4], 10); err != nil || !slices.Equal(part, all[5:15]) {
		t.Errorf("ten emails behind the fifth: %v, %v", part, err)
	}
	if n, err := s.Survey.CountEmails(ctx, 7); err != nil || n != 30 {
		t.Errorf("CountEmails: %d, %v", n, err)
	}
}
