package fulltext

import (
	"slices"

	"github.com/mailfarm/mailfarm/internal/searchtext"
)

const (
	// leafMax is how many tokens of one text are looked up: those of a longer one tell enough.
	leafMax = 16
	// queryMax is how many tokens are looked up for a query. Of one that has more, each text is told by fewer, and one that has
	// more texts tells nothing.
	queryMax = 512
	// trigramMin is the shortest text that has a token.
	trigramMin = 3
)

// Query is what a message must have to be looked at: all tokens of a leaf, all or any of the queries below. Nil is no
// condition.
type Query struct {
	any    bool
	kids   []*Query
	tokens []Token
}

// Substring asks for a folded text. It is nil where that is too short to tell anything.
func Substring(text []byte) *Query {
	n := len(text) - trigramMin + 1
	if n <= 0 {
		return nil
	}
	q := &Query{}
	for i := range min(n, leafMax) {
		if n > leafMax {
			i = i * (n - 1) / (leafMax - 1)
		}
		q.tokens = append(q.tokens, trigram(uint32(text[i])<<16|uint32(text[i+1])<<8|uint32(text[i+2])))
	}
	return q
}

// Words asks for words of all stems.
func Words(stems [][]byte) *Query {
	q := &Query{}
	for _, s := range stems[:min(len(stems), searchtext.StemsMax)] {
		q.tokens = append(q.tokens, stem(s))
	}
	if len(q.tokens) == 0 {
		return nil
	}
	return q
}

// Field asks for a field in the message's own header; name is in lower case.
func Field(name []byte) *Query { return &Query{tokens: []Token{fieldToken(name)}} }

// Thread asks for messages of a thread.
func Thread(id uint64) *Query { return &Query{tokens: []Token{threadToken(id)}} }

// And asks for all of queries. Those that are no condition are passed over.
func And(queries ...*Query) *Query {
	queries = slices.DeleteFunc(queries, func(q *Query) bool { return q == nil })
	switch len(queries) {
	case 0:
		return nil
	case 1:
		return queries[0]
	}
	return &Query{kids: queries}
}

// Or asks for one of queries. It is no condition where one of them is none.
func Or(queries ...*Query) *Query {
	if len(queries) == 0 || slices.Contains(queries, nil) {
		return nil
	}
	return &Query{any: true, kids: queries}
}

// collect appends the query's tokens.
func (q *Query) collect(dst []Token) []Token {
	dst = append(dst, q.tokens...)
	for _, kid := range q.kids {
		dst = kid.collect(dst)
	}
	return dst
}

// allTokens are those of the query, each once.
func (q *Query) allTokens() []Token {
	tokens := q.collect(nil)
	slices.Sort(tokens)
	return slices.Compact(tokens)
}

// fit gives the query, or what is left of it where each text is told by fewer tokens, with all of its tokens; nil where there
// are too many still.
func (q *Query) fit() (*Query, []Token) {
	for most := leafMax; most > 0; most /= 2 {
		fewer := q.thin(most)
		if tokens := fewer.allTokens(); len(tokens) <= queryMax {
			return fewer, tokens
		}
	}
	return nil, nil
}

// thin leaves each text so many tokens at most: what matches the query matches that too.
func (q *Query) thin(most int) *Query {
	out := &Query{any: q.any, tokens: q.tokens}
	if n := len(q.tokens); n > most {
		out.tokens = nil
		for i := range most {
			out.tokens = append(out.tokens, q.tokens[(2*i+1)*n/(2*most)])
		}
	}
	for _, kid := range q.kids {
		out.kids = append(out.kids, kid.thin(most))
	}
	return out
}

// match gives the documents of a segment that may match, as bits; lists has those of each token, nothing for one that no
// document has.
func (q *Query) match(docs int, lists map[Token]bitmap) bitmap {
	out := newBitmap(docs)
	if !q.any {
		out.fill(docs)
	}
	for _, t := range q.tokens {
		out.and(lists[t])
	}
	for _, kid := range q.kids {
		if b := kid.match(docs, lists); q.any {
			out.or(b)
		} else {
			out.and(b)
		}
	}
	return out
}

// bitmap is a set of documents of a segment.
type bitmap []byte

func newBitmap(docs int) bitmap { return make(bitmap, (docs+7)/8) }

func (b bitmap) has(i int) bool { return i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

func (b bitmap) set(i int) { b[i/8] |= 1 << (i % 8) }

func (b bitmap) fill(docs int) {
	for i := range docs {
		b.set(i)
	}
}

// and keeps what o has too; a shorter o has nothing behind its end.
func (b bitmap) and(o bitmap) {
	n := copyAnd(b, o)
	clear(b[n:])
}

func copyAnd(b, o bitmap) int {
	n := min(len(b), len(o))
	for i := range n {
		b[i] &= o[i]
	}
	return n
}

func (b bitmap) or(o bitmap) {
	for i := range min(len(b), len(o)) {
		b[i] |= o[i]
	}
}

// count is how many bits are set.
func (b bitmap) count() (n int) {
	for _, c := range b {
		for ; c != 0; c &= c - 1 {
			n++
		}
	}
	return n
}
