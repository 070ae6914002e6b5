package submission_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/xdg-go/scram"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/services/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var clientTLS = &tls.Config{InsecureSkipVerify: true}

func TestSubmit(t *testing.T) {
	w := start(t, submission.Config{})
	for name, dial := range map[string]func() (*smtp.Client, error){
		"STARTTLS":     func() (*smtp.Client, error) { return smtp.DialStartTLS(w.starttls, clientTLS) },
		"implicit TLS": func() (*smtp.Client, error) { return smtp.DialTLS(w.smtps, clientTLS) },
	} {
		c, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.Auth(sasl.NewPlainClient("", "alice@example.org", password)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text := "From: alice@example.org\r\nTo: bob@remote.example\r\nBcc: secret@remote.example\r\nSubject: x\r\n\r\nhi\r\n"
		if err := c.SendMail("alice@example.org", []string{"bob@remote.example", "secret@remote.example", "bob@example.org"}, strings.NewReader(text)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.Quit(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := w.published()
	if len(got) != 2 {
		t.Fatalf("%d published", len(got))
	}
	for _, msg := range got {
		seen := w.seen(msg)
		client := msg.GetEnvelope().GetClient()
		if client.GetProtocol() != "ESMTPSA" || client.GetAccount() != "alice@example.org" || len(msg.GetEnvelope().GetRecipients()) != 3 {
			t.Errorf("envelope %v", msg.GetEnvelope())
		}
		for _, want := range []string{"with ESMTPSA", "\r\nDate: ", "\r\nMessage-ID: <", "@mail.example.org>\r\n", "\r\nSubject: x\r\n\r\nhi\r\n"} {
			if !strings.Contains(seen, want) {
				t.Errorf("%q is not in %q", want, seen)
			}
		}
		if strings.Contains(seen, "secret") {
			t.Errorf("Bcc is seen: %q", seen)
		}
	}
}

// scramClient speaks SCRAM for go-smtp's client.
type scramClient struct {
	name string
	conv *scram.ClientConversation
}

func newScram(t *testing.T, name, password string, state *tls.ConnectionState) *scramClient {
	t.Helper()
	c, err := scram.SHA256.NewClient("alice@example.org", password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := c.NewConversation()
	if strings.HasSuffix(name, "-PLUS") {
		binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			t.Fatal(err)
		}
		conv = c.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: binding})
	}
	return &scramClient{name, conv}
}

func (c *scramClient) Start() (string, []byte, error) {
	first, err := c.conv.Step("")
	return c.name, []byte(first), err
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	if c.conv.Done() {
		return []byte{}, nil
	}
	answer, err := c.conv.Step(string(challenge))
	return []byte(answer), err
}

func TestMechanisms(t *testing.T) {
	w := start(t, submission.Config{})
	for _, row := range []struct {
		name, password string
		ok             bool
	}{
		{"PLAIN", password, true}, {"LOGIN", password, true}, {"SCRAM-SHA-256", password, true}, {"SCRAM-SHA-256-PLUS", password, true},
		{"PLAIN", "wrong", false}, {"LOGIN", "wrong", false}, {"SCRAM-SHA-256", "wrong", false}, {"SCRAM-SHA-256-PLUS", "wrong", false},
	} {
		c, err := smtp.DialTLS(w.smtps, clientTLS)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, offered := c.Extension("AUTH"); offered != "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" {
			t.Fatalf("offered %q", offered)
		}
		state, _ := c.TLSConnectionState()
		var mechanism sasl.Client
		switch row.name {
		case "PLAIN":
			mechanism = sasl.NewPlainClient("", "alice@example.org", row.password)
		case "LOGIN":
			mechanism = sasl.NewLoginClient("alice@example.org", row.password)
		default:
			mechanism = newScram(t, row.name, row.password, &state)
		}
		err = c.Auth(mechanism)
		if (err == nil) != row.ok {
			t.Errorf("%s with %q: %v", row.name, row.password, err)
		}
		if s, isScram := mechanism.(*scramClient); isScram && row.ok && !s.conv.Valid() {
			t.Errorf("%s: the server did not prove itself", row.name)
		}
		if !row.ok && !strings.Contains(err.Error(), "wrong user name or password") {
			t.Errorf("%s: %v", row.name, err)
		}
		if err := c.Mail("alice@example.org", nil); (err == nil) != row.ok {
			t.Errorf("%s with %q: MAIL: %v", row.name, row.password, err)
		}
	}
	for _, first := range w.directory.first {
		if len(first.GetChannelBinding()) != 32 || first.GetClient() != "127.0.0.1" || first.GetService() != "smtp" {
			t.Errorf("first request %v", first)
		}
	}
	if l := w.directory.logins[0]; l.GetClient() != "127.0.0.1" || l.GetService() != "smtp" {
		t.Errorf("login %v", l)
	}
}

// talk is a connection that sends lines and reads replies.
type talk struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string, useTLS bool) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if useTLS {
		conn = tls.Client(conn, clientTLS)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	c := &talk{t, conn, bufio.NewReader(conn)}
	c.reply()
	return c
}

// reply reads one reply: all its lines.
func (c *talk) reply() string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("read: %v", err)
		}
		all.WriteString(line)
		if len(line) > 3 && line[3] == ' ' {
			return all.String()
		}
	}
}

