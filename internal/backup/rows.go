package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ErrLine is a line of JSON that is not of our making.
var ErrLine = errors.New("not a line of a backup")

// ids are columns that JSON has as strings: they may be above 2^53. Those of "_ns" among them are durations, and all others times.
var ids = map[string]bool{"mailbox": true, "email": true, "thread": true, "id_hash": true, "reader": true, "root": true, "keep_ns": true, "older_ns": true}

// packed are columns that make up "messages", for the tables that have them.
var packed = map[string]bool{"uids": true, "flags": true, "mod_seqs": true, "emails": true, "sizes": true, "received": true, "saved": true}

// entry is a message of a mailbox in JSON.
type entry struct {
	UID      uint32   `json:"uid"`
	Flags    []string `json:"flags"`
	ModSeq   uint64   `json:"mod_seq"`
	Email    uint64   `json:"email,string,omitempty"`
	Size     int64    `json:"size,omitempty"`
	Received string   `json:"received,omitempty"`
	Saved    string   `json:"saved,omitempty"`
}

// flagNames tells flags by name; a bit that no keyword has is "#" and its number.
func flagNames(f mailbox.Flags, keywords []string) []string {
	names := append([]string{}, f.Names(keywords)...)
	for _, n := range names {
		bit, _ := mailbox.FindFlag(n, keywords)
		f &^= bit
	}
	for bit := range 64 {
		if f&(1<<bit) != 0 {
			names = append(names, "#"+strconv.Itoa(bit))
		}
	}
	return names
}

func flagsOf(names, keywords []string) (f mailbox.Flags, err error) {
	for _, n := range names {
		if bit, ok := mailbox.FindFlag(n, keywords); ok {
			f |= bit
			continue
		}
		bit, err := strconv.ParseUint(strings.TrimPrefix(n, "#"), 10, 6)
		if err != nil || !strings.HasPrefix(n, "#") {
			return 0, fmt.Errorf("%w: flag %q", ErrLine, n)
		}
		f |= 1 << bit
	}
	return f, nil
}

func seconds(s int64) string { return time.Unix(s, 0).UTC().Format(time.RFC3339) }

func parseSeconds(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.Unix(), err
}

// setOf writes UIDs as IMAP does: "1:5,9".
func setOf(uids mailbox.UIDSet) string {
	var b strings.Builder
	for i, r := range uids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, uint32(r.First))
		if r.Last != r.First {
			fmt.Fprintf(&b, ":%d", uint32(r.Last))
		}
	}
	return b.String()
}

func parseSet(s string) (uids mailbox.UIDSet, err error) {
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		first, last, ok := strings.Cut(part, ":")
		if !ok {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 32)
		b, err2 := strconv.ParseUint(last, 10, 32)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		uids = uids.Append(mailbox.UID(a), mailbox.UID(b))
	}
	return uids, nil
}

// keywords of mailboxes, by their ids, and of what was removed.
type keywords map[int64][]string

// values are a row's by the names of its columns.
type values map[string]any

func valuesOf(t *storev1.BackupTable, r *storev1.BackupRow) (values, error) {
	if len(r.GetValues()) != len(t.GetColumns()) {
		return nil, fmt.Errorf("row of %s with %d values of %d", t.GetName(), len(r.GetValues()), len(t.GetColumns()))
	}
	v := make(values, len(t.GetColumns()))
	for i, name := range t.GetColumns() {
		switch x := r.GetValues()[i].GetValue().(type) {
		case *storev1.BackupValue_Number:
			v[name] = x.Number
		case *storev1.BackupValue_Text:
			v[name] = x.Text
		case *storev1.BackupValue_Octets:
			v[name] = x.Octets
		}
	}
	return v, nil
}

func (v values) number(name string) int64  { n, _ := v[name].(int64); return n }
func (v values) text(name string) string   { s, _ := v[name].(string); return s }
func (v values) octets(name string) []byte { b, _ := v[name].([]byte); return b }

