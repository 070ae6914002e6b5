package pop3_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/pop3"
)

// must sends a command and wants +OK.
func (c *lineConn) must(t testing.TB, command string) string {
	t.Helper()
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	line, err := c.readLine()
	if err != nil || !strings.HasPrefix(line, "+OK") {
		t.Fatalf("%s: got %q, %v", command, line, err)
	}
	return line
}

// body reads a multi-line reply and undoes the stuffing.
func (c *lineConn) body(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	for {
		line, err := c.r.ReadBytes('\n')
		if err != nil {
			t.Fatalf("in a multi-line reply: %v", err)
		}
		if string(line) == ".\r\n" {
			return b.Bytes()
		}
		b.Write(bytes.TrimPrefix(line, []byte{'.'}))
	}
}

func (f *farm) login(t testing.TB, user string) *lineConn {
	t.Helper()
	c := dial(t, f.addr)
	if line, err := c.readLine(); err != nil || !strings.HasPrefix(line, "+OK") {
		t.Fatalf("greeting: got %q, %v", line, err)
	}
	c.must(t, "USER "+user)
	c.must(t, "PASS "+password)
	return c
}

// mail makes a message of about n octets whose lines are of all lengths and often begin with dots.
func mail(r *rand.Rand, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: %d octets\r\n\r\n", n)
	for b.Len() < n {
		b.WriteString(strings.Repeat(".", r.IntN(3)))
		for range r.IntN(100) {
			b.WriteByte(byte(' ' + r.IntN(95)))
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

func TestBodiesAreByteIdentical(t *testing.T) {
	f := startFarm(t, nil)
	user, id := f.user(t)
	r := rand.New(rand.NewPCG(3, 4))
	var want []string
	for _, n := range []int{10, 1000, 15_000, 16_384, 65_000, 65_536, 70_000, 300_000, 3_000_000} {
		want = append(want, mail(r, n))
	}
	f.file(t, id, want...)
	c := f.login(t, user)
	for i, w := range want {
		if got, size := c.must(t, fmt.Sprintf("LIST %d", i+1)), fmt.Sprintf("+OK %d %d", i+1, len(w)); got != size {
			t.Errorf("message %d: got %q, want %q", i+1, got, size)
		}
		c.must(t, fmt.Sprintf("RETR %d", i+1))
		if got := c.body(t); sha256.Sum256(got) != sha256.Sum256([]byte(w)) {
			t.Errorf("message %d of %d octets came as %d others", i+1, len(w), len(got))
		}
		// TOP of more lines than there are is the whole message; of some lines, its begin.
		for _, lines := range []int{0, 7, 400, 999_999} {
			c.must(t, fmt.Sprintf("TOP %d %d", i+1, lines))
			head := strings.SplitAfterN(w, "\r\n", lines+3)
			wantTop := strings.Join(head[:min(lines+2, len(head))], "")
			if got := c.body(t); string(got) != wantTop {
				t.Errorf("TOP %d %d: got %d octets, want %d", i+1, lines, len(got), len(wantTop))
			}
		}
	}
	c.must(t, "QUIT")
}

// TestManyMessages is about more than a chunk, and about removing a part of them.
func TestManyMessages(t *testing.T) {
	f := startFarm(t, nil)
	user, id := f.user(t)
	const n = 700
	var bodies []string
	for i := range n {
		bodies = append(bodies, fmt.Sprintf("Subject: %d\r\n\r\nbody of %d\r\n", i+1, i+1))
	}
	f.file(t, id, bodies...)
	c := f.login(t, user)
	c.must(t, "UIDL")
	ids := map[string]bool{}
	for line := range strings.Lines(string(c.body(t))) {
		_, uid, _ := strings.Cut(strings.TrimSpace(line), " ")
		if ids[uid] || len(uid) != 16 {
			t.Errorf("UIDL line %q: not unique, or not of 16 characters", line)
		}
		ids[uid] = true
	}
	if len(ids) != n {
		t.Fatalf("UIDL told of %d messages, want %d", len(ids), n)
	}
	// All at once, as a client does that trusts PIPELINING.
	var batch strings.Builder
	for i := range n {
		fmt.Fprintf(&batch, "RETR %d\r\n", i+1)
		if i%3 == 0 {
			fmt.Fprintf(&batch, "DELE %d\r\n", i+1)
		}
	}
	var sent sync.WaitGroup
	sent.Go(func() { io.WriteString(c, batch.String()) })
	for i := range n {
		if line, err := c.readLine(); err != nil || line != "+OK message follows" {
			t.Fatalf("RETR %d: got %q, %v", i+1, line, err)
		}
		if got := string(c.body(t)); got != bodies[i] {
			t.Fatalf("message %d: got %q, want %q", i+1, got, bodies[i])
		}
		if i%3 == 0 {
			if line, err := c.readLine(); err != nil || line != "+OK marked" {
				t.Fatalf("DELE %d: got %q, %v", i+1, line, err)
			}
		}
	}
	sent.Wait()
	c.must(t, "QUIT")
	if m := f.inbox(t, id); m.Messages != n-(n+2)/3 || m.Unseen != 0 {
		t.Errorf("%d messages are left, %d of them unseen; want %d and none", m.Messages, m.Unseen, n-(n+2)/3)
	}
}

// TestIMAPExpungesMeanwhile: what another client removed is gone, and the rest goes on.
func TestIMAPExpungesMeanwhile(t *testing.T) {
	f := startFarm(t, nil)
	user, id := f.user(t)
	f.file(t, id, standing...)
	c := f.login(t, user)
	box := f.inbox(t, id).Id
	_, err := f.mailboxes.Expunge(t.Context(), &storev1.ExpungeRequest{Account: id, Mailbox: box, Uids: []byte{2, 0}, Force: true})
	check(t, err)
	f.file(t, id, "Subject: new\r\n\r\n")
	if got := c.must(t, "STAT"); got != "+OK 3 160" {
		t.Errorf("STAT changed within a session: %q", got)
	}
	c.must(t, "DELE 1")
	c.must(t, "DELE 2") // gone already
	c.must(t, "QUIT")
	if m := f.inbox(t, id); m.Messages != 2 {
		t.Errorf("%d messages are left, want the third and the new one", m.Messages)
	}
}

func TestMaildropOfAnotherHolder(t *testing.T) {
	f := startFarm(t, nil)
	user, id := f.user(t)
	name := fmt.Sprintf("pop3/%d", id)
	_, err := f.leases.Acquire(t.Context(), &storev1.AcquireRequest{Name: name, Holder: "another process", DurationMs: 3_600_000})
	check(t, err)
	c := dial(t, f.addr)
	c.readLine()
	c.must(t, "USER "+user)
	io.WriteString(c, "PASS "+password+"\r\n")
	if line, err := c.readLine(); line != "-ERR [IN-USE] another session has this maildrop" {
		t.Errorf("got %q, %v", line, err)
	}
	_, err = f.leases.Release(t.Context(), &storev1.ReleaseRequest{Name: name, Holder: "another process"})
	check(t, err)
	c.must(t, "USER "+user)
	c.must(t, "PASS "+password)
}

// TestDyingConnectionGivesTheMaildropBack waits for the lock as a client does that comes again.
func TestDyingConnectionGivesTheMaildropBack(t *testing.T) {
	f := startFarm(t, func(c *pop3.Config) { c.LockWait = 10 * time.Second })
	user, id := f.user(t)
	f.file(t, id, standing...)
	for range 5 {
		c := f.login(t, user)
		c.must(t, "DELE 1")
		c.Close()
	}
	if m := f.inbox(t, id); m.Messages != 3 {
		t.Errorf("%d messages are left by sessions that died, want 3", m.Messages)
	}
}

func TestSCRAM(t *testing.T) {
	f := startFarm(t, nil)
	user, id := f.user(t)
	f.file(t, id, standing...)
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
		for _, initial := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, initial response %v", mechanism, initial), func(t *testing.T) {
				c := dial(t, f.secure)
				tc := c.secure()
				c.readLine()
				client, err := scram.SHA256.NewClient(user, password, "")
				check(t, err)
				conv := client.NewConversation()
				if mechanism == "SCRAM-SHA-256-PLUS" {
					state := tc.ConnectionState()
					binding, err := scram.NewTLSExporterBinding(&state)
					check(t, err)
					conv = client.NewConversationWithChannelBinding(binding)
				}
				first, err := conv.Step("")
				check(t, err)
				encoded := base64.StdEncoding.EncodeToString([]byte(first))
				if initial {
					fmt.Fprintf(c, "AUTH %s %s\r\n", mechanism, encoded)
				} else {
					fmt.Fprintf(c, "AUTH %s\r\n", mechanism)
					if line, err := c.readLine(); line != "+ " {
						t.Fatalf("got %q, %v", line, err)
					}
					fmt.Fprintf(c, "%s\r\n", encoded)
				}
				for range 2 {
					line, err := c.readLine()
					challenge, found := strings.CutPrefix(line, "+ ")
					if !found {
						t.Fatalf("got %q, %v", line, err)
					}
					text, err := base64.StdEncoding.DecodeString(challenge)
					check(t, err)
					answer, err := conv.Step(string(text))
					check(t, err)
					fmt.Fprintf(c, "%s\r\n", base64.StdEncoding.EncodeToString([]byte(answer)))
				}
				if line, err := c.readLine(); line != "+OK 3 160 octets" || !conv.Valid() {
					t.Fatalf("got %q, %v", line, err)
				}
				c.must(t, "QUIT")
			})
		}
	}
}