func (c *talk) expect(line, want string) string {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		c.t.Fatal(err)
	}
	got := c.reply()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("%q: got %q, want %q", line, got, want)
	}
	return got
}

func plainResponse(authzid, user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + user + "\x00" + password))
}

func (c *talk) login() {
	c.t.Helper()
	c.expect("EHLO client.example", "250")
	c.expect("AUTH PLAIN "+plainResponse("", "alice@example.org", password), "235")
}

func TestNoPasswordInPlaintext(t *testing.T) {
	w := start(t, submission.Config{})
	c := dial(t, w.starttls, false)
	if got := c.expect("EHLO client.example", "250"); strings.Contains(got, "AUTH") || !strings.Contains(got, "STARTTLS") {
		t.Errorf("offered %q", got)
	}
	c.expect("AUTH PLAIN "+plainResponse("", "alice@example.org", password), "538 5.7.11")
	c.expect("MAIL FROM:<alice@example.org>", "530 5.7.0 say STARTTLS")
	if len(w.directory.logins) != 0 {
		t.Error("the directory was asked")
	}
}

func TestPlaintextNetworks(t *testing.T) {
	w := start(t, submission.Config{PlaintextNetworks: []string{"127.0.0.0/8", "::1/128"}})
	c := dial(t, w.starttls, false)
	if got := c.expect("EHLO client.example", "250"); !strings.Contains(got, "AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n") {
		t.Errorf("offered %q", got)
	}
	c.expect("AUTH SCRAM-SHA-256-PLUS", "504")
	c.expect("AUTH PLAIN "+plainResponse("", "alice@example.org", password), "235")
}

