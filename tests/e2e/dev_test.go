package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestDevIsReadyAtOnce starts `mailfarm dev` on an empty folder. It is to be ready in under a second; the bound here leaves
// room for a machine with other work.
func TestDevIsReadyAtOnce(t *testing.T) {
	harness.OneProcess(t)
	harness.Binary(t)
	f := harness.Dev(t)
	began := time.Now()
	f.Start()
	took := time.Since(began)
	t.Logf("ready after %v", took)
	if took > 5*time.Second {
		t.Errorf("ready after %v, want at once", took)
	}
	for _, want := range []string{"alice@example.org", devPass, "swaks --server localhost:" + harness.Port(f.SMTP()), "curl --cacert " + f.CA(),
		"'imaps://localhost:" + harness.Port(f.IMAPS())} {
		if !strings.Contains(f.Log(), want) {
			t.Errorf("the greeting does not say %q:\n%s", want, f.Log())
		}
	}
}

// TestDevGreetingCanBeCopied runs the lines of the greeting as they are printed.
func TestDevGreetingCanBeCopied(t *testing.T) {
	harness.OneProcess(t)
	harness.Need(t, "swaks", "curl")
	f := harness.StartDev(t)
	p := harness.NewProgram(t)
	greeting := strings.ReplaceAll(f.Log(), "\\\n", " ")
	var lines []string
	for line := range strings.Lines(greeting) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "swaks ") || strings.HasPrefix(line, "curl ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 3 {
		t.Fatalf("the greeting has %d lines to copy, want 3:\n%s", len(lines), f.Log())
	}
	p.Run("sh", "-c", lines[0])
	p.Run("sh", "-c", lines[1])
	f.Settle()
	if out := p.Run("sh", "-c", lines[2]); !bytes.HasPrefix(out, []byte("Return-Path: <someone@example.net>\r\n")) {
		t.Errorf("curl read\n%s", out)
	}
	if got := f.Mailbox(alice, "INBOX"); len(got) != 2 {
		t.Errorf("alice has %d messages, want both", len(got))
	}
	for _, role := range []string{"postmaster", "postmaster@example.org", "abuse@example.org"} {
		if err := harness.Send(f.SMTP(), carol, []string{role}, harness.Letter("to-"+role, carol, role)); err != nil {
			t.Errorf("send to %s: %v", role, err)
		}
	}
	f.Settle()
	harness.WantOnce(t, f.Mailbox(alice, "INBOX"), []string{"to-postmaster", "to-postmaster@example.org", "to-abuse@example.org"})
}

