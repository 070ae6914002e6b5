package message_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/internal/message"
)

// fetchBack sends what an index renders to go-imap's client, and gives what that reads.
func fetchBack(t testing.TB, ix *message.Index, extended bool) (*imap.Envelope, imap.BodyStructure) {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer ours.Close()
		in := bufio.NewScanner(ours)
		fmt.Fprintf(ours, "* PREAUTH [CAPABILITY IMAP4rev1] ready\r\n")
		for in.Scan() {
			tag, command, _ := strings.Cut(in.Text(), " ")
			switch {
			case strings.HasPrefix(command, "SELECT"):
				fmt.Fprintf(ours, "* 1 EXISTS\r\n")
			case strings.HasPrefix(command, "FETCH"):
				structure := fmt.Sprintf("BODYSTRUCTURE %s", ix.BodyStructure())
				if !extended {
					structure = fmt.Sprintf("BODY %s", ix.AppendBody(nil))
				}
				fmt.Fprintf(ours, "* 1 FETCH (ENVELOPE %s %s)\r\n", ix.Envelope(), structure)
			}
			fmt.Fprintf(ours, "%s OK done\r\n", tag)
		}
	}()
	c := imapclient.New(theirs, nil)
	defer func() {
		c.Close()
		<-served
	}()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{
		Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: extended},
	}).Collect()
	if err != nil || len(got) != 1 {
		t.Fatalf("%d messages, %v\n%s\n%s", len(got), err, ix.Envelope(), ix.BodyStructure())
	}
	return got[0].Envelope, got[0].BodyStructure
}

// compareStructure compares what a client has read with the tree.
func compareStructure(ix *message.Index, got imap.BodyStructure, extended bool) error {
	var want []string
	ix.Walk(func(path []int, p *message.Part) bool {
		want = append(want, describe(p.Type+"/"+p.Subtype, p.Params, p.Disposition, p.Body.Length, p.Kind == message.Multipart, extended))
		return true
	})
	var have []string
	var walk func(imap.BodyStructure)
	walk = func(bs imap.BodyStructure) {
		var disposition string
		if d := bs.Disposition(); d != nil {
			disposition = d.Value
		}
		switch bs := bs.(type) {
		case *imap.BodyStructureSinglePart:
			have = append(have, describe(bs.MediaType(), bs.Params, disposition, int64(bs.Size), false, extended))
			if bs.MessageRFC822 != nil {
				walk(bs.MessageRFC822.BodyStructure)
			}
		case *imap.BodyStructureMultiPart:
			var params map[string]string
			if bs.Extended != nil {
				params = bs.Extended.Params
			}
			have = append(have, describe(bs.MediaType(), params, disposition, 0, true, extended))
			for _, c := range bs.Children {
				walk(c)
			}
		}
	}
	walk(got)
	if !reflect.DeepEqual(have, want) {
		return fmt.Errorf("read\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

// describe writes what both sides know of a part.
func describe(mediaType string, params any, disposition string, size int64, multipart, extended bool) string {
	all := map[string]string{}
	switch params := params.(type) {
	case []message.Param:
		for _, p := range params {
			all[p.Name] = decoded(p.Value)
		}
	case map[string]string:
		all = params
	}
	if multipart {
		size = 0
		if !extended {
			all = nil
		}
	}
	if !extended {
		disposition = ""
	}
	if len(all) == 0 {
		all = nil
	}
	return fmt.Sprintf("%s %v %s %d", mediaType, all, disposition, size)
}

// decoded is what go-imap makes of a parameter.
func decoded(s string) string { return message.DecodeWords(s) }

// go-imap's client reads what we render as what we meant.
func TestClientReadsWhatIsRendered(t *testing.T) {
	for name, body := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			ix := index(body)
			for _, extended := range []bool{true, false} {
				env, structure := fetchBack(t, ix, extended)
				if err := compareStructure(ix, structure, extended); err != nil {
					t.Errorf("extended %t: %v", extended, err)
				}
				if env.Subject != ix.Subject() {
					t.Errorf("subject %q, want %q", env.Subject, ix.Subject())
				}
				if date, ok := ix.SentDate(); ok && name != "multipart" && !env.Date.Equal(date) {
					t.Errorf("date %v, want %v", env.Date, date)
				}
				for _, f := range ix.Fields {
					var got []imap.Address
					switch f.Name {
					case "from":
						got = env.From
					case "to":
						got = env.To
					case "cc":
						got = env.Cc
					case "bcc":
						got = env.Bcc
					case "reply-to":
						got = env.ReplyTo
					case "sender":
						got = env.Sender
					default:
						continue
					}
					var have []string
					for _, a := range got {
						if !a.IsGroupStart() && !a.IsGroupEnd() {
							have = append(have, fmt.Sprint(message.Address{Name: a.Name, Mailbox: a.Mailbox, Host: a.Host}))
						}
					}
					var want []string
					for _, a := range message.Addresses(body[f.Value.Offset:f.Value.End()], 100) {
						if a.Host == "" {
							a.Host = "MISSING_DOMAIN"
						}
						if a.Mailbox == "" {
							a.Mailbox = "MISSING_MAILBOX"
						}
						want = append(want, fmt.Sprint(a))
					}
					if !reflect.DeepEqual(have, want) {
						t.Errorf("%s: %q, want %q", f.Name, have, want)
					}
				}
			}
		})
	}
}

