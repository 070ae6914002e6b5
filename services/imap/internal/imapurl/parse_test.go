package imapurl

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const token = "0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		want *URL // nil: refused
	}{
		{"/INBOX;UIDVALIDITY=785799047/;UID=113330;section=1.5.9", nil}, // the slash before the section is missing
		{"/INBOX;UIDVALIDITY=785799047/;UID=113330/;section=1.5.9", &URL{Mailbox: "INBOX", UIDValidity: 785799047, UID: 113330, Section: "1.5.9"}},
		{"/INBOX/;UID=20", &URL{Mailbox: "INBOX", UID: 20}},
		{"INBOX/;UID=20", &URL{Mailbox: "INBOX", UID: 20}},
		{";UID=20/;PARTIAL=0.1024", &URL{UID: 20, Partial: true, Length: 1024}},
		{"/;UID=20", nil},
		{";UID=20/;SECTION=HEADER.FIELDS%20(Subject)/;PARTIAL=7", &URL{UID: 20, Section: "HEADER.FIELDS (Subject)", Partial: true, Offset: 7}},
		{"/gr%c3%bcn/a%20b/;uid=1", &URL{Mailbox: "grün/a b", UID: 1}},
		{"imap://joe@example.com/INBOX/;uid=20/;section=1.2", &URL{Absolute: true, User: "joe", Host: "example.com", Mailbox: "INBOX", UID: 20, Section: "1.2"}},
		{"IMAP://joe%40example.org;AUTH=*@example.com:143/INBOX;UIDVALIDITY=3/;UID=4", &URL{Absolute: true, User: "joe@example.org", Host: "example.com:143",
			Mailbox: "INBOX", UIDValidity: 3, UID: 4}},
		{"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred", &URL{Absolute: true, User: "joe", Host: "example.com", Mailbox: "INBOX", UID: 20,
			Section: "1.2", Auth: &Auth{Access: "submit+fred", Name: "fred", Rump: "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred"}}},
		{"imap://joe@example.com/INBOX/;uid=20;expire=2026-01-02T03:04:05Z;urlauth=Anonymous:internal:" + token, &URL{Absolute: true, User: "joe",
			Host: "example.com", Mailbox: "INBOX", UID: 20, Auth: &Auth{Expire: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Access: "anonymous",
				Rump: "imap://joe@example.com/INBOX/;uid=20;expire=2026-01-02T03:04:05Z;urlauth=Anonymous", Mechanism: "INTERNAL", Token: token}}},
		{"imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous:internal:123", nil},
		{"imap://joe@example.com/INBOX/;uid=20;urlauth=everybody", nil},
		{"imap://joe@example.com/INBOX/;uid=20;urlauth=user+", nil},
		{"imap://joe@example.com/INBOX/;uid=20;expire=2026-01-02T03:04:05Z", nil},
		{"imap://joe@example.com/INBOX/;uid=20;expire=tomorrow;urlauth=anonymous", nil},
		{"imap://joe@example.com", nil},
		{"imap:///INBOX/;UID=1", nil},
		{"http://example.com/INBOX/;UID=1", &URL{Mailbox: "http://example.com/INBOX", UID: 1}}, // a name like any other, which is nobody's
		{"/INBOX?SUBJECT%20x", nil},
		{"/INBOX", nil},
		{"/INBOX;UID=1", nil},
		{"/INBOX/;UID=0", nil},
		{"/INBOX/;UID=4294967296", nil},
		{"/INBOX/;UID=1/;UID=2", nil},
		{"/INBOX/;UID=1/;PARTIAL=1.0", nil},
		{"/INBOX/;UID=1/;SECTION=", nil},
		{"/INBOX/;UID=1/;PARTIAL=1/;SECTION=2", nil},
		{"/IN%zzBOX/;UID=1", nil},
		{"/%ff/;UID=1", nil},
		{"/%00/;UID=1", nil},
		{"/IN BOX/;UID=1", nil},
		{"", nil},
		{"/" + strings.Repeat("x", Max) + "/;UID=1", nil},
	} {
		got, err := Parse(tt.text)
		if (err == nil) != (tt.want != nil) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
			if got != nil && got.Auth != nil {
				t.Logf("auth %+v", *got.Auth)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("imap://joe@example.com/INBOX;UIDVALIDITY=1/;uid=20/;section=1.2/;partial=1.2;expire=2026-01-02T03:04:05Z;urlauth=user+x:INTERNAL:" + token)
	f.Add(";UID=1")
	f.Add("/a%2fb/;UID=7/;PARTIAL=0")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := Parse(text)
		if err != nil {
			return
		}
		if u.UID == 0 || u.Offset < 0 || u.Length < 0 || strings.ContainsAny(u.Mailbox+u.Section+u.User, "\r\n\x00") {
			t.Errorf("Parse(%q) = %+v", text, u)
		}
		if a := u.Auth; a != nil && (!strings.HasPrefix(text, a.Rump) || a.Mechanism != "" && len(text) != len(a.Rump)+2+len(a.Mechanism)+len(a.Token)) {
			t.Errorf("Parse(%q): authorization %+v", text, a)
		}
	})
}
