package backup

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestRowsAsLines turns rows of every table into lines, and back.
func TestRowsAsLines(t *testing.T) {
	words := keywords{101: {"work", "$Forwarded"}}
	chunk := mailbox.Chunk{FirstUID: 5}
	for i := range 9 {
		chunk.Add(mailbox.Entry{UID: mailbox.UID(5 + 2*i), Flags: []mailbox.Flags{0, mailbox.Seen, mailbox.Seen | mailbox.KeywordFlag(1), mailbox.KeywordFlag(0) | mailbox.KeywordFlag(30)}[i%4],
			ModSeq: mailbox.ModSeq(1<<40 + i), Email: mailbox.EmailID(1<<62 + i), Size: int64(1000 * i), Received: 1_700_000_000 + int64(i), Saved: 1_700_000_000 + int64(i*i)})
	}
	packedChunk := chunk.Pack()
	octets := map[string][]byte{"uids": packedChunk.UIDs, "flags": packedChunk.Flags, "mod_seqs": packedChunk.ModSeqs, "emails": packedChunk.Emails,
		"sizes": packedChunk.Sizes, "received": packedChunk.Received, "saved": packedChunk.Saved}
	for number, table := range whole.Tables {
		if table.Name == whole.Emails {
			continue // a line of its own kind
		}
		in := &storev1.BackupRow{Table: uint32(number)}
		for i, c := range table.Columns {
			v := &storev1.BackupValue{}
			switch {
			case c.Name == "mailbox":
				v.Value = &storev1.BackupValue_Number{Number: 101}
			case c.Kind == whole.Number:
				v.Value = &storev1.BackupValue_Number{Number: []int64{0, 1, -1, 1<<62 + 1, 1_795_294_547_404_295_422}[i%5]}
			case c.Kind == whole.Text:
				v.Value = &storev1.BackupValue_Text{Text: []string{"", "work $Forwarded", `"quoted" <&> ä\`}[i%3]}
			default:
				b := octets[c.Name]
				if b == nil {
					b = []byte{0, 255, byte(i)}
				}
				if table.Name == "removed" && c.Name == "flags" {
					b = mailbox.AppendFlags(nil, chunk.Flags)
				}
				v.Value = &storev1.BackupValue_Octets{Octets: b}
			}
			in.Values = append(in.Values, v)
		}
		v, err := valuesOf(&storev1.BackupTable{Name: table.Name, Columns: table.Names()}, in)
		if err != nil {
			t.Fatal(err)
		}
		line, err := v.line(table.Name, words, nil)
		if err != nil {
			t.Fatalf("%s: %v", table.Name, err)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		out, err := row(table, uint32(number), fields, words)
		if err != nil {
			t.Fatalf("%s: %v\n%s", table.Name, err, line)
		}
		if !proto.Equal(out, in) {
			t.Errorf("%s: got %v\nwant %v\nline %s", table.Name, out, in, line)
		}
	}
}

// TestOverlays shows a body as its reader sees it: as package message does.
func TestOverlays(t *testing.T) {
	body := strings.Repeat("0123456789", 30)
	for _, o := range []*mailv1.Overlay{
		nil, {}, {Prefix: []byte("Return-Path: <>\r\n")}, {Prefix: []byte("X: \xff\r\n"), Cuts: []*mailv1.Cut{{Offset: 0, Length: 10}}},
		{Cuts: []*mailv1.Cut{{Offset: 5, Length: 3}, {Offset: 8, Length: 4}, {Offset: 100, Length: 200}}},
	} {
		var j *overlayJSON
		if o != nil {
			raw, err := proto.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if j, err = fromOverlay(raw); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(j)
			if err != nil {
				t.Fatal(err)
			}
			j = &overlayJSON{}
			if err := json.Unmarshal(text, j); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(j.overlay().Prefix, o.Prefix) || len(j.overlay().Cuts) != len(o.Cuts) {
				t.Errorf("%v became %v", o, j.overlay())
			}
		}
		want, err := io.ReadAll(message.NewReader(message.OverlayFrom(o), strings.NewReader(body), int64(len(body))))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(j.apply(strings.NewReader(body)))
		if err != nil || !bytes.Equal(got, want) || j.seenSize(int64(len(body))) != int64(len(want)) {
			t.Errorf("%v: %d octets of %d announced, %v, want %d", o, len(got), j.seenSize(int64(len(body))), err, len(want))
		}
	}
}

func TestSets(t *testing.T) {
	for _, s := range []string{"", "7", "1:5,9", "1:4294967295", "3,5:6,8"} {
		set, err := parseSet(s)
		if err != nil || setOf(set) != s {
			t.Errorf("%q became %q, %v", s, setOf(set), err)
		}
	}
	for _, s := range []string{"x", "1:x", "-1", "4294967296"} {
		if set, err := parseSet(s); err == nil {
			t.Errorf("%q was read as %v", s, set)
		}
	}
}

// FuzzLine feeds lines that are not of our making.
func FuzzLine(f *testing.F) {
	f.Add("chunk", `{"mailbox":"101","first_uid":5,"messages":[{"uid":5,"flags":["\\Seen","#40"],"mod_seq":9,"email":"77","size":3,"received":"2026-11-21T10:00:00Z"}]}`)
	f.Add("tombstone", `{"mailbox":"101","mod_seq":5,"uids":"1:5,9","emails":["5"],"expunged_ns":"2026-11-21T10:00:00.5Z"}`)
	f.Add("delivered", `{"queue_id":"00ff","number":1}`)
	f.Fuzz(func(t *testing.T, name, line string) {
		table := whole.Find(name)
		var fields map[string]json.RawMessage
		if table == nil || json.Unmarshal([]byte(line), &fields) != nil {
			return
		}
		r, err := row(table, 0, fields, keywords{101: {"work"}})
		if err == nil && len(r.Values) != len(table.Columns) {
			t.Errorf("%d values of %d columns", len(r.Values), len(table.Columns))
		}
		if email, err := emailOf(fields); err == nil {
			email.Overlay.seenSize(email.Size)
		}
	})
}