// line is a row as JSON; more are fields beside the columns.
func (v values) line(table string, words keywords, more map[string]any) ([]byte, error) {
	out := map[string]any{"table": table}
	for name, x := range more {
		out[name] = x
	}
	if err := v.entries(table, words, out); err != nil {
		return nil, fmt.Errorf("row of %s: %w", table, err)
	}
	for name, x := range v {
		if _, done := out[name]; done || packed[name] && out["messages"] != nil {
			continue
		}
		switch x := x.(type) {
		case int64:
			switch {
			case ids[name]:
				out[name] = strconv.FormatInt(x, 10)
			case strings.HasSuffix(name, "_ns"):
				out[name] = time.Unix(0, x).UTC().Format(time.RFC3339Nano)
			default:
				out[name] = x
			}
		case string:
			out[name] = x
		case []byte:
			if name == "blob_id" || name == "queue_id" {
				out[name] = hex.EncodeToString(x)
			} else if len(x) > 0 {
				out[name] = base64.StdEncoding.EncodeToString(x)
			}
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(out)
	return b.Bytes(), err
}

// entries unpacks what is packed.
func (v values) entries(table string, words keywords, out map[string]any) error {
	switch table {
	case "email":
		if b := v.octets("overlay"); len(b) > 0 {
			o, err := fromOverlay(b)
			out["overlay"] = o
			return err
		}
		out["overlay"] = nil
		return nil
	case "tombstone":
		uids, err := mailbox.DecodeUIDSet(v.octets("uids"))
		if err != nil {
			return err
		}
		emails, err := mailbox.AllEmails(nil, v.octets("emails"))
		names := make([]string, len(emails))
		for i, e := range emails {
			names[i] = strconv.FormatUint(uint64(e), 10)
		}
		out["uids"], out["emails"] = setOf(uids), names
		return err
	case "chunk", "removed", "seen":
	default:
		return nil
	}
	p := mailbox.Packed{UIDs: v.octets("uids"), Flags: v.octets("flags"), ModSeqs: v.octets("mod_seqs"), Emails: v.octets("emails"),
		Sizes: v.octets("sizes"), Received: v.octets("received"), Saved: v.octets("saved")}
	known := words[v.number("mailbox")]
	if table == "removed" {
		known = strings.Fields(v.text("keywords"))
	}
	var c mailbox.Chunk
	unpack := c.Unpack
	if table == "seen" {
		unpack = c.UnpackFlags
	}
	if err := unpack(&p); err != nil {
		return err
	}
	list := make([]entry, c.Len())
	for i := range list {
		list[i] = entry{UID: uint32(c.UIDs[i]), Flags: flagNames(c.Flags[i], known), ModSeq: uint64(c.ModSeqs[i])}
		if table == "seen" {
			continue
		}
		list[i].Email, list[i].Size, list[i].Received = uint64(c.Emails[i]), c.Sizes[i], seconds(c.Received[i])
		if table == "chunk" && c.Saved[i] != c.Received[i] {
			list[i].Saved = seconds(c.Saved[i])
		}
	}
	out["messages"] = list
	return nil
}

// row is what a line says, as the columns of a table.
func row(t *whole.Table, number uint32, fields map[string]json.RawMessage, words keywords) (*storev1.BackupRow, error) {
	filled, err := packEntries(t.Name, fields, words)
	if err != nil {
		return nil, err
	}
	r := &storev1.BackupRow{Table: number}
	for _, c := range t.Columns {
		v := &storev1.BackupValue{Value: &storev1.BackupValue_Octets{Octets: filled[c.Name]}}
		if _, ok := filled[c.Name]; !ok {
			if v, err = parse(c, fields[c.Name]); err != nil {
				return nil, fmt.Errorf("%w: %s of %s: %w", ErrLine, c.Name, t.Name, err)
			}
		}
		r.Values = append(r.Values, v)
	}
	return r, nil
}

func number(n int64) *storev1.BackupValue {
	return &storev1.BackupValue{Value: &storev1.BackupValue_Number{Number: n}}
}

func parse(c whole.Column, raw json.RawMessage) (*storev1.BackupValue, error) {
	var s string
	isText := len(raw) > 0 && raw[0] == '"'
	if isText {
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, err
		}
	}
	switch c.Kind {
	case whole.Text:
		return &storev1.BackupValue{Value: &storev1.BackupValue_Text{Text: s}}, nil
	case whole.Octets:
		b, err := base64.StdEncoding.DecodeString(s)
		if c.Name == "queue_id" || c.Name == "blob_id" {
			b, err = hex.DecodeString(s)
		}
		return &storev1.BackupValue{Value: &storev1.BackupValue_Octets{Octets: b}}, err
	}
	if strings.HasSuffix(c.Name, "_ns") && strings.Contains(s, "T") {
		t, err := time.Parse(time.RFC3339Nano, s)
		return number(t.UnixNano()), err
	}
	if !isText {
		s = string(raw)
	}
	if s == "" || s == "null" {
		return number(0), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return number(n), err
}

// packEntries packs what entries unpacked.
func packEntries(table string, fields map[string]json.RawMessage, words keywords) (map[string][]byte, error) {
	switch table {
	case "tombstone":
		var names []string
		uids, err := parseSet(stringOf(fields, "uids"))
		if err := errors.Join(err, json.Unmarshal(fields["emails"], &names)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLine, err)
		}
		emails := make([]mailbox.EmailID, len(names))
		for i, n := range names {
			id, err := strconv.ParseUint(n, 10, 63)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrLine, err)
			}
			emails[i] = mailbox.EmailID(id)
		}
		return map[string][]byte{"uids": mailbox.AppendUIDSet(nil, uids), "emails": mailbox.AppendEmails(nil, emails)}, nil
	case "chunk", "removed", "seen":
	default:
		return nil, nil
	}
	known, err := keywordsOf(table, fields, words)
	if err != nil {
		return nil, err
	}
	c, err := chunkOf(fields["messages"], known)
	if err != nil {
		return nil, err
	}
	p := c.Pack()
	out := map[string][]byte{"uids": p.UIDs, "flags": p.Flags, "mod_seqs": p.ModSeqs}
	if table != "seen" {
		out["emails"], out["sizes"], out["received"] = p.Emails, p.Sizes, p.Received
	}
	if table == "chunk" {
		out["saved"] = p.Saved
	}
	return out, nil
}

func keywordsOf(table string, fields map[string]json.RawMessage, words keywords) ([]string, error) {
	var s string
	if table == "removed" {
		err := json.Unmarshal(fields["keywords"], &s)
		return strings.Fields(s), err
	}
	if err := json.Unmarshal(fields["mailbox"], &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLine, err)
	}
	id, err := strconv.ParseInt(s, 10, 64)
	return words[id], err
}

func chunkOf(raw json.RawMessage, known []string) (*mailbox.Chunk, error) {
	var list []entry
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLine, err)
	}
	c := &mailbox.Chunk{}
	for _, e := range list {
		flags, err := flagsOf(e.Flags, known)
		if err != nil {
			return nil, err
		}
		received, err := parseSeconds(e.Received)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLine, err)
		}
		saved := received
		if e.Saved != "" {
			if saved, err = parseSeconds(e.Saved); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrLine, err)
			}
		}
		c.Add(mailbox.Entry{UID: mailbox.UID(e.UID), Flags: flags, ModSeq: mailbox.ModSeq(e.ModSeq), Email: mailbox.EmailID(e.Email),
			Size: e.Size, Received: received, Saved: saved})
	}
	return c, nil
}
