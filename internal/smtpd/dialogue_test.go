package smtpd_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// TestDialogues plays testdata/*.dialogue against a server of its own:
//
//	# comment
//	option lmtp | require-auth | tls | recipients N | size N | errors N | refused N | messages N | auth-failures N
//	C: text          send a line with CRLF; C lines in a row leave in one write
//	C~ "text\r\n"    send exactly that, a Go string
//	C* 5000 "x"      send a string many times
//	S: 250 2.1.5     a line of reply that begins so
//	S* 9 250 2.0.0   so many lines that begin so
//	S= 250 text      a line of reply that is exactly so
//	TLS              the client starts TLS
//	HANGUP           the client closes its side
//	CLOSED           the server has closed the connection, with nothing more to say
//	MESSAGES 1       so many messages were accepted
//	BODY "text\r\n"  the last one's body
//	FROM "a@b"       its reverse-path
//	TO "a@b c@d"     its forward-paths
//	WITH ESMTPS      its protocol
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dialogue")
	if err != nil || len(files) < 35 {
		t.Fatalf("%d dialogues, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialogue"), func(t *testing.T) {
			t.Parallel()
			playFile(t, file)
		})
	}
}

type player struct {
	t       *testing.T
	file    string
	line    int
	cfg     smtpd.Config
	backend *backend
	conn    net.Conn
	in      *bufio.Reader
	pending []byte
}

func playFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, file: file, backend: &backend{}}
	p.cfg.TLS = &tls.Config{Certificates: []tls.Certificate{certificate()}}
	for line := range strings.Lines(string(text)) {
		p.line++
		line = strings.TrimRight(line, "\n")
		if line != "" && line[0] != '#' {
			p.play(line)
		}
	}
	p.send()
	if p.conn != nil {
		p.conn.Close()
	}
}

func (p *player) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

func (p *player) play(line string) {
	word, rest, _ := strings.Cut(line, " ")
	if word == "option" {
		p.option(rest)
		return
	}
	p.connect()
	switch word {
	case "C:":
		p.pending = append(p.pending, rest+"\r\n"...)
		return
	case "C~":
		p.pending = append(p.pending, p.unquote(rest)...)
		return
	case "C*":
		count, text, _ := strings.Cut(rest, " ")
		p.pending = append(p.pending, strings.Repeat(p.unquote(text), p.number(count))...)
		return
	}
	p.send()
	switch word {
	case "S:", "S=":
		got, err := p.in.ReadString('\n')
		text := strings.TrimRight(got, "\r\n")
		if err != nil || !strings.HasPrefix(text, rest) || word == "S=" && text != rest || !strings.HasSuffix(got, "\r\n") {
			p.fatalf("got %q, %v; want %q", got, err, rest)
		}
	case "S*":
		count, want, _ := strings.Cut(rest, " ")
		for range p.number(count) {
			p.play("S: " + want)
		}
	case "TLS":
		conn := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			p.fatalf("handshake: %v", err)
		}
		p.conn, p.in = conn, bufio.NewReader(conn)
	case "HANGUP":
		p.conn.(*net.TCPConn).CloseWrite()
	case "CLOSED":
		if rest, err := p.in.ReadString(0); rest != "" || err == nil {
			p.fatalf("got %q, %v; want the end of the connection", rest, err)
		}
	case "MESSAGES":
		if got := len(p.backend.all()); got != p.number(rest) {
			p.fatalf("got %d messages, want %s: %+v", got, rest, p.backend.all())
		}
	case "BODY":
		p.equal(p.last().body, p.unquote(rest))
	case "FROM":
		p.equal(string(p.last().from), p.unquote(rest))
	case "TO":
		var to []string
		for _, r := range p.last().rcpts {
			to = append(to, string(r.To))
		}
		p.equal(strings.Join(to, " "), p.unquote(rest))
	case "WITH":
		p.equal(p.last().protocol, rest)
	default:
		p.fatalf("unknown word %q", word)
	}
}

func (p *player) equal(got, want string) {
	p.t.Helper()
	if got != want {
		p.fatalf("got %q, want %q", got, want)
	}
}

func (p *player) last() received {
	all := p.backend.all()
	if len(all) == 0 {
		p.fatalf("no message was accepted")
	}
	return all[len(all)-1]
}

func (p *player) connect() {
	if p.conn != nil {
		return
	}
	_, addr := listen(p.t, p.cfg, p.backend, false)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		p.fatalf("%v", err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	p.conn, p.in = conn, bufio.NewReader(conn)
}

func (p *player) send() {
	if len(p.pending) == 0 {
		return
	}
	if _, err := p.conn.Write(p.pending); err != nil {
		p.fatalf("write: %v", err)
	}
	p.pending = p.pending[:0]
}

func (p *player) option(text string) {
	name, value, _ := strings.Cut(text, " ")
	switch name {
	case "lmtp":
		p.cfg.LMTP = true
	case "require-auth":
		p.cfg.RequireAuth = true
	case "no-tls":
		p.cfg.TLS = nil
	case "recipients":
		p.cfg.Limits.Recipients = p.number(value)
	case "size":
		p.cfg.Limits.MessageBytes = int64(p.number(value))
	case "errors":
		p.cfg.Limits.Errors = p.number(value)
	case "refused":
		p.cfg.Limits.Refused = p.number(value)
	case "messages":
		p.cfg.Limits.Messages = p.number(value)
	case "auth-failures":
		p.cfg.Limits.AuthFailures = p.number(value)
	default:
		p.fatalf("unknown option %q", name)
	}
}

func (p *player) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		p.fatalf("%v", err)
	}
	return n
}

func (p *player) unquote(s string) string {
	text, err := strconv.Unquote(s)
	if err != nil {
		p.fatalf("%s: %v", s, err)
	}
	return text
}