// Anything that is rendered can be read.
func FuzzClientReads(f *testing.F) {
	for _, body := range corpus(f) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ix := index(body)
		for _, s := range [][]byte{ix.Envelope(), ix.BodyStructure()} {
			if bytes.IndexByte(s, 0) >= 0 {
				t.Fatalf("NUL in %q", s)
			}
		}
		_, structure := fetchBack(t, ix, true)
		n := 0
		structure.Walk(func([]int, imap.BodyStructure) bool { n++; return true })
		if n == 0 {
			t.Fatalf("nothing in %q", ix.BodyStructure())
		}
	})
}

// pythonTree prints the tree that Python's email package sees of each message on its input, as JSON lines.
const pythonTree = `
import sys, json, email, email.policy
for line in sys.stdin:
    m = email.message_from_bytes(bytes.fromhex(line.strip()))
    out = []
    def walk(p):
        out.append([p.get_content_type(), p.get_boundary() if p.is_multipart() and p.get_content_maintype() == "multipart" else None,
                    None if p.is_multipart() else p.get_payload()])
        if p.is_multipart():
            for c in p.get_payload():
                walk(c)
    walk(m)
    print(json.dumps(out))
`

// Python's email package sees the same parts with the same octets.
func TestSameTreeAsPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no python3 here to compare with")
		}
		t.Skip("no python3 here to compare with")
	}
	var names []string
	var bodies [][]byte
	var in bytes.Buffer
	for name, body := range corpus(t) {
		if index(body).Flags&(message.EightBit|message.EightBitHeader) != 0 {
			continue // its strings are not octets
		}
		names, bodies = append(names, name), append(bodies, body)
		fmt.Fprintf(&in, "%x\n", body)
	}
	cmd := exec.Command(python, "-c", pythonTree)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(names) {
		t.Fatalf("%d answers for %d messages", len(lines), len(names))
	}
	for i, line := range lines {
		var want [][3]*string
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		ix := index(bodies[i])
		n := 0
		ix.Walk(func(path []int, p *message.Part) bool {
			if n == len(want) {
				t.Errorf("%s: more parts than python's %d", names[i], len(want))
				return false
			}
			w := want[n]
			n++
			mediaType, _, _ := strings.Cut(*w[0], " ") // it takes comments for a part of it
			if got := p.Type + "/" + p.Subtype; got != mediaType {
				t.Errorf("%s %v: %s, want %s", names[i], path, got, mediaType)
			}
			if w[1] != nil && p.Boundary != *w[1] {
				t.Errorf("%s %v: boundary %q, want %q", names[i], path, p.Boundary, *w[1])
			}
			if got := string(bodies[i][p.Body.Offset:p.Body.End()]); w[2] != nil && got != *w[2] {
				t.Errorf("%s %v: %q, want %q", names[i], path, got, *w[2])
			}
			return true
		})
		if n != len(want) {
			t.Errorf("%s: %d parts, want %d", names[i], n, len(want))
		}
	}
}