func TestPlainResponses(t *testing.T) {
	w := start(t, submission.Config{})
	for _, row := range []struct{ name, response, want string }{
		{"authzid of the same", plainResponse("Alice@example.org", "alice@example.org", password), "235"},
		{"authzid of another", plainResponse("bob@example.org", "alice@example.org", password), "535 5.7.8"},
		{"no NUL", base64.StdEncoding.EncodeToString([]byte("alice@example.org")), "501 5.5.2"},
		{"three NUL", plainResponse("", "alice@example.org", password+"\x00"), "501 5.5.2"},
		{"no password", plainResponse("", "alice@example.org", ""), "501 5.5.2"},
		{"no user", plainResponse("", "", password), "501 5.5.2"},
		{"not UTF-8", plainResponse("", "alice@example.org", "\xff"), "501 5.5.2"},
	} {
		c := dial(t, w.smtps, true)
		c.expect("EHLO client.example", "250")
		if got := c.expect("AUTH PLAIN "+row.response, ""); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

func TestGuessesEndTheConnection(t *testing.T) {
	w := start(t, submission.Config{})
	c := dial(t, w.smtps, true)
	c.expect("EHLO client.example", "250")
	wrong := "AUTH PLAIN " + plainResponse("", "alice@example.org", "guess")
	c.expect(wrong, "535")
	c.expect(wrong, "535")
	c.expect(wrong, "535")
	if got := c.reply(); !strings.HasPrefix(got, "421 4.7.0") {
		t.Errorf("got %q", got)
	}
	c = dial(t, w.smtps, true)
	c.expect("EHLO client.example", "250")
	w.directory.set(status.Error(codes.ResourceExhausted, "too many failed logins"))
	c.expect(wrong, "454 4.7.0")
	w.directory.set(status.Error(codes.Unavailable, "connection refused to 10.0.0.1"))
	if got := c.expect(wrong, "454 4.7.0"); strings.Contains(got, "10.0.0.1") {
		t.Errorf("got %q", got)
	}
}

func TestSendersAndRecipients(t *testing.T) {
	w := start(t, submission.Config{})
	c := dial(t, w.smtps, true)
	c.expect("EHLO client.example", "250")
	c.expect("MAIL FROM:<alice@example.org>", "530 5.7.0")
	c.login()
	c.expect("MAIL FROM:<bob@example.org>", "553 5.7.1")
	c.expect("MAIL FROM:<alice@remote.example>", "553 5.7.1")
	c.expect("MAIL FROM:<alice@example.org>", "250")
	c.expect("RSET", "250")
	c.expect("MAIL FROM:<alice@example.org>", "250") // Known by now.
	c.expect("RSET", "250")
	c.expect("MAIL FROM:<sales@example.org>", "250")
	c.expect("RSET", "250")
	c.expect("MAIL FROM:<>", "250")
	c.expect("RCPT TO:<nobody@example.org>", "550 5.1.1")
	c.expect("RCPT TO:<bob@example.org>", "250")
	c.expect("RCPT TO:<anybody@remote.example>", "250")
	w.directory.set(status.Error(codes.Unavailable, "away"))
	c.expect("RCPT TO:<other@remote.example>", "451 4.3.0")
	c.expect("RSET", "250")
	c.expect("MAIL FROM:<bob@example.org>", "451 4.3.0")
}

// TestLimitsOfAnAccount put off what is too much, and nothing else.
func TestLimitsOfAnAccount(t *testing.T) {
	w := start(t, submission.Config{})
	w.limits.set(1, 2, 3)
	c := dial(t, w.smtps, true)
	c.expect("EHLO client.example", "250")
	c.login()
	crowd := dial(t, w.smtps, true)
	crowd.expect("EHLO client.example", "250")
	right := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00"+password))
	crowd.expect(right, "454 4.7.0")

	c.expect("MAIL FROM:<alice@example.org>", "250")
	c.expect("RCPT TO:<nobody@example.org>", "550 5.1.1") // not counted
	c.expect("RCPT TO:<a@remote.example>", "250")
	c.expect("RCPT TO:<b@remote.example>", "250")
	c.expect("RCPT TO:<c@remote.example>", "250")
	c.expect("RCPT TO:<d@remote.example>", "452 4.7.1")
	c.expect("DATA", "354")
	c.expect("From: alice@example.org\r\n\r\nhi\r\n.", "250")
	c.expect("MAIL FROM:<bob@example.org>", "553 5.7.1") // not counted
	c.expect("MAIL FROM:<alice@example.org>", "250")
	c.expect("RSET", "250")
	c.expect("MAIL FROM:<alice@example.org>", "450 4.7.1")
	c.expect("QUIT", "221")

	for deadline := time.Now().Add(30 * time.Second); w.limits.left() != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the place of who left is not given back")
		}
	}
	crowd.expect(right, "235")
	if got := w.published(); len(got) != 1 || len(got[0].GetEnvelope().GetRecipients()) != 3 {
		t.Errorf("published %v", got)
	}
}

func TestConfig(t *testing.T) {
	_, err := submission.New(submission.Config{
		Listeners: []front.Listener{{}}, PlaintextNetworks: []string{"localhost"}, Drain: -1,
	}, submission.Deps{})
	for _, key := range []string{"hostname", "listeners[0].address", "plaintext_networks[0]", "drain"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not in %v", key, err)
		}
	}
}
