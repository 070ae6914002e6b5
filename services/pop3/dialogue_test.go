package pop3_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dialogueWait bounds the wait for one line.
const dialogueWait = 20 * time.Second

// standing are the messages that every dialogue finds in its INBOX.
var standing = []string{
	"Subject: one\r\nFrom: a@example.net\r\n\r\nfirst line\r\nsecond line\r\n",
	"Subject: dots\r\n\r\n.\r\n..two\r\n.three\r\nno line end",
	"Subject: =?utf-8?q?bare?=\nX-Raw: ä\n\nbare LF\n.\nlast\n",
}

// TestDialogues runs testdata/*.dialogue against a farm. Each file begins with a fresh account, with the standing messages in
// its INBOX, and a connection to the listener that takes passwords in the clear, on which nothing was read yet. Its lines:
//
//	C: text       send a line
//	X: "a\x00"*3  send octets, Go-quoted, so many times, without a line end
//	S: text       expect this line; … stands for anything
//	E:            expect the connection to end
//	C2: S2: E2:   the same on a second connection
//	! login       log in by USER and PASS, from the greeting on
//	! strict      go on with a connection to the listener that wants TLS; ! implicit to the one that begins with it
//	! tls         shake hands
//	! drop        close the connection
//	! inbox 2 1   expect so many messages in INBOX, and so many unseen
//	# text        a remark
//
// $user, $pass and $plain (SASL PLAIN in base64) stand for the account's.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dialogue")
	check(t, err)
	if len(files) < 20 {
		t.Fatalf("%d dialogues found", len(files))
	}
	f := startFarm(t, nil)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialogue"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			check(t, err)
			d := &dialogue{t: t, f: f, file: filepath.Base(file), addr: f.addr, conns: map[string]*lineConn{}}
			d.user, d.account = f.user(t)
			f.file(t, d.account, standing...)
			d.run(strings.Split(strings.TrimRight(string(text), "\n"), "\n"))
		})
	}
}

type dialogue struct {
	t       *testing.T
	f       *farm
	file    string
	line    int
	addr    string
	user    string
	account uint64
	conns   map[string]*lineConn
}

// lineConn is a client's end.
type lineConn struct {
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *lineConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	check(t, err)
	t.Cleanup(func() { nc.Close() })
	check(t, nc.SetDeadline(time.Now().Add(dialogueWait)))
	return &lineConn{Conn: nc, r: bufio.NewReader(nc)}
}

// secure shakes hands.
func (c *lineConn) secure() *tls.Conn {
	tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	c.Conn, c.r = tc, bufio.NewReader(tc)
	return tc
}

func (c *lineConn) readLine() (string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return line, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return line, fmt.Errorf("line %q ends without CRLF", line)
	}
	return line, nil
}

func (d *dialogue) fail(format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf("%s:%d: %s", d.file, d.line, fmt.Sprintf(format, args...))
}

func (d *dialogue) conn(name string) *lineConn {
	c := d.conns[name]
	if c == nil {
		c = dial(d.t, d.addr)
		d.conns[name] = c
	}
	return c
}

func (d *dialogue) expand(s string) string {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + d.user + "\x00" + password))
	return strings.NewReplacer("$user", d.user, "$pass", password, "$plain", plain).Replace(s)
}

func (d *dialogue) run(lines []string) {
	for i, line := range lines {
		d.line = i + 1
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '!' {
			d.directive(strings.Fields(line[1:]))
			continue
		}
		verb, rest, ok := strings.Cut(line, ":")
		if !ok {
			d.fail("cannot read %q", line)
		}
		rest = d.expand(strings.TrimPrefix(rest, " "))
		c := d.conn(strings.Trim(verb, "CSXE"))
		switch verb[0] {
		case 'C':
			d.write(c, rest+"\r\n")
		case 'X':
			d.writeRaw(c, rest)
		case 'S':
			d.expect(c, rest)
		case 'E':
			if line, err := c.readLine(); line != "" || err != io.EOF && !strings.Contains(fmt.Sprint(err), "reset") {
				d.fail("got %q, %v; want the end", line, err)
			}
		default:
			d.fail("cannot read %q", line)
		}
	}
}

func (d *dialogue) write(c *lineConn, s string) {
	if _, err := io.WriteString(c, s); err != nil {
		// A server that hung up does not read on; what it said is looked at next.
		d.t.Logf("%s:%d: write: %v", d.file, d.line, err)
	}
}

func (d *dialogue) writeRaw(c *lineConn, text string) {
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		d.fail("%v", err)
	}
	octets, err := strconv.Unquote(quoted)
	if err != nil {
		d.fail("%v", err)
	}
	times := 1
	if rest := strings.TrimLeft(text[len(quoted):], " *"); rest != "" {
		if times, err = strconv.Atoi(rest); err != nil {
			d.fail("%v", err)
		}
	}
	d.write(c, strings.Repeat(octets, times))
}

func (d *dialogue) expect(c *lineConn, want string) {
	d.t.Helper()
	pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$")
	got, err := c.readLine()
	if err != nil || !pattern.MatchString(got) {
		d.fail("got %q, %v; want %q", got, err, want)
	}
}

func (d *dialogue) directive(words []string) {
	switch words[0] {
	case "login":
		c := d.conn("")
		d.expect(c, "+OK …")
		d.write(c, "USER "+d.user+"\r\nPASS "+password+"\r\n")
		d.expect(c, "+OK …")
		d.expect(c, "+OK …")
	case "strict":
		d.addr = d.f.strict
	case "implicit":
		d.addr = d.f.secure
		d.conn("").secure()
	case "tls":
		check(d.t, d.conn("").secure().Handshake())
	case "drop":
		d.conn("").Close()
		delete(d.conns, "")
	case "inbox":
		m := d.f.inbox(d.t, d.account)
		if got := fmt.Sprint(m.Messages, " ", m.Unseen); got != words[1]+" "+words[2] {
			d.fail("INBOX has %s messages and unseen, want %s", got, words[1:])
		}
	default:
		d.fail("cannot read %q", words)
	}
}
