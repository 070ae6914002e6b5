package keys_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/searchtext"
	"github.com/mailfarm/mailfarm/services/imap/internal/keys"
)

func TestFold(t *testing.T) {
	for _, pair := range [][2]string{{"straße", "STRAßE"}, {"ÀÉ", "àé"}, {"ΣΑΣ", "σας"}, {"K", "k"}, {"ſ", "S"}, {"a\xffb", "A\xffB"}, {"ﬁ", "ﬁ"}, {"é", "É"}, {"Å", "å"}} {
		if a, b := searchtext.Fold(nil, []byte(pair[0])), searchtext.Fold(nil, []byte(pair[1])); string(a) != string(b) {
			t.Errorf("%q folds to %q, %q to %q", pair[0], a, pair[1], b)
		}
	}
	long := strings.Repeat("aé€😀", 5000)
	if a, b := string(searchtext.FoldReader(nil, strings.NewReader(long))), string(searchtext.Fold(nil, []byte(long))); a != b {
		t.Error("a reader folds otherwise")
	}
}

// TestCasemap: i;unicode-casemap takes titlecase and decomposes it, in this order (RFC 5051 §2).
func TestCasemap(t *testing.T) {
	for in, want := range map[string]string{
		"abcXYZ [`{": "ABCXYZ [`{", "é": "E\u0301", "ǆ": "D" + "z\u030c", "ﬁ": "fi", "½": "1\u20442", "ß": "ß", "ﷺ": "صلى الله عليه وسلم",
	} {
		if got := string(searchtext.Fold(nil, []byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestBase(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		reply    bool
	}{
		{"", "", false}, {"hello", "hello", false}, {"  hello \t world ", "hello world", false},
		{"Re: hello", "hello", true}, {"RE : hello", "hello", true}, {"re[2]: hello", "hello", true}, {"Fwd: Re: fw: hello", "hello", true},
		{"[list] hello", "hello", false}, {"[list] Re: [list] hello (fwd)", "hello", true}, {"[list]", "[list]", false},
		{"[a] [b]", "[b]", false}, {"Re: [list]", "[list]", true}, {"hello (fwd) (FWD)  ", "hello", true}, {"(fwd)", "", true},
		{"[Fwd: Re: hello]", "hello", true}, {"[fwd: [fwd: hello]]", "hello", true}, {"[Fwd: hello", "[Fwd: hello", false},
		{"Re:", "", true}, {"Re: Re:", "", true}, {"Regarding: x", "Regarding: x", false}, {"[a[b]] x", "[a[b]] x", false},
		{"Re: hello: world", "hello: world", true}, {"[x] re [y] : z", "z", true},
	} {
		got, reply := keys.Base([]byte(tc.in))
		if string(got) != tc.want || reply != tc.reply {
			t.Errorf("%q: %q %t, want %q %t", tc.in, got, reply, tc.want, tc.reply)
		}
	}
}

// FuzzBase: the base subject of a base subject is itself, and is no longer.
func FuzzBase(f *testing.F) {
	for _, s := range []string{"Re: x", "[fwd: [a] re[b]: c (fwd)]", "[[", "\t re : "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		base, _ := keys.Base(bytes.Clone(in))
		if len(base) > len(in) {
			t.Fatalf("%q becomes %q", in, base)
		}
		if again, _ := keys.Base(bytes.Clone(base)); !bytes.Equal(again, base) {
			t.Fatalf("%q becomes %q, and that %q", in, base, again)
		}
	})
}

func source(uid mailbox.UID, from, subject, refs string) keys.Source {
	return keys.Source{UID: uid, Envelope: fmt.Appendf(nil, `("x" "%s" %s NIL NIL NIL NIL NIL "<p@x>" "<%d@x>")`, subject, from, uid),
		References: []byte(refs), Sent: time.Unix(int64(uid), 0).In(time.FixedZone("", 3600)), HasSent: uid%2 == 0}
}

func TestBlock(t *testing.T) {
	var b *keys.Block
	b = b.With([]keys.Source{
		source(4, `(("=?utf-8?q?J=C3=B6?=" NIL "jo" "Example.org")("B" NIL "b" "c"))`, "Re: two  spaces", `<a@x> junk <"b"@x>`),
		source(9, `((NIL NIL "box" "host"))`, "[l] nine", ""),
	})
	b = b.With([]keys.Source{source(2, "NIL", strings.Repeat("é", 5000), ""), source(4, "NIL", "no", ""), source(7, `((NIL NIL "Group" NIL)(NIL NIL "x" "y")(NIL NIL NIL NIL))`, "", "<a@x>")})
	if b.Len() != 4 {
		t.Fatalf("%d messages", b.Len())
	}
	at := func(uid mailbox.UID) keys.Record {
		r, ok := b.Find(uid)
		if !ok {
			t.Fatalf("%d is not there", uid)
		}
		return r
	}
	if _, ok := b.Find(5); ok {
		t.Error("5 is there")
	}
	for _, tc := range []struct{ got, want any }{
		{string(at(4).Mailbox(searchtext.From)), "JO"}, {string(at(4).Display(searchtext.From)), "JO\u0308"}, {string(at(4).Base()), "TWO SPACES"},
		{at(4).IsReply(), true}, {len(at(4).Refs()), 2}, {at(4).Refs()[0] == at(7).Refs()[0], true},
		{string(at(9).Mailbox(searchtext.From)), "BOX"}, {string(at(9).Display(searchtext.From)), "BOX@HOST"}, {string(at(9).Base()), "NINE"},
		{len(at(9).Refs()), 1}, {at(9).Refs()[0] == at(2).Refs()[0], true}, {at(9).ID() == at(4).ID(), false},
		{string(at(7).Mailbox(searchtext.From)), "GROUP"}, {string(at(7).Display(searchtext.From)), "GROUP"}, {string(at(7).Base()), ""},
		{len(at(2).Mailbox(searchtext.From)), 0}, {len(at(2).Display(searchtext.To)), 0}, {utf8.Valid(at(2).Base()), true},
	} {
		if tc.got != tc.want {
			t.Errorf("got %v, want %v", tc.got, tc.want)
		}
	}
	text, whole := at(4).Text(searchtext.From)
	if want := "JO\u0308 <JO@EXAMPLE.ORG>, B <B@C>, "; string(text) != want || !whole {
		t.Errorf("from %q %t", text, whole)
	}
	if text, whole := at(2).Text(searchtext.Subject); whole || len(text) > 1500 {
		t.Errorf("a long subject: %d octets, whole %t", len(text), whole)
	}
	if s, zone, ok := at(4).Sent(); s != 4 || zone != 3600 || !ok {
		t.Errorf("sent %d %d %t", s, zone, ok)
	}
	if _, _, ok := at(9).Sent(); ok {
		t.Error("a date out of nothing")
	}
}

// TestIDs: ids are compared in one form (RFC 5256 §3).
func TestIDs(t *testing.T) {
	var none *keys.Block
	ref := func(value string) []uint64 {
		r, _ := none.With([]keys.Source{{UID: 1, Envelope: []byte("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"), References: []byte(value)}}).Find(1)
		return r.Refs()
	}
	same := ref("<ab@c>")[0]
	for _, v := range []string{`<"ab"@c>`, "< ab @ c >", `<"a\b"@c>`, "x <ab@c", "<<ab@c>"} {
		got := ref(v)
		if v == "x <ab@c" {
			if len(got) != 0 {
				t.Errorf("%s is an id", v)
			}
			continue
		}
		if len(got) != 1 || got[0] != same {
			t.Errorf("%s is another", v)
		}
	}
	if n := len(ref("<no> <> <@> <a@b> <a@b> <c@d>")); n != 2 {
		t.Errorf("%d ids", n)
	}
	many := ""
	for i := range 3 * keys.RefsMax {
		many += fmt.Sprintf("<%d@x>", i)
	}
	if got, last := ref(many), ref(fmt.Sprintf("<%d@x>", 3*keys.RefsMax-1)); len(got) != keys.RefsMax || got[len(got)-1] != last[0] {
		t.Errorf("%d ids", len(got))
	}
}

// TestCache: what was used last is held, up to the bound.
func TestCache(t *testing.T) {
	var none *keys.Block
	block := none.With([]keys.Source{source(1, "NIL", "x", "")})
	c := keys.NewCache(3000)
	put := func(n uint32) { c.Put(keys.Run{Number: n}, block) }
	put(0)
	put(0)
	one := c.Size()
	n := uint32(3000 / one)
	for i := uint32(1); i < n; i++ {
		put(i)
	}
	c.Get(keys.Run{Number: 0})
	put(n)
	if c.Get(keys.Run{Number: 0}) == nil || c.Get(keys.Run{Number: 1}) != nil || c.Get(keys.Run{Number: n}) == nil {
		t.Error("the wrong one went")
	}
	if c.Size() > 3000 || c.Size() != int64(n)*one {
		t.Errorf("%d octets of %d blocks of %d", c.Size(), n, one)
	}
	small := keys.NewCache(10)
	small.Put(keys.Run{}, block)
	if small.Size() != 0 || small.Get(keys.Run{}) != nil {
		t.Error("more than there is room for")
	}
}

// FuzzKeys: nothing that is stored panics.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(`("d" "re: s" (("n" NIL "a" "b")) NIL NIL ((NIL NIL "g" NIL)(NIL NIL NIL NIL)) NIL NIL "<x@y>" "<m@x>")`), []byte("<a@b> <c"))
	f.Fuzz(func(t *testing.T, envelope, refs []byte) {
		var b *keys.Block
		b = b.With([]keys.Source{{UID: 1, Envelope: envelope, References: refs}}).With([]keys.Source{{UID: 2, Envelope: refs, References: envelope}})
		for uid := mailbox.UID(1); uid < 3; uid++ {
			r, _ := b.Find(uid)
			for _, s := range []searchtext.Slot{searchtext.From, searchtext.To, searchtext.Cc} {
				r.Mailbox(s)
				r.Display(s)
				r.Text(s)
			}
			r.Base()
			r.Refs()
		}
	})
}