// TestTLS12HasNoBinding: tls-exporter is not safe there without more (RFC 9266 §4.2), so -PLUS is not offered.
func TestTLS12HasNoBinding(t *testing.T) {
	f := startFarm(t, nil)
	c := dial(t, f.secure)
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	c.r.Reset(c.Conn)
	c.readLine()
	c.must(t, "CAPA")
	if capa := string(c.body(t)); !strings.Contains(capa, "\nSASL SCRAM-SHA-256 PLAIN LOGIN\r\n") {
		t.Errorf("over TLS 1.2: %q", capa)
	}
}

func TestManySessionsAtOnce(t *testing.T) {
	f := startFarm(t, func(c *pop3.Config) { c.LockWait = 10 * time.Second })
	for range 4 {
		user, id := f.user(t)
		f.file(t, id, standing...)
		for range 4 { // in turn: each waits for the maildrop
			t.Run(user, func(t *testing.T) {
				t.Parallel()
				c := f.login(t, user)
				c.must(t, "RETR 1")
				c.body(t)
				c.must(t, "UIDL")
				c.body(t)
				c.must(t, "QUIT")
			})
		}
	}
}

func BenchmarkRetr(b *testing.B) {
	f := startFarm(b, nil)
	user, id := f.user(b)
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{4 << 10, 1 << 20} {
		f.file(b, id, mail(r, n))
	}
	c := f.login(b, user)
	c.SetDeadline(time.Time{})
	for i, name := range []string{"4KiB", "1MiB"} {
		b.Run(name, func(b *testing.B) {
			command := fmt.Sprintf("RETR %d", i+1)
			b.SetBytes([]int64{4 << 10, 1 << 20}[i])
			b.ReportAllocs()
			for b.Loop() {
				c.must(b, command)
				c.body(b)
			}
		})
	}
}

func BenchmarkSession(b *testing.B) {
	f := startFarm(b, nil)
	user, id := f.user(b)
	f.file(b, id, standing...)
	for b.Loop() {
		c := f.login(b, user)
		c.must(b, "STAT")
		c.must(b, "QUIT")
		c.Close()
	}
}
