package imap_test

import (
	"context"
	"io"
	"regexp"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// overheard is a store of which it is known what is asked for: read has the MODSEQ since when a mailbox was read, and the one
// it was read at, once it was.
type overheard struct {
	storev1.MailboxesClient
	read chan [2]uint64
}

func (o overheard) Snapshot(ctx context.Context, in *storev1.SnapshotRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	s, err := o.MailboxesClient.Snapshot(ctx, in, opts...)
	return &overheardPages{s, [2]uint64{in.GetSinceModSeq()}, o.read}, err
}

type overheardPages struct {
	grpc.ServerStreamingClient[storev1.SnapshotResponse]
	at   [2]uint64
	read chan [2]uint64
}

func (p *overheardPages) Recv() (*storev1.SnapshotResponse, error) {
	page, err := p.ServerStreamingClient.Recv()
	if m := page.GetMailbox(); m != nil {
		p.at[1] = m.GetHighestModSeq()
	}
	if err == io.EOF {
		p.read <- p.at
	}
	return page, err
}

// next is what is read next.
func (o overheard) next(t *testing.T) (since, at uint64) {
	t.Helper()
	select {
	case r := <-o.read:
		return r[0], r[1]
	case <-time.After(time.Minute):
		t.Fatal("nothing is read")
		return 0, 0
	}
}

var highestLine = regexp.MustCompile(`\[HIGHESTMODSEQ (\d+)\]`)

// TestLeftIsKeptCurrent: flags that change all over a large mailbox when no session has it open are read before the next one
// comes, which reads nothing of them.
func TestLeftIsKeptCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a large mailbox")
	}
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 1100)...)
	heard := overheard{f.mailboxes, make(chan [2]uint64, 100)}
	f.mailboxes = heard
	addr := f.another(t)
	// do runs a command and returns the last HIGHESTMODSEQ it told of.
	do := func(c *lineConn, command string) (highest uint64) {
		t.Helper()
		_, err := io.WriteString(c, "z "+command+"\r\n")
		check(t, err)
		for {
			line, err := c.readLine()
			check(t, err)
			if m := highestLine.FindStringSubmatch(line); m != nil {
				highest, _ = strconv.ParseUint(m[1], 10, 64)
			}
			if len(line) > 2 && line[:2] == "z " {
				if len(line) < 4 || line[:4] != "z OK" {
					t.Fatalf("%s: %s", command, line)
				}
				return highest
			}
		}
	}
	login := func() *lineConn {
		c := dial(t, addr, false)
		_, err := c.readLine()
		check(t, err)
		do(c, "LOGIN "+user+" "+quote(password))
		return c
	}
	c := login()
	do(c, "SELECT INBOX")
	for range 4 { // 17,600 messages
		do(c, "COPY 1:* INBOX")
		do(c, "NOOP")
	}
	do(c, "SELECT INBOX")
	do(c, "LOGOUT")
	for drained := false; !drained; {
		select {
		case <-heard.read:
		default:
			drained = true
		}
	}
	found, err := f.mailboxes.Find(t.Context(), &storev1.FindRequest{Account: account, Names: []string{"INBOX"}})
	check(t, err)
	box := found.GetFound()[0].GetMailbox()
	resp, err := f.mailboxes.Flag(t.Context(), &storev1.FlagRequest{
		Account: account, Mailbox: box.GetId(), Uids: mailbox.AppendUIDSet(nil, mailbox.NewUIDSet(mailbox.UIDRange{First: 1, Last: mailbox.UID(box.GetUidNext())})),
		Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Seen`},
	})
	check(t, err)
	flagged := resp.GetModSeq()
	for at := uint64(0); at < flagged; {
		_, at = heard.next(t)
	}
	c = login()
	if got := do(c, "SELECT INBOX"); got != flagged {
		t.Errorf("selected at %d, want %d", got, flagged)
	}
	if since, _ := heard.next(t); since != flagged {
		t.Errorf("SELECT read what changed since %d, want %d", since, flagged)
	}
	do(c, "LOGOUT")
}
