package imap_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

const mixed = "From: =?utf-8?q?J=C3=B6rg?= <joerg@example.net>\r\nTo: a@example.org, \"B, C\" <b@example.org>\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n" +
	"Date: Mon, 02 Jan 2023 10:00:00 +0100\r\nMessage-ID: <mixed@example.net>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/mixed; boundary=\"x\"\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
	"Gr=C3=BC=C3=9Fe\r\n--x\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n" +
	"AAECAwQ=\r\n--x--\r\n"

// TestAnotherClient has go-imap's client read what we write.
func TestAnotherClient(t *testing.T) {
	f := startFarm(t, nil)
	user := f.user(t)
	var pushed []string
	c, err := imapclient.DialTLS(f.secure, &imapclient.Options{TLSConfig: clientTLS(), UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Expunge: func(n uint32) { pushed = append(pushed, fmt.Sprint("expunge ", n)) },
	}})
	check(t, err)
	defer c.Close()
	check(t, c.Authenticate(sasl.NewPlainClient("", user, password)))
	id, err := c.ID(&goimap.IDData{Name: "test"}).Wait()
	check(t, err)
	if id.Name != "mailfarm" {
		t.Errorf("ID name is %q", id.Name)
	}
	put := func(mailbox, text string, flags ...goimap.Flag) goimap.UID {
		t.Helper()
		w := c.Append(mailbox, int64(len(text)), &goimap.AppendOptions{Flags: flags, Time: time.Date(2020, 5, 6, 7, 8, 9, 0, time.UTC)})
		_, err := io.WriteString(w, text)
		check(t, err)
		check(t, w.Close())
		d, err := w.Wait()
		check(t, err)
		return d.UID
	}
	if uid := put("INBOX", mixed, goimap.FlagFlagged); uid != 1 {
		t.Errorf("APPENDUID %d, want 1", uid)
	}
	for _, m := range numbered(0, 3) {
		put("INBOX", m)
	}
	sel, err := c.Select("INBOX", &goimap.SelectOptions{CondStore: true}).Wait()
	check(t, err)
	if sel.NumMessages != 4 || sel.UIDNext != 5 || sel.HighestModSeq == 0 {
		t.Errorf("SELECT says %+v", sel)
	}
	messages, err := c.Fetch(goimap.SeqSetNum(1), &goimap.FetchOptions{
		Envelope: true, BodyStructure: &goimap.FetchItemBodyStructure{Extended: true}, Flags: true, InternalDate: true, RFC822Size: true, UID: true, ModSeq: true,
		BodySection: []*goimap.FetchItemBodySection{
			{Peek: true}, {Peek: true, Part: []int{1}}, {Peek: true, Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"Subject"}},
		},
		BinarySection:     []*goimap.FetchItemBinarySection{{Part: []int{2}, Peek: true}},
		BinarySectionSize: []*goimap.FetchItemBinarySectionSize{{Part: []int{1}}},
	}).Collect()
	check(t, err)
	m := messages[0]
	if got := string(m.FindBodySection(&goimap.FetchItemBodySection{Peek: true})); got != mixed {
		t.Errorf("body differs: %q", got)
	}
	if got := m.FindBinarySection(&goimap.FetchItemBinarySection{Part: []int{2}, Peek: true}); !bytes.Equal(got, []byte{0, 1, 2, 3, 4}) {
		t.Errorf("BINARY[2] is %q", got)
	}
	if m.Envelope.Subject != "Grüße" || m.Envelope.From[0].Name != "Jörg" || len(m.Envelope.To) != 2 || m.Envelope.To[1].Name != "B, C" {
		t.Errorf("envelope is %+v", m.Envelope)
	}
	if m.RFC822Size != int64(len(mixed)) || !slices.Contains(m.Flags, goimap.FlagFlagged) || m.InternalDate.Year() != 2020 || m.ModSeq == 0 {
		t.Errorf("message is %+v", m)
	}
	if bs, ok := m.BodyStructure.(*goimap.BodyStructureMultiPart); !ok || len(bs.Children) != 2 || bs.Subtype != "mixed" {
		t.Errorf("body structure is %+v", m.BodyStructure)
	}
	found, err := c.UIDSearch(&goimap.SearchCriteria{Header: []goimap.SearchCriteriaHeaderField{{Key: "Subject", Value: "message"}}}, nil).Wait()
	check(t, err)
	if got := fmt.Sprint(found.AllUIDs()); got != "[2 3 4]" {
		t.Errorf("SEARCH finds %s", got)
	}
	extended, err := c.Search(&goimap.SearchCriteria{Text: []string{"grüße"}}, &goimap.SearchOptions{ReturnMin: true, ReturnCount: true}).Wait()
	check(t, err)
	if extended.Min != 1 || extended.Count != 1 {
		t.Errorf("ESEARCH finds %+v", extended)
	}
	check(t, c.Create("work/übung", nil).Wait())
	boxes, err := c.List("", "*", &goimap.ListOptions{ReturnStatus: &goimap.StatusOptions{NumMessages: true}}).Collect()
	check(t, err)
	var names []string
	for _, b := range boxes {
		names = append(names, b.Mailbox)
	}
	if got := strings.Join(names, " "); got != "INBOX Archive Drafts Junk Sent Trash work work/übung" {
		t.Errorf("LIST names %s", got)
	}
	copied, err := c.Copy(goimap.SeqSetNum(2, 3), "work/übung").Wait()
	check(t, err)
	if copied.SourceUIDs.String() != "2:3" || copied.DestUIDs.String() != "1:2" {
		t.Errorf("COPYUID %+v", copied)
	}
	moved, err := c.Move(goimap.UIDSetNum(4), "work/übung").Wait()
	check(t, err)
	if moved.DestUIDs.String() != "3" {
		t.Errorf("MOVE's COPYUID %+v", moved)
	}
	stored, err := c.Store(goimap.SeqSetNum(1, 2), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Collect()
	check(t, err)
	if len(stored) != 2 {
		t.Errorf("STORE answers %d times", len(stored))
	}
	gone, err := c.UIDExpunge(goimap.UIDSetNum(2)).Collect()
	check(t, err)
	if fmt.Sprint(gone) != "[2]" {
		t.Errorf("EXPUNGE says %v", gone)
	}
	status, err := c.Status("work/übung", &goimap.StatusOptions{NumMessages: true, Size: true, UIDNext: true}).Wait()
	check(t, err)
	if *status.NumMessages != 3 || status.UIDNext != 4 {
		t.Errorf("STATUS says %+v", status)
	}
	check(t, c.Logout().Wait())
}

