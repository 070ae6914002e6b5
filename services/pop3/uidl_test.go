package pop3_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestUIDLsAreKept shows that messages are called what they were called where they were imported from.
func TestUIDLsAreKept(t *testing.T) {
	f := startFarm(t, nil)
	user, id := f.user(t)
	const text = "Subject: x\r\n\r\nx\r\n"
	stream, err := f.imports.Import(t.Context())
	check(t, err)
	check(t, stream.Send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Begin{Begin: &storev1.ImportBegin{
		Account: id, Mailbox: "INBOX", UidValidity: 0x65432100}}}))
	for i, uidl := range []string{"cur/1.a", "", "cur/1.a", "6543210000000009", "6543210000000014", "last"} {
		for _, part := range []*storev1.ImportRequest{
			{Part: &storev1.ImportRequest_Start{Start: &storev1.ImportStart{Key: fmt.Append(nil, i), Size: int64(len(text)), Uid: uint32(i + 16), Uidl: uidl}}},
			{Part: &storev1.ImportRequest_Data{Data: []byte(text)}}, {Part: &storev1.ImportRequest_End{End: true}},
		} {
			check(t, stream.Send(part))
		}
	}
	resp, err := stream.CloseAndRecv()
	check(t, err)
	f.file(t, id, text)
	if _, err := f.mailboxes.Expunge(t.Context(), &storev1.ExpungeRequest{Account: id, Mailbox: resp.Mailbox, Uids: []byte{17, 0}, Force: true}); err != nil {
		t.Fatal(err)
	}
	c := f.login(t, user)
	c.must(t, "UIDL")
	var got []string
	for line := range strings.Lines(string(c.body(t))) {
		got = append(got, strings.TrimSpace(line))
	}
	want := []string{"1 cur/1.a", "2 6543210000000012", "3 6543210000000013", "4 6543210000000014", "5 last", "6 6543210000000016"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.must(t, "UIDL 5"); got != "+OK 5 last" {
		t.Errorf("UIDL 5: got %q", got)
	}
	c.must(t, "QUIT")
}
