// Package fulltexttest holds the contract of the full-text index, whatever database it is in.
package fulltexttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// Run tries a database that is empty. open gives it; each call gives the same.
func Run(t *testing.T, open func(testing.TB) fulltext.DB) {
	t.Run("History", func(t *testing.T) { history(t, open(t)) })
	t.Run("States", func(t *testing.T) { states(t, open(t)) })
	t.Run("TwoWorkers", func(t *testing.T) { twoWorkers(t, open(t)) })
	t.Run("LargeSegments", func(t *testing.T) { large(t, open(t)) })
}

// Doc makes the document of a text.
func Doc(c *fulltext.Collector, id mailbox.EmailID, text string) fulltext.Doc {
	c.Text(searchtext.Fold(nil, []byte(text)))
	return c.Take(fulltext.Doc{Email: id})
}

var vocabulary = []string{"meeting", "meetings", "invoice", "invoiced", "Straße", "пример", "日本語", "a", "to", "xyzzy", "quarterly", "report", "über"}

// text is some words of the vocabulary, and a few that nothing else has.
func text(r *rand.Rand) string {
	var b bytes.Buffer
	for range 1 + r.IntN(12) {
		b.WriteString(vocabulary[r.IntN(len(vocabulary))])
		b.WriteString([]string{" ", ", ", "\r\n", "-"}[r.IntN(4)])
	}
	fmt.Fprintf(&b, "%x", r.Uint32())
	return b.String()
}

// history indexes, takes out, merges and searches at random, in three accounts, and holds what is ruled out against the texts:
// nothing that matches is, and with an index of exact tokens nearly all else is.
func history(t *testing.T, db fulltext.DB) {
	ctx := t.Context()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(1, seed))
	c := fulltext.NewCollector()
	x := fulltext.New(db)
	texts := map[mailbox.AccountID]map[mailbox.EmailID]string{1: {}, 2: {}, 3: {}}
	next := mailbox.EmailID(1 << 40)
	candidates, others := 0, 0
	for range 250 {
		account := mailbox.AccountID(1 + r.IntN(3))
		have := texts[account]
		switch n := r.IntN(10); {
		case n < 4:
			var docs []fulltext.Doc
			for range 1 + r.IntN(20) {
				next += mailbox.EmailID(1 + r.IntN(1000))
				s := text(r)
				have[next] = s
				d := Doc(c, next, s)
				if r.IntN(20) == 0 {
					c.All()
					d = c.Take(fulltext.Doc{Email: next})
				}
				docs = append(docs, d)
			}
			r.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
			check(t, x.Add(ctx, account, docs))
		case n == 4:
			var gone []mailbox.EmailID
			for id := range have {
				if r.IntN(10) == 0 {
					gone = append(gone, id)
					delete(have, id)
				}
			}
			check(t, x.Leave(ctx, account, append(gone, 7)))
		case n == 5:
			for more := true; more; {
				var err error
				more, err = x.Tidy(ctx, account)
				check(t, err)
			}
		case n == 6:
			x = fulltext.New(db) // another process
		default:
			a, b := candidatesOf(t, r, x, account, have)
			candidates, others = candidates+a, others+b
		}
	}
	for account, have := range texts {
		got, err := x.Emails(ctx, account)
		check(t, err)
		want := slices.Sorted(mapKeys(have))
		if !slices.Equal(got, want) {
			t.Errorf("account %d: the index has %d emails, want %d", account, len(got), len(want))
		}
		u, err := x.Usage(ctx, account)
		check(t, err)
		if u.Emails != int64(len(want)) || (u.Octets == 0) != (len(want) == 0) {
			t.Errorf("account %d: usage %+v of %d emails", account, u, len(want))
		}
		check(t, x.Drop(ctx, account))
		if got, err := x.Emails(ctx, account); err != nil || len(got) > 0 {
			t.Errorf("account %d: %d emails, %v after it was dropped", account, len(got), err)
		}
	}
	if others == 0 || candidates*3 > others {
		t.Errorf("%d emails had to be looked at that did not match, and %d had not", candidates, others)
	}
}

func mapKeys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// needle is what somebody may look for: a part of a text, or words.
type needle struct {
	query *fulltext.Query
	in    func(text []byte) bool
}

func aNeedle(r *rand.Rand, have map[mailbox.EmailID]string) needle {
	switch r.IntN(6) {
	case 0:
		a, b := aNeedle(r, have), aNeedle(r, have)
		return needle{fulltext.Or(a.query, b.query), func(s []byte) bool { return a.in(s) || b.in(s) }}
	case 1:
		a, b := aNeedle(r, have), aNeedle(r, have)
		return needle{fulltext.And(a.query, b.query), func(s []byte) bool { return a.in(s) && b.in(s) }}
	case 2:
		stems := searchtext.Stems(searchtext.Fold(nil, []byte(vocabulary[r.IntN(len(vocabulary))]+" "+vocabulary[r.IntN(len(vocabulary))])))
		return needle{fulltext.Words(stems), func(s []byte) bool { return searchtext.HasStems(s, stems) }}
	}
	part := searchtext.Fold(nil, []byte(vocabulary[r.IntN(len(vocabulary))]))
	for _, s := range have {
		folded := searchtext.Fold(nil, []byte(s))
		i := r.IntN(len(folded))
		part = folded[i : i+r.IntN(len(folded)-i+1)]
		break
	}
	return needle{fulltext.Substring(part), func(s []byte) bool { return bytes.Contains(s, part) }}
}

