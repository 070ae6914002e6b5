package imap_test

import (
	"bufio"
	"bytes"
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

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// dialogueWait bounds the wait for one line.
const dialogueWait = 20 * time.Second

// TestDialogues runs testdata/*.dialogue against a farm. Each file begins with a fresh account and an open connection, on
// which the greeting has been read. Its lines:
//
//	C: text      send a line. {#} and {#+} at its end announce the following "|" lines as a literal
//	| text       a line of that literal
//	X: "a\x00" * 3   send octets, Go-quoted, so many times, without a line end
//	S: text      expect this line; … stands for anything
//	S+: text     pass over lines up to this one
//	S-: text     no such line came since the last C
//	E:           expect the connection to end
//	! login      log in; ! select, ! starttls, ! tls, ! strict, ! drop
//	! login 2 $bob   on the second connection, as somebody else
//	C2: S2: …    the same on a second connection
//	# text       a remark
//
// ‹name› stands for anything where a line is expected for the first time, and from then on for what it was.
//
// Dialogues of farms with other settings lie in folders of their own.
//
// $user, $pass and $plain (SASL PLAIN in base64) stand for the account's; $bob and $carol for others', $shared for a shared
// account in which bob has all rights, and $group for a group with carol in it.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dialogue")
	check(t, err)
	if len(files) < 40 {
		t.Fatalf("%d dialogues found", len(files))
	}
	f := startFarm(t, nil)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialogue"), func(t *testing.T) {
			t.Parallel()
			f.speak(t, file, f.user(t))
		})
	}
}

// speak runs one dialogue as somebody.
func (f *farm) speak(t *testing.T, file, user string) {
	text, err := os.ReadFile(file)
	check(t, err)
	d := &dialogue{t: t, f: f, file: filepath.Base(file), user: user, conns: map[string]*lineConn{}, kept: map[string]string{}}
	d.run(strings.Split(strings.TrimRight(string(text), "\n"), "\n"))
}

type dialogue struct {
	t    *testing.T
	f    *farm
	file string
	line int
	user string
	// others are accounts and groups by what stands for them.
	others map[string]string
	conns  map[string]*lineConn
	// kept is what ‹name› stands for.
	kept map[string]string
}

// lineConn is a client's end.
type lineConn struct {
	net.Conn
	r    *bufio.Reader
	seen []string // since the last C

	loggedIn bool
}

func dial(t testing.TB, addr string, implicit bool) *lineConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	check(t, err)
	if implicit {
		nc = tls.Client(nc, clientTLS())
	}
	t.Cleanup(func() { nc.Close() })
	return &lineConn{Conn: nc, r: bufio.NewReader(nc)}
}

func (c *lineConn) readLine() (string, error) {
	c.SetReadDeadline(time.Now().Add(dialogueWait))
	line, err := c.r.ReadString('\n')
	if err != nil {
		return line, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return line, fmt.Errorf("line %q ends without CRLF", line)
	}
	c.seen = append(c.seen, line)
	return line, nil
}

func (d *dialogue) fail(format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf("%s:%d: %s", d.file, d.line, fmt.Sprintf(format, args...))
}

func (d *dialogue) conn(name string) *lineConn {
	if c := d.conns[name]; c != nil {
		return c
	}
	c := dial(d.t, d.f.addr, false)
	d.conns[name] = c
	d.expect(c, "* OK …")
	return c
}

func (d *dialogue) expand(s string) string {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + d.user + "\x00" + password))
	for _, name := range []string{"$bob", "$carol", "$shared", "$group"} {
		if strings.Contains(s, name) {
			s = strings.ReplaceAll(s, name, d.other(name))
		}
	}
	for name, is := range d.kept {
		s = strings.ReplaceAll(s, "‹"+name+"›", is)
	}
	return strings.NewReplacer("$user", d.user, "$pass", quote(password), "$plain", plain).Replace(s)
}

// other is somebody else, who is there from the first mention on.
func (d *dialogue) other(name string) string {
	if d.others == nil {
		d.others = map[string]string{}
	}
	if d.others[name] != "" {
		return d.others[name]
	}
	ctx := d.t.Context()
	switch name {
	case "$group":
		d.others[name] = "of-" + strings.ReplaceAll(d.user, "@", "-")
		_, err := d.f.groups.AddToGroup(ctx, &directoryv1.AddToGroupRequest{Name: d.others[name], Members: []string{d.other("$carol")}})
		check(d.t, err)
	case "$shared":
		address, id := d.f.account(d.t)
		d.others[name] = address
		_, err := d.f.groups.SetShared(ctx, &directoryv1.SetSharedRequest{Address: address, Shared: true})
		check(d.t, err)
		_, err = d.f.sharing.SetACL(ctx, &storev1.SetACLRequest{
			Account: id, Identifier: d.other("$bob"), Mode: storev1.ACLMode_ACL_MODE_REPLACE, Rights: "lrswipkxtea",
		})
		check(d.t, err)
	default:
		d.others[name] = d.f.user(d.t)
	}
	return d.others[name]
}