// scramClient is a SASL client over xdg-go/scram.
type scramClient struct {
	mechanism string
	conv      *scram.ClientConversation
}

func (s *scramClient) Start() (string, []byte, error) {
	first, err := s.conv.Step("")
	return s.mechanism, []byte(first), err
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	next, err := s.conv.Step(string(challenge))
	return []byte(next), err
}

// TestSCRAM logs in with and without channel binding, and not with a wrong one.
func TestSCRAM(t *testing.T) {
	f := startFarm(t, nil)
	user := f.user(t)
	for _, tc := range []struct {
		name, mechanism, password string
		plus, spoil, ok           bool
	}{
		{"plain", "SCRAM-SHA-256", password, false, false, true},
		{"wrong password", "SCRAM-SHA-256", "wrong", false, false, false},
		{"bound", "SCRAM-SHA-256-PLUS", password, true, false, true},
		{"bound to another channel", "SCRAM-SHA-256-PLUS", password, true, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn := dialTLS(t, f.secure)
			state := conn.ConnectionState()
			binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			check(t, err)
			if tc.spoil {
				binding[0] ^= 1
			}
			c := imapclient.New(conn, nil)
			defer c.Close()
			check(t, c.WaitGreeting())
			client, err := scram.SHA256.NewClient(user, tc.password, "")
			check(t, err)
			conv := client.NewConversation()
			if tc.plus {
				conv = client.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: binding})
			}
			err = c.Authenticate(&scramClient{tc.mechanism, conv})
			if (err == nil) != tc.ok {
				t.Errorf("login says %v", err)
			}
			if tc.ok {
				if !conv.Valid() {
					t.Error("the server did not prove itself")
				}
				check(t, c.Noop().Wait())
			}
		})
	}
}
