package imap_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	imapsvc "github.com/mailfarm/mailfarm/services/imap"
)

// flated is a client's end that compresses, in one stream with its history, as real ones do.
type flated struct {
	net.Conn
	w *flate.Writer
	r io.Reader
}

func (c *flated) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.w.Flush()
}

func (c *flated) Read(p []byte) (int, error) { return c.r.Read(p) }

// compressed logs in and begins to compress; the plain connection is there too.
func compressed(t *testing.T, f *farm, user string) (*lineConn, net.Conn) {
	t.Helper()
	c := dial(t, f.addr, false)
	fmt.Fprintf(c, "a LOGIN %s %s\r\nb COMPRESS DEFLATE\r\n", user, quote(password))
	for {
		line, err := c.readLine()
		check(t, err)
		if strings.HasPrefix(line, "b ") {
			if !strings.HasPrefix(line, "b OK") {
				t.Fatal(line)
			}
			break
		}
	}
	if c.r.Buffered() > 0 {
		t.Fatal("something came before it was asked for")
	}
	w, err := flate.NewWriter(c.Conn, flate.BestCompression)
	check(t, err)
	z := &flated{Conn: c.Conn, w: w, r: flate.NewReader(c.Conn)}
	return &lineConn{Conn: z, r: bufio.NewReader(z)}, c.Conn
}

// ask sends a command and returns the lines up to its tagged response.
func (c *lineConn) ask(t *testing.T, tag, command string) []string {
	t.Helper()
	_, err := fmt.Fprintf(c, "%s %s\r\n", tag, command)
	check(t, err)
	return c.until(t, tag+" ")
}

func (c *lineConn) until(t *testing.T, prefix string) []string {
	t.Helper()
	var lines []string
	for {
		line, err := c.readLine()
		if err != nil {
			t.Fatalf("waiting for %q: %v, after %q", prefix, err, lines)
		}
		lines = append(lines, line)
		if strings.HasPrefix(line, prefix) {
			return lines
		}
	}
}

func TestCompress(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 300)...)
	c, _ := compressed(t, f, user)
	if got := c.ask(t, "c", "CAPABILITY"); strings.Contains(got[0], "COMPRESS") || !strings.HasPrefix(got[1], "c OK") {
		t.Errorf("CAPABILITY: %q", got)
	}
	if got := c.ask(t, "d", "COMPRESS DEFLATE"); !strings.HasPrefix(got[0], "d NO [COMPRESSIONACTIVE]") {
		t.Errorf("COMPRESS again: %q", got)
	}
	c.ask(t, "e", "SELECT INBOX")
	if got := c.ask(t, "f", "FETCH 1:* (UID FLAGS ENVELOPE)"); len(got) != 301 || !strings.HasPrefix(got[299], "* 300 FETCH (UID 300 ") {
		t.Errorf("FETCH told of %d", len(got)-1)
	}
	// A message larger than all buffers, of octets that do not compress, and back.
	noise := make([]byte, 300<<10)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte('!' + rnd.IntN(90))
		if i%77 == 75 {
			noise[i], noise[i-1] = '\n', '\r'
		}
	}
	text := "Subject: noise\r\n\r\n" + string(noise)
	_, err := fmt.Fprintf(c, "g APPEND INBOX {%d}\r\n", len(text))
	check(t, err)
	c.until(t, "+ ")
	_, err = io.WriteString(c, text+"\r\n")
	check(t, err)
	c.until(t, "g OK")
	_, err = fmt.Fprint(c, "h FETCH 301 BODY.PEEK[]\r\n")
	check(t, err)
	c.until(t, fmt.Sprintf("* 301 FETCH (BODY[] {%d}", len(text)))
	back := make([]byte, len(text))
	if _, err := io.ReadFull(c.r, back); err != nil || string(back) != text {
		t.Errorf("the message came back otherwise: %v", err)
	}
	c.until(t, "h OK")
	// Pushes are flushed.
	_, err = fmt.Fprint(c, "i IDLE\r\n")
	check(t, err)
	c.until(t, "+ ")
	f.fill(t, account, "INBOX", numbered(400, 401)...)
	c.until(t, "* 302 EXISTS")
	_, err = fmt.Fprint(c, "DONE\r\nj LOGOUT\r\n")
	check(t, err)
	c.until(t, "j OK")
}

// partly writes literals of static codes and flushes as zlib does with Z_PARTIAL_FLUSH: by an empty static block, of which some
// bits stay for the next write (isync does so).
type partly struct {
	net.Conn
	r     io.Reader
	bits  uint64
	count int
}

