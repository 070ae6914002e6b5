package imap_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// openCounter counts the calls that open bodies.
type openCounter struct {
	storev1.BodiesClient
	calls atomic.Int64
}

func (c *openCounter) Open(ctx context.Context, in *storev1.OpenRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.OpenResponse], error) {
	c.calls.Add(1)
	return c.BodiesClient.Open(ctx, in, opts...)
}

// olderStore is a store that does not know that bodies may come along.
type olderStore struct {
	storev1.MailboxesClient
	older atomic.Bool
}

func (s *olderStore) Emails(ctx context.Context, in *storev1.EmailsRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.EmailsResponse], error) {
	if s.older.Load() {
		in.BodiesUpTo = 0
	}
	return s.MailboxesClient.Emails(ctx, in, opts...)
}

// TestBodiesAlong: a few small messages are fetched without opening a body, larger and more ones by one call; and the client
// sees the same of a store that sends no bodies along.
func TestBodiesAlong(t *testing.T) {
	f := startFarm(t, nil)
	opened := &openCounter{BodiesClient: f.bodies}
	store := &olderStore{MailboxesClient: f.mailboxes}
	f.bodies, f.mailboxes, f.guarded = opened, store, store
	f.startRoles(t, nil)
	user, account := f.account(t)
	parts := "MIME-Version: 1.0\r\nFrom: a@example.org\r\nSubject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\r\n" +
		"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"
	f.fill(t, account, "INBOX", append(numbered(0, 20), parts, "Subject: large\r\n\r\n"+strings.Repeat("a line\r\n", 40_000))...)
	c := dial(t, f.addr, false)
	defer c.Close()
	c.readLine()
	ask := func(command string) string {
		_, err := io.WriteString(c, "z "+command+"\r\n")
		check(t, err)
		var all strings.Builder
		for {
			line, err := c.readLine()
			check(t, err)
			if strings.HasPrefix(line, "z ") {
				if !strings.HasPrefix(line, "z OK") {
					t.Fatalf("%s: %s", command, line)
				}
				return all.String()
			}
			all.WriteString(line + "\n")
		}
	}
	ask("LOGIN " + user + " " + quote(password))
	ask("SELECT INBOX")
	for _, tt := range []struct {
		command string
		opens   int64
	}{
		{"FETCH 3 BODY.PEEK[]", 0},
		{"FETCH 3 BODY.PEEK[]<5.20>", 0},
		{"FETCH 1:8 BODY.PEEK[]", 0},
		{"FETCH 1:9 BODY.PEEK[]", 1},
		{"FETCH 21 (BODY.PEEK[1] BODY.PEEK[2.MIME] BODY.PEEK[TEXT] BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)])", 0},
		{"FETCH 21 (BINARY.PEEK[1] BINARY.PEEK[2] BINARY.SIZE[2] BODY.PEEK[9] BODY.PEEK[HEADER])", 0},
		{"FETCH 22 BODY.PEEK[HEADER]", 1},
		{"FETCH 22 BODY.PEEK[]", 1},
		{"FETCH 1:4,22 BODY.PEEK[TEXT]<0.10>", 1},
		{"FETCH 4 (ENVELOPE BODYSTRUCTURE PREVIEW)", 0},
	} {
		store.older.Store(false)
		before := opened.calls.Load()
		got := ask(tt.command)
		if n := opened.calls.Load() - before; n != tt.opens {
			t.Errorf("%s: bodies were opened %d times, want %d", tt.command, n, tt.opens)
		}
		store.older.Store(true)
		if want := ask(tt.command); got != want || !strings.Contains(got, "FETCH (") {
			t.Errorf("%s: got\n%s\nand of a store that sends no bodies along\n%s", tt.command, got, want)
		}
	}
}
