package indextest

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
)

// letter is a message with a header of its own.
func letter(t tester, header string) index.Message {
	t.Helper()
	m := newMessage(500)
	var x message.Indexer
	x.Write([]byte(header + "\r\nx\r\n"))
	ix, err := x.Finish()
	if err != nil {
		t.Fatalf("index: %v", err)
	}
	m.PartIndex = ix.Encode(nil)
	return m
}

// conversations puts messages into threads by what they answer, whichever comes first, within one account.
func conversations(t *testing.T, s Subject) {
	ctx := t.Context()
	threads := func(account mailbox.AccountID, ids ...mailbox.EmailID) (out []mailbox.ThreadID) {
		t.Helper()
		list, err := s.Mailboxes.Emails(ctx, account, ids, false)
		if err != nil || len(list) != len(ids) {
			t.Fatalf("%d emails of %d, %v", len(list), len(ids), err)
		}
		for _, e := range list {
			out = append(out, e.Thread)
		}
		return out
	}
	deliver := func(account mailbox.AccountID, headers ...string) (ids []mailbox.EmailID) {
		t.Helper()
		var batch []index.Delivery
		for _, h := range headers {
			d := s.newDelivery(t, account)
			d.Message = letter(t, h)
			batch = append(batch, d)
		}
		results, err := s.Mailboxes.Deliver(ctx, batch)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Status != index.Delivered {
				t.Fatalf("delivery: %+v", r)
			}
			ids = append(ids, r.Email)
		}
		return ids
	}
	// A question; two answers in one batch; then what one of them refers to, and what belongs to none.
	q := deliver(7, "Message-ID: <q@x>\r\n")
	rest := deliver(7, "Message-ID: <a@x>\r\nIn-Reply-To: <q@x>\r\n", "Message-ID: <b@x>\r\nReferences: <q@x> <c@x>\r\n")
	rest = append(rest, deliver(7, "Message-ID: <c@x>\r\nSubject: Re: lost parts\r\n", "Message-ID: <other@x>\r\n", "Subject: no ids\r\n")...)
	got := threads(7, append(q, rest...)...)
	if got[0] == 0 || got[1] != got[0] || got[2] != got[0] {
		t.Errorf("answers are in %v, the question in %v", got[1:3], got[0])
	}
	if got[3] != got[0] {
		t.Errorf("what another refers to is in %v, that one in %v", got[3], got[2])
	}
	if got[4] == got[0] || got[5] == got[0] || got[4] == got[5] {
		t.Errorf("strangers are in %v and %v, the question in %v", got[4], got[5], got[0])
	}
	// Answers before what they answer, of which nothing came yet.
	early := deliver(7, "Message-ID: <y@x>\r\nIn-Reply-To: <lost@x>\r\n", "Message-ID: <z@x>\r\nIn-Reply-To: <lost@x>\r\n")
	late := deliver(7, "Message-ID: <lost@x>\r\n")
	if got := threads(7, early[0], early[1], late[0]); got[0] != got[1] || got[1] != got[2] {
		t.Errorf("answers and a late question are in %v", got)
	}
	// APPEND too, as with what one has sent oneself; and its copies.
	r, err := s.Mailboxes.Append(ctx, 7, "Sent", []index.Message{
		letter(t, "Message-ID: <s1@x>\r\nReferences: <a@x>\r\n"), letter(t, "Message-ID: <s2@x>\r\nIn-Reply-To: <s1@x>\r\n"), letter(t, "Message-ID: <q@x>\r\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range s.look(t, 7, r.Mailbox).entries() {
		if th := threads(7, e.Email); th[0] != got[0] {
			t.Errorf("UID %d of Sent is in %v, the question in %v", e.UID, th[0], got[0])
		}
	}
	// Another's conversations are none of ours.
	if theirs := threads(8, deliver(8, "Message-ID: <b2@x>\r\nIn-Reply-To: <q@x>\r\n")...); theirs[0] == got[0] {
		t.Error("a thread of two accounts")
	}
}