// candidatesOf searches once, and tells how many that do not match had to be looked at, and how many had not.
func candidatesOf(t *testing.T, r *rand.Rand, x *fulltext.Index, account mailbox.AccountID, have map[mailbox.EmailID]string) (looked, not int) {
	t.Helper()
	n := aNeedle(r, have)
	out, err := x.RuleOut(t.Context(), account, n.query)
	check(t, err)
	if n.query == nil && len(out) > 0 {
		t.Fatalf("no condition rules %d emails out", len(out))
	}
	ruledOut := map[mailbox.EmailID]bool{}
	for _, id := range out {
		ruledOut[id] = true
		if _, ok := have[id]; !ok {
			t.Fatalf("account %d: email %d is ruled out, and is not there", account, id)
		}
	}
	for id, s := range have {
		matches := n.in(searchtext.Fold(nil, []byte(s)))
		switch {
		case matches && ruledOut[id]:
			t.Fatalf("account %d: email %d is ruled out and matches: %q", account, id, s)
		case !matches && ruledOut[id]:
			not++
		case !matches && n.query != nil:
			looked++
		}
	}
	return looked, not
}

func states(t *testing.T, db fulltext.DB) {
	ctx, x := t.Context(), fulltext.New(db)
	if s, err := x.State(ctx, 7); err != nil || s != (fulltext.State{Account: 7}) {
		t.Errorf("got %+v, %v for an account that was never indexed", s, err)
	}
	want := fulltext.State{Account: 7, Version: fulltext.Version, ModSeq: 9, Newest: 1 << 60, Compared: time.Unix(5, 6)}
	check(t, x.Save(ctx, fulltext.State{Account: 7, Compared: time.Unix(1, 0)}))
	check(t, x.Save(ctx, want))
	check(t, x.Save(ctx, fulltext.State{Account: 9, Compared: time.Unix(1, 0)}))
	if s, err := x.State(ctx, 7); err != nil || s != want {
		t.Errorf("got %+v, %v, want %+v", s, err, want)
	}
	all, err := x.States(ctx, 0, 10)
	check(t, err)
	if len(all) != 2 || all[0] != want || all[1].Account != 9 {
		t.Errorf("got %+v", all)
	}
	if behind, err := x.States(ctx, 7, 10); err != nil || len(behind) != 1 || behind[0].Account != 9 {
		t.Errorf("got %+v, %v behind account 7", behind, err)
	}
	check(t, x.Drop(ctx, 7))
	check(t, x.Drop(ctx, 9))
}

// twoWorkers: a merge of what another has changed meanwhile changes nothing.
func twoWorkers(t *testing.T, db fulltext.DB) {
	ctx := t.Context()
	c := fulltext.NewCollector()
	x := fulltext.New(db)
	for i := range 4 {
		check(t, x.Add(ctx, 1, []fulltext.Doc{Doc(c, mailbox.EmailID(i+1), fmt.Sprint("email ", i))}))
	}
	interrupted := fulltext.New(&between{DB: db, before: func() { check(t, x.Leave(ctx, 1, []mailbox.EmailID{2})) }})
	if _, err := interrupted.Tidy(ctx, 1); !errors.Is(err, fulltext.ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
	if got, err := x.Emails(ctx, 1); err != nil || !slices.Equal(got, []mailbox.EmailID{1, 3, 4}) {
		t.Errorf("got %v, %v", got, err)
	}
	check(t, x.Drop(ctx, 1))
}

// between calls before ahead of the first write.
type between struct {
	fulltext.DB
	before func()
}

func (b *between) WriteSQL(ctx context.Context, fn func(fulltext.SQL) error) error {
	if b.before != nil {
		b.before()
		b.before = nil
	}
	return b.DB.WriteSQL(ctx, fn)
}

// large merges segments of many rows.
func large(t *testing.T, db fulltext.DB) {
	ctx := t.Context()
	r := rand.New(rand.NewPCG(2, 3))
	c := fulltext.NewCollector()
	x := fulltext.New(db)
	id := mailbox.EmailID(0)
	for range 4 {
		var docs []fulltext.Doc
		for range 64 {
			id++
			s := fmt.Sprintf("number %d. ", id)
			for range 300 {
				s += fmt.Sprintf("%x ", r.Uint64())
			}
			docs = append(docs, Doc(c, id, s))
		}
		check(t, x.Add(ctx, 1, docs))
	}
	u, err := x.Usage(ctx, 1)
	check(t, err)
	if more, err := x.Tidy(ctx, 1); err != nil || !more {
		t.Fatalf("tidy: %v, %v", more, err)
	}
	after, err := x.Usage(ctx, 1)
	check(t, err)
	if after.Segments != 1 || after.Emails != 256 || after.Octets > u.Octets {
		t.Errorf("got %+v after %+v", after, u)
	}
	out, err := x.RuleOut(ctx, 1, fulltext.Substring([]byte("NUMBER 77. ")))
	check(t, err)
	if len(out) < 240 || slices.Contains(out, 77) {
		t.Errorf("%d of 256 are ruled out, 77 among them: %v", len(out), slices.Contains(out, 77))
	}
	check(t, x.Drop(ctx, 1))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