func (d *dialogue) run(lines []string) {
	for i := 0; i < len(lines); i++ {
		d.line = i + 1
		line := lines[i]
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '!' {
			d.directive(strings.Fields(line[1:]))
			continue
		}
		verb, rest, ok := strings.Cut(line, ":")
		rest = strings.TrimPrefix(rest, " ")
		name := strings.Trim(verb, "CSXE+-")
		if !ok {
			d.fail("cannot read %q", line)
		}
		c := d.conn(name)
		switch strings.ReplaceAll(verb, name, "") {
		case "C":
			var literal []string
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|") {
				i++
				literal = append(literal, strings.TrimPrefix(strings.TrimPrefix(lines[i], "|"), " "))
			}
			d.send(c, d.expand(rest), literal)
		case "X":
			d.sendRaw(c, rest)
		case "S":
			d.expect(c, rest)
		case "S+", "+S":
			d.skipTo(c, rest)
		case "S-":
			for _, line := range c.seen {
				if pattern(rest).MatchString(line) {
					d.fail("unwanted line %q", line)
				}
			}
		case "E":
			if line, err := c.readLine(); err != io.EOF && !strings.Contains(fmt.Sprint(err), "reset") {
				d.fail("got %q, %v, want the end", line, err)
			}
		default:
			d.fail("cannot read %q", line)
		}
	}
}

// send writes a line, or one with a literal, waiting to be asked for it where that is due.
func (d *dialogue) send(c *lineConn, line string, literal []string) {
	c.seen = nil
	if literal == nil {
		d.write(c, line+"\r\n")
		return
	}
	data := strings.Join(literal, "\r\n") + "\r\n"
	n := strconv.Itoa(len(data))
	switch {
	case strings.HasSuffix(line, "{#+}"):
		d.write(c, strings.TrimSuffix(line, "#+}")+n+"+}\r\n"+data+"\r\n")
	case strings.HasSuffix(line, "{#}"):
		d.write(c, strings.TrimSuffix(line, "#}")+n+"}\r\n")
		d.expect(c, "+ …")
		d.write(c, data+"\r\n")
	default:
		d.fail("a literal without announcement")
	}
}

func (d *dialogue) write(c *lineConn, s string) {
	c.SetWriteDeadline(time.Now().Add(dialogueWait))
	if _, err := io.WriteString(c, s); err != nil {
		// A server that has said BYE does not read on; what it said is looked at next.
		d.t.Logf("%s:%d: write: %v", d.file, d.line, err)
	}
}

// sendRaw writes "octets" * n.
func (d *dialogue) sendRaw(c *lineConn, text string) {
	c.seen = nil
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		d.fail("%v", err)
	}
	s, _ := strconv.Unquote(quoted)
	n := 1
	if _, times, ok := strings.Cut(text[len(quoted):], "*"); ok {
		if n, err = strconv.Atoi(strings.TrimSpace(times)); err != nil {
			d.fail("%v", err)
		}
	}
	d.write(c, d.expand(strings.Repeat(s, n)))
}

// pattern turns … into a wildcard, and ‹name› into one by that name.
func pattern(s string) *regexp.Regexp {
	s = keptName.ReplaceAllString(strings.ReplaceAll(regexp.QuoteMeta(s), "…", ".*"), "(?P<$1>.*)")
	return regexp.MustCompile("(?s)^" + s + "$")
}

var keptName = regexp.MustCompile("‹([a-z]+)›")

func (d *dialogue) expect(c *lineConn, want string) {
	d.t.Helper()
	got, err := c.readLine()
	if err != nil {
		d.fail("read: %v; got %.200q, want %q", err, got, want)
	}
	p := pattern(d.expand(want))
	m := p.FindStringSubmatch(got)
	if m == nil {
		d.fail("got  %.500q\nwant %.500q", got, want)
	}
	for i, name := range p.SubexpNames() {
		if name != "" {
			d.kept[name] = m[i]
		}
	}
}

func (d *dialogue) skipTo(c *lineConn, want string) {
	d.t.Helper()
	p := pattern(d.expand(want))
	var passed bytes.Buffer
	for range 10000 {
		got, err := c.readLine()
		if err != nil {
			d.fail("read: %v; want %q; passed\n%s%s", err, want, passed.String(), got)
		}
		if p.MatchString(got) {
			return
		}
		fmt.Fprintf(&passed, "%.200s\n", got)
	}
	d.fail("%q did not come", want)
}

func (d *dialogue) directive(words []string) {
	name := ""
	if len(words) > 1 {
		name = words[1]
	}
	switch words[0] {
	case "login":
		c := d.conn(name)
		user := d.user
		if len(words) > 2 {
			user = d.other(words[2])
		}
		d.write(c, "login LOGIN "+user+" "+quote(password)+"\r\n")
		d.skipTo(c, "login OK …")
		c.loggedIn = true
	case "select":
		c := d.conn(name)
		if !c.loggedIn {
			d.directive(append([]string{"login"}, words[1:]...))
		}
		d.write(c, "select SELECT INBOX\r\n")
		d.skipTo(c, "select OK …")
	case "tls":
		c := dial(d.t, d.f.secure, true)
		d.conns[name] = c
		d.expect(c, "* OK …")
	case "strict":
		c := dial(d.t, d.f.strict, false)
		d.conns[name] = c
		d.expect(c, "* OK …")
	case "starttls":
		c := d.conn(name)
		tc := tls.Client(c.Conn, clientTLS())
		tc.SetDeadline(time.Now().Add(dialogueWait))
		if err := tc.Handshake(); err != nil {
			d.fail("handshake: %v", err)
		}
		d.conns[name] = &lineConn{Conn: tc, r: bufio.NewReader(tc)}
	case "drop":
		d.conn(name).Close()
		delete(d.conns, name)
	default:
		d.fail("unknown directive %q", words)
	}
}