// TestSecondStartFindsEverything stops by SIGTERM and starts again, then by kill -9.
func TestSecondStartFindsEverything(t *testing.T) {
	harness.OneProcess(t)
	f := harness.StartDev(t)
	all := seed(t, f, "kept", alice)
	c := f.IMAPClient(alice)
	store(t, c, "INBOX", 1, imap.FlagFlagged, imap.FlagSeen)
	before, err := c.Status("INBOX", &imap.StatusOptions{UIDValidity: true, UIDNext: true, NumMessages: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	f.CLI("domain", "add", "example.net")
	ca, err := os.ReadFile(f.CA())
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){
		"SIGTERM": func() {
			began := time.Now()
			if err := f.Stop(); err != nil {
				t.Errorf("SIGTERM: %v", err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("ended %v after SIGTERM, want within 10s", took)
			}
		},
		"kill": f.Kill,
	} {
		t.Run(name, func(t *testing.T) {
			end()
			f.Start()
			wantLetters(t, inMailbox(f, alice, "INBOX"), all)
			if flags := flagsOf(t, f, alice, "INBOX")[1]; flags != `[\Flagged \Seen]` && flags != `[\Seen \Flagged]` {
				t.Errorf("message 1 has the flags %s", flags)
			}
			after, err := f.IMAPClient(alice).Status("INBOX", &imap.StatusOptions{UIDValidity: true, UIDNext: true, NumMessages: true}).Wait()
			if err != nil {
				t.Fatal(err)
			}
			if after.UIDValidity != before.UIDValidity || after.UIDNext != before.UIDNext || *after.NumMessages != *before.NumMessages {
				t.Errorf("got %+v, want %+v", after, before)
			}
			if out := f.CLI("domain", "list"); !strings.Contains(out, "example.net") {
				t.Errorf("the domain is gone:\n%s", out)
			}
			if again, err := os.ReadFile(f.CA()); err != nil || !bytes.Equal(again, ca) {
				t.Errorf("the certificate authority is another one (%v)", err)
			}
		})
	}
}

// TestDrain ends the process while clients are connected, one of them in the middle of DATA and one stuck there, and a server
// that we send to does not answer.
func TestDrain(t *testing.T) {
	harness.OneProcess(t) // TestRolling is about the others
	config := fmt.Sprintf("delivery_remote: {port: %s}\n", harness.Port(silentServer(t)))
	f := harness.StartDev(t, "--config", harness.ConfigFile(t, config))
	idle := f.IMAPClient(alice)
	if _, err := idle.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Idle(); err != nil {
		t.Fatal(err)
	}
	waiting := dialLines(t, f.SMTP())
	waiting.want("220 ")
	data, stuck := inData(t, f, "in the middle"), inData(t, f, "stuck")
	if err := f.Submit(alice, []string{"x@[127.0.0.1]"}, harness.Letter("nobody answers", alice, "x@[127.0.0.1]"), nil, nil); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- f.Stop() }()
	waiting.want("421 ")
	data.say("last line\r\n.\r\n", "250 ")
	if err := <-ended; err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	took := time.Since(began)
	t.Logf("drained in %v", took)
	if took > 10*time.Second {
		t.Errorf("ended %v after SIGTERM, want within 10s", took)
	}
	f.Start()
	stuck.gone()
	harness.Eventually(t, "the message that was arriving is delivered", func() bool { return len(f.Mailbox(bob, "INBOX")) == 1 })
	harness.WantOnce(t, f.Mailbox(bob, "INBOX"), []string{"in the middle"})
}

// inData is a client in the middle of a message for bob.
func inData(t *testing.T, f *harness.Farm, subject string) *dialogue {
	t.Helper()
	d := dialLines(t, f.SMTP())
	d.want("220 ")
	d.say("HELO client.example\r\n", "250 ")
	d.say("MAIL FROM:<"+carol+">\r\n", "250 ")
	d.say("RCPT TO:<"+bob+">\r\n", "250 ")
	d.say("DATA\r\n", "354 ")
	d.send("Subject: " + subject + "\r\n\r\nfirst line\r\n")
	return d
}

// TestOneProcessPerFolder refuses a second process on a folder, in words that say what to do.
func TestOneProcessPerFolder(t *testing.T) {
	harness.OneProcess(t)
	f := harness.StartDev(t)
	for _, args := range [][]string{{"dev", "--port-offset", "20000"}, {"run", "all"}} {
		out, code := f.CLIStatus(args...)
		if code == 0 || !strings.Contains(out, "is in use by another mailfarm") || !strings.Contains(out, "--data") {
			t.Errorf("mailfarm %v: exit status %d, want it refused because the folder is in use:\n%s", args, code, out)
		}
	}
	f.CLI("audit") // the first goes on
}

// TestTakenPort names the address that is in use, and leaves nothing running.
func TestTakenPort(t *testing.T) {
	harness.OneProcess(t)
	f := harness.Dev(t)
	l, err := net.Listen("tcp", f.IMAP())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f.Launch()
	if !f.Ended(harness.Limit) {
		t.Fatal("it runs although a port is taken")
	}
	if !strings.Contains(f.Log(), f.IMAP()) || !strings.Contains(f.Log(), "address already in use") {
		t.Errorf("the fault is not named:\n%s", f.Log())
	}
}

// TestLongDataPath uses a folder whose socket has too long a path.
func TestLongDataPath(t *testing.T) {
	harness.OneProcess(t)
	f := harness.DevIn(t, filepath.Join(t.TempDir(), strings.Repeat("a-long-name/", 12)))
	f.Start()
	if out := f.CLI("account", "list"); !strings.Contains(out, alice) {
		t.Errorf("account list:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(f.Data, "admin.sock")); err == nil {
		t.Error("the socket is in the folder although its path is too long: the fallback was not tried")
	}
}

// TestHTTP asks for health, readiness and metrics.
func TestHTTP(t *testing.T) {
	harness.OneProcess(t)
	f := harness.StartDev(t)
	seed(t, f, "counted", alice)
	for path, want := range map[string]string{
		"/healthz": "", "/readyz": "",
		"/metrics": "\nmailfarm_",
	} {
		resp, err := http.Get("http://" + f.HTTP() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %s, %v\n%.500s", path, resp.Status, err, body)
		}
	}
}

// silentServer takes connections and never says anything.
func silentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, c)
		}
	}()
	return l.Addr().String()
}
