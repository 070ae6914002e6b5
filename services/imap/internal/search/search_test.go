package search_test

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/searchtext"
	"github.com/mailfarm/mailfarm/services/imap/internal/keys"
	"github.com/mailfarm/mailfarm/services/imap/internal/search"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

func parse(t testing.TB, text string) *search.Key {
	t.Helper()
	var l wire.Lexer
	l.Reset([]byte(text))
	k := search.Parse(&l)
	if l.Err() != nil {
		t.Fatalf("%s: %v", text, l.Err())
	}
	env := &search.Env{Keywords: []string{"$Work"}, Now: time.Unix(2_000_000, 0), Seqs: func(set wire.Set, saved, uid bool) (wire.Set, error) {
		return set.Resolve(10), nil
	}}
	if err := k.Bind(env); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestLevels: what the columns decide is decided by them, and the rest is open until enough is known.
func TestLevels(t *testing.T) {
	const envelope = `("Mon, 2 Jan 2023 23:30:00 -0800" "=?utf-8?q?Stra=C3=9Fe?=" (("J. \"Jo\" Doe" NIL "joe" "EXAMPLE.com")) NIL NIL ((NIL NIL "fred" "example.org")(NIL NIL "ann" "example.org")) NIL NIL {3}` + "\r\n<x> \"<id@example.com>\")"
	sent := time.Date(2023, 1, 2, 23, 30, 0, 0, time.FixedZone("", -8*3600))
	columns := search.Message{Seq: 3, UID: 30, Flags: mailbox.Seen | mailbox.KeywordFlag(0), Size: 500, Received: 1_000_000, ModSeq: 9}
	index := columns
	index.Level, index.Envelope = search.Index, []byte(envelope)
	var none *keys.Block
	index.Keys, _ = none.With([]keys.Source{{UID: 30, Envelope: []byte(envelope), Sent: sent, HasSent: true}}).Find(30)
	byKeys := columns
	byKeys.Level, byKeys.Keys = search.Keys, index.Keys
	index.Field = func(name string) (int, int64) {
		return map[string]int{"x-a": 1, "subject": 2, "message-id": 1}[name], 10
	}
	full := index
	full.Level = search.Text
	full.Look = func(n *searchtext.Needle) searchtext.Hit {
		switch {
		case n.Field != "":
			var f searchtext.Fields
			f.Reset([]byte("X-A: one\r\n two\r\nSubject: =?utf-8?q?Stra=C3=9Fe?=\r\nSUBJECT : x\r\n\r\n"))
			return f.Hit(n)
		case n.Headers:
			return max(n.In([]byte("BODY TEXT")), n.In([]byte("SUBJECT: X")))
		}
		return n.In([]byte("BODY TEXT"))
	}
	const no, maybe, yes = search.No, search.Maybe, search.Yes
	for _, tc := range []struct {
		key  string
		want [3]search.Answer
	}{
		{"ALL", [3]search.Answer{yes, yes, yes}},
		{"SEEN KEYWORD $work", [3]search.Answer{yes, yes, yes}},
		{"KEYWORD nothing", [3]search.Answer{no, no, no}},
		{"UNSEEN FROM joe", [3]search.Answer{no, no, no}},
		{"SEEN FROM joe", [3]search.Answer{maybe, yes, yes}},
		{"OR SEEN FROM joe", [3]search.Answer{yes, yes, yes}},
		{"OR UNSEEN FROM joe", [3]search.Answer{maybe, yes, yes}},
		{"NOT FROM joe", [3]search.Answer{maybe, no, no}},
		{"FROM joe@example.COM", [3]search.Answer{maybe, yes, yes}},
		{`FROM "j. \"jo\""`, [3]search.Answer{maybe, yes, yes}},
		{"TO ann@", [3]search.Answer{maybe, yes, yes}},
		{"TO joe", [3]search.Answer{maybe, no, no}},
		{`SUBJECT "STRAßE"`, [3]search.Answer{maybe, yes, yes}},
		{"SENTON 2-Jan-2023", [3]search.Answer{maybe, yes, yes}},
		{"SENTSINCE 3-Jan-2023", [3]search.Answer{maybe, no, no}},
		{"HEADER message-id ID@", [3]search.Answer{maybe, yes, yes}},
		{"HEADER subject x", [3]search.Answer{maybe, maybe, yes}},
		{"HEADER subject stra", [3]search.Answer{maybe, maybe, yes}},
		{"HEADER subject y", [3]search.Answer{maybe, maybe, no}},
		{"HEADER x-a TWO", [3]search.Answer{maybe, maybe, yes}},
		{"HEADER x-b two", [3]search.Answer{maybe, no, no}},
		{`HEADER x-a ""`, [3]search.Answer{maybe, yes, yes}},
		{"BODY text", [3]search.Answer{maybe, maybe, yes}},
		{"BODY subject", [3]search.Answer{maybe, maybe, no}},
		{"TEXT subject", [3]search.Answer{maybe, maybe, yes}},
		{"1:5 LARGER 499 SMALLER 501", [3]search.Answer{yes, yes, yes}},
		{"4:* BODY x", [3]search.Answer{no, no, no}},
		{"OLDER 1000000 NOT YOUNGER 999999", [3]search.Answer{yes, yes, yes}},
		{"ON 12-Jan-1970 SINCE 12-Jan-1970 NOT BEFORE 12-Jan-1970", [3]search.Answer{yes, yes, yes}},
		{"MODSEQ 9 NOT MODSEQ 10", [3]search.Answer{yes, yes, yes}},
		{"BODY texts", [3]search.Answer{maybe, maybe, no}},
		{"FUZZY BODY \"texts of bodies\"", [3]search.Answer{maybe, maybe, no}},
		{"FUZZY (OR BODY \"texts, bodied\" BODY \"text, body\")", [3]search.Answer{maybe, maybe, yes}},
		{"FUZZY FROM \"does J\" SEEN", [3]search.Answer{maybe, yes, yes}},
		{"OR UNSEEN OR OR BODY nothing FROM joe TO ann@", [3]search.Answer{maybe, yes, yes}},
		{"OR OR OR UNSEEN FROM zz FROM yy BODY nothing", [3]search.Answer{maybe, maybe, no}},
		{"OR UNSEEN (OR FROM zz TO zz)", [3]search.Answer{maybe, no, no}},
		{"(OR (SEEN BODY nothing) (UNSEEN))", [3]search.Answer{maybe, maybe, no}},
	} {
		k := parse(t, tc.key)
		for i, m := range []*search.Message{&columns, &index, &full} {
			if got := k.Match(m); got != tc.want[i] {
				t.Errorf("%s at level %d: %v, want %v", tc.key, m.Level, got, tc.want[i])
			}
		}
		// What keys decide is what all decide.
		if got := k.Match(&byKeys); got != maybe && got != tc.want[2] {
			t.Errorf("%s by keys: %v, want %v", tc.key, got, tc.want[2])
		}
		if tc.want[0] == maybe && k.Level() == search.Columns || tc.want[1] == maybe && k.Level() <= search.Index {
			t.Errorf("%s has level %d", tc.key, k.Level())
		}
	}
}

// FuzzParse: no key panics, whether parsed or matched, at any level.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"ALL", `OR FROM "x" NOT (SEEN TEXT {1}` + "\r\nx)", "UID 1:*,4 $ HEADER a b SENTON 1-Jan-2000", `MODSEQ "/flags/x" all 5`, "KEYWORD $Work OLDER 5",
	} {
		f.Add([]byte(s), []byte(`("d" "s" ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL NIL "m")`))
	}
	f.Fuzz(func(t *testing.T, in, envelope []byte) {
		var l wire.Lexer
		l.Reset(in)
		k := search.Parse(&l)
		if l.Err() != nil {
			return
		}
		if err := k.Bind(&search.Env{Now: time.Unix(1e9, 0), Seqs: func(s wire.Set, _, _ bool) (wire.Set, error) { return s.Resolve(7), nil }}); err != nil {
			t.Fatal(err)
		}
		m := &search.Message{Seq: 1, UID: 1}
		k.Match(m)
		var none *keys.Block
		m.Keys, _ = none.With([]keys.Source{{UID: 1, Envelope: envelope, References: envelope}}).Find(1)
		m.Level = search.Keys
		k.Match(m)
		m.Level, m.Envelope = search.Index, envelope
		k.Match(m)
		m.Level = search.Text
		m.Look = func(n *searchtext.Needle) searchtext.Hit { return n.In(envelope) }
		if k.Match(m) == search.Maybe {
			t.Fatalf("%q is open although all is known", in)
		}
	})
}