func (c *partly) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *partly) Write(p []byte) (int, error) {
	var out []byte
	put := func(value uint64, n int) {
		c.bits |= value << c.count
		for c.count += n; c.count >= 8; c.count -= 8 {
			out = append(out, byte(c.bits))
			c.bits >>= 8
		}
	}
	put(2, 3)
	for _, b := range p { // below 144: codes of 8 bits from 0x30
		put(uint64(bits.Reverse8(0x30+b)), 8)
	}
	put(0, 7)
	put(2, 10)
	_, err := c.Conn.Write(out)
	return len(p), err
}

// TestCompressPartialFlush reads all of what was flushed so, also behind more than a window of data.
func TestCompressPartialFlush(t *testing.T) {
	f := startFarm(t, nil)
	user, _ := f.account(t)
	c, raw := compressed(t, f, user)
	c.Conn = &partly{Conn: raw, r: c.Conn}
	for i := range 16 { // to end at all bits of an octet
		tag := fmt.Sprint("p", i)
		if got := c.ask(t, tag, "NOOP"); got[0] != tag+" OK NOOP completed" {
			t.Fatal(got)
		}
	}
	for i, size := range []int{40_000, 100_000, 200_001} {
		tag := fmt.Sprint("q", i)
		text := "Subject: long\r\n\r\n" + strings.Repeat("0123456 ", size/8)
		if got := c.ask(t, tag, fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text)); !strings.HasPrefix(got[len(got)-1], tag+" OK") {
			t.Fatal(got)
		}
	}
}

// TestCompressDynamicFlush answers what zlib wrote with Z_HUFFMAN_ONLY and Z_PARTIAL_FLUSH: "p0 NOOP", and `p1 LIST "" aaa…` in
// a block of dynamic codes, of which other readers keep the last octet until more comes.
func TestCompressDynamicFlush(t *testing.T) {
	f := startFarm(t, nil)
	user, _ := f.account(t)
	c, raw := compressed(t, f, user)
	for _, command := range []struct{ octets, want string }{
		{"2a3050f0f3f70fe0e50208", "p0 OK "},
		{"40101cd30000024100db49f0707907c820617b0cd401fe27dab77276df540500000000608e2f", "p1 OK "},
	} {
		b, err := hex.DecodeString(command.octets)
		check(t, err)
		_, err = raw.Write(b)
		check(t, err)
		c.until(t, command.want)
	}
}

// TestCompressBombs sends what is small on the wire and huge behind it, and what is no compressed data.
func TestCompressBombs(t *testing.T) {
	f := startFarm(t, func(c *imapsvc.Config) { c.MaxAppend = 1 << 20 })
	user, _ := f.account(t)
	bomb := func(prefix string, zeros int) []byte {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestCompression)
		check(t, err)
		io.WriteString(w, prefix)
		blank := bytes.Repeat([]byte("a"), 1<<20)
		for ; zeros > 0; zeros -= len(blank) {
			w.Write(blank[:min(zeros, len(blank))])
		}
		check(t, w.Flush())
		return b.Bytes()
	}
	for name, want := range map[string]struct {
		octets []byte
		says   string
	}{
		"line":            {bomb("x NOOP ", 40<<20), "* BYE [TOOBIG] "},
		"literal":         {bomb("x APPEND INBOX {200000000+}\r\n", 40<<20), "* BYE [TOOBIG] "},
		"literal, waited": {bomb("x LIST \"\" {200000000}\r\n", 0), "x BAD [TOOBIG] "},
		"garbage":         {bytes.Repeat([]byte{0xff}, 4000), ""},
		"blocks of nothing": {append(bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 100_000),
			bomb("x NOOP\r\n", 0)...), "x OK "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, raw := compressed(t, f, user)
			raw.SetWriteDeadline(time.Now().Add(dialogueWait))
			raw.Write(want.octets) // who is cut off need not hear all
			for {
				line, err := c.readLine()
				if want.says != "" && strings.HasPrefix(line, want.says) {
					return
				}
				if err != nil {
					if ne, ok := err.(net.Error); ok && ne.Timeout() || want.says != "" {
						t.Fatalf("%v, want %q", err, want.says)
					}
					return
				}
			}
		})
	}
}

func TestNoCompress(t *testing.T) {
	f := startFarm(t, func(c *imapsvc.Config) { c.NoCompress = true })
	user, _ := f.account(t)
	w := watch(t, f, user)
	if r := w.try("COMPRESS DEFLATE"); !strings.HasPrefix(r, "NO [CANNOT]") {
		t.Errorf("COMPRESS: %s", r)
	}
	w.do("CAPABILITY")
	if strings.Contains(strings.Join(w.c.seen, "\n"), "COMPRESS") {
		t.Errorf("offered: %q", w.c.seen)
	}
}
