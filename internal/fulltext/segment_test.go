package fulltext

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// TestTrigramsAreTokens: no two trigrams are the same token.
func TestTrigramsAreTokens(t *testing.T) {
	seen := newBitmap(1 << tokenBits)
	for abc := range uint32(1 << tokenBits) {
		token := int(trigram(abc))
		if seen.has(token) {
			t.Fatalf("trigram %06x is a token that another is", abc)
		}
		seen.set(token)
	}
}

// TestMergeLeavesTheDead: what has left is not in the merged segment, and lists of nobody are not either.
func TestMergeLeavesTheDead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var segments []*Segment
	want := map[mailbox.EmailID][]Token{}
	id := mailbox.EmailID(0)
	for range 4 {
		var docs []Doc
		for range 50 {
			id += mailbox.EmailID(1 + r.IntN(5))
			var tokens []Token
			for range r.IntN(40) {
				tokens = append(tokens, Token(r.IntN(1<<10)<<10))
			}
			slices.Sort(tokens)
			docs = append(docs, Doc{Email: id, Tokens: slices.Compact(tokens), All: r.IntN(10) == 0})
		}
		s := Build(docs)
		dead := newBitmap(len(s.Emails))
		for i, d := range docs {
			if r.IntN(3) == 0 {
				dead.set(i)
			} else {
				want[d.Email] = d.Tokens
			}
		}
		s.Dead = dead
		segments = append(segments, s)
	}
	byID := map[SegmentID]*Segment{}
	for _, s := range segments {
		byID[s.ID] = s
	}
	m, err := Merge(segments, func(id SegmentID, slice int) ([]byte, error) { return byID[id].Slices[slice], nil })
	if err != nil {
		t.Fatal(err)
	}
	got := map[mailbox.EmailID][]Token{}
	for _, id := range m.Emails {
		got[id] = nil
	}
	for i, data := range m.Slices {
		for l := m.lists(i, data); ; {
			ok, err := l.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			n := 0
			if err := l.each(func(doc int) { got[m.Emails[doc]] = append(got[m.Emails[doc]], l.token); n++ }); err != nil || n == 0 {
				t.Fatalf("token %d has %d documents, %v", l.token, n, err)
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d emails, want %d", len(got), len(want))
	}
	for id, tokens := range want {
		if !slices.Equal(got[id], tokens) {
			t.Errorf("email %d has tokens %v, want %v", id, got[id], tokens)
		}
	}
}

// FuzzLists reads lists that are damaged.
func FuzzLists(f *testing.F) {
	s := Build([]Doc{{Email: 1, Tokens: []Token{1, 5, 9}}, {Email: 2, Tokens: []Token{5, 900}}, {Email: 3, Tokens: []Token{1, 5}}})
	f.Add(s.Slices[0])
	f.Fuzz(func(t *testing.T, data []byte) {
		into := map[Token]bitmap{}
		if err := s.find(0, data, []Token{1, 5, 900}, into); err != nil {
			return
		}
		q := Query{tokens: []Token{1, 5}}
		if may := q.match(len(s.Emails), into); len(may) != 1 {
			t.Errorf("%d octets of bits", len(may))
		}
	})
}
