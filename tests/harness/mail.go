package harness

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// TLS is a client's configuration that trusts the farm's private authority.
func (f *Farm) TLS() *tls.Config {
	f.t.Helper()
	pem, err := os.ReadFile(f.CA())
	if err != nil {
		f.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// Letter makes a plain message whose Subject and body name it.
func Letter(name, from, to string) []byte {
	return []byte(strings.ReplaceAll(fmt.Sprintf(
		"From: <%s>\nTo: <%s>\nSubject: %s\nDate: %s\nMessage-ID: <%s@letters.example>\n\nThis is letter %s.\n",
		from, to, name, time.Now().Format(time.RFC1123Z), name, name), "\n", "\r\n"))
}

// Send hands in one message by SMTP and returns the error of the first command that was refused.
func Send(addr, from string, to []string, letter []byte) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := SendOn(c, from, to, letter, nil, nil); err != nil {
		return err
	}
	c.Quit() // the message is accepted whatever comes of it
	return nil
}

// SendOn hands in one message on an open connection.
func SendOn(c *smtp.Client, from string, to []string, letter []byte, mail *smtp.MailOptions, rcpt *smtp.RcptOptions) error {
	if err := c.Mail(from, mail); err != nil {
		return fmt.Errorf("MAIL: %w", err)
	}
	for _, r := range to {
		if err := c.Rcpt(r, rcpt); err != nil {
			return fmt.Errorf("RCPT %s: %w", r, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	if _, err := w.Write(letter); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("final dot: %w", err)
	}
	return nil
}

// Submit hands in one message by submission with STARTTLS and AUTH PLAIN.
func (f *Farm) Submit(user string, to []string, letter []byte, mail *smtp.MailOptions, rcpt *smtp.RcptOptions) error {
	c, err := smtp.DialStartTLS(f.Submission(), f.TLS())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", user, DevPassword)); err != nil {
		return fmt.Errorf("AUTH: %w", err)
	}
	if err := SendOn(c, user, to, letter, mail, rcpt); err != nil {
		return err
	}
	c.Quit()
	return nil
}

// Message is what a mailbox holds.
type Message struct {
	UID     imap.UID
	Subject string
	Raw     []byte
}

// IMAPClient logs in by implicit TLS.
func (f *Farm) IMAPClient(user string) *imapclient.Client {
	f.t.Helper()
	c, err := imapclient.DialTLS(f.IMAPS(), &imapclient.Options{TLSConfig: f.TLS()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	if err := c.Login(user, DevPassword).Wait(); err != nil {
		f.t.Fatalf("IMAP login of %s: %v", user, err)
	}
	return c
}

// Mailbox reads all messages of a mailbox by IMAP.
func (f *Farm) Mailbox(user, name string) []Message {
	f.t.Helper()
	c := f.IMAPClient(user)
	defer c.Logout()
	data, err := c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		f.t.Fatalf("EXAMINE %s of %s: %v", name, user, err)
	}
	if data.NumMessages == 0 {
		return nil
	}
	var all imap.SeqSet
	all.AddRange(1, data.NumMessages)
	section := &imap.FetchItemBodySection{Peek: true}
	got, err := c.Fetch(all, &imap.FetchOptions{UID: true, Envelope: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		f.t.Fatalf("FETCH %s of %s: %v", name, user, err)
	}
	var messages []Message
	for _, m := range got {
		messages = append(messages, Message{UID: m.UID, Subject: m.Envelope.Subject, Raw: m.FindBodySection(section)})
	}
	return messages
}

// Body is a message without what delivery put before it: everything from its first field that letter begins with.
func Body(raw []byte, letter []byte) []byte {
	first, _, _ := bytes.Cut(letter, []byte("\r\n"))
	if at := bytes.Index(raw, append([]byte("\r\n"), first...)); at >= 0 {
		return raw[at+2:]
	}
	return raw
}

// WantOnce checks that a mailbox holds each of the names as a Subject exactly once.
func WantOnce(t testing.TB, got []Message, names []string) {
	t.Helper()
	count := map[string]int{}
	for _, m := range got {
		count[m.Subject]++
	}
	for _, n := range names {
		if count[n] != 1 {
			t.Errorf("message %q is there %d times, want once", n, count[n])
		}
	}
}

// IsBye tells whether an IMAP client's error is that the server ended the session: by BYE, or behind one.
func IsBye(err error) bool {
	var reply *imap.Error
	if errors.As(err, &reply) {
		return reply.Type == imap.StatusResponseTypeBye
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
