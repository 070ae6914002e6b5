package fulltext

import (
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// Version is of what tokens are made and how segments are written, with the version of the parser that says what text is: a
// segment of another one counts as not being there.
const Version = 5<<8 | int(message.Version)

// Token is a trigram, a stem of a word, a header's field or a thread. Different ones may be the same token: that costs a look at the message.
type Token uint32

// tokenBits is how many bits a token has.
const tokenBits = 24

// trigram is the token of three octets. Neighbours in the alphabet are scattered, so that tokens fill their range evenly; no
// two trigrams are the same token.
func trigram(abc uint32) Token {
	x := abc & (1<<tokenBits - 1)
	x ^= x >> 12
	x = x * 0x9e3779 & (1<<tokenBits - 1)
	x ^= x >> 12
	x = x * 0x85ebcb & (1<<tokenBits - 1)
	return Token(x ^ x>>12)
}

// stem is the token of a word's stem.
func stem(s []byte) Token {
	h := fnv.New64a()
	h.Write(s)
	x := h.Sum64()
	return Token((x ^ x>>tokenBits ^ x>>(2*tokenBits)) & (1<<tokenBits - 1))
}

// fieldToken is the token of a header that has a field; name is in lower case. No word has a NUL.
func fieldToken(name []byte) Token { return stem(append([]byte("field\x00"), name...)) }

// threadToken is the token of a thread's messages.
func threadToken(id uint64) Token {
	return stem(binary.BigEndian.AppendUint64([]byte("thread\x00"), id))
}

// TokensMax is how many different tokens of one email are kept; beyond it every search looks at the email.
const TokensMax = 1 << 16

// Collector gathers the tokens of one email after another. It is for one goroutine, and takes 2 MiB.
type Collector struct {
	seen []uint64 // a bit per token
	list []Token
	all  bool
}

// NewCollector makes one.
func NewCollector() *Collector { return &Collector{seen: make([]uint64, 1<<tokenBits/64)} }

func (c *Collector) add(t Token) {
	if w, bit := &c.seen[t/64], uint64(1)<<(t%64); *w&bit == 0 {
		*w |= bit
		c.list = append(c.list, t)
	}
}

// Text adds a folded text in which any substring is to be found, and the words.
func (c *Collector) Text(text []byte) {
	c.Substrings(text)
	c.Words(text)
}

// Reach is how far a substring's token reaches back: pieces of one text are to overlap by so many octets.
const Reach = 2

// Full tells that nothing more needs to be added: every search looks at the email.
func (c *Collector) Full() bool { return c.all }

// Substrings adds a folded text in which any substring is to be found.
func (c *Collector) Substrings(text []byte) {
	var abc uint32
	for i, b := range text {
		abc = abc<<8 | uint32(b)
		if i >= 2 {
			c.add(trigram(abc))
		}
		if len(c.list) > TokensMax {
			c.all = true
			return
		}
	}
}

// Words adds the words alone of a folded text.
func (c *Collector) Words(text []byte) {
	searchtext.EachWord(text, func(w []byte) bool {
		c.add(stem(searchtext.Stem(w)))
		c.all = c.all || len(c.list) > TokensMax
		return !c.all
	})
}

// Field adds that the email's own header has a field; name is in lower case.
func (c *Collector) Field(name []byte) { c.add(fieldToken(name)) }

// Thread adds of which thread the email is.
func (c *Collector) Thread(id uint64) { c.add(threadToken(id)) }

// All says that the email is to be looked at by every search.
func (c *Collector) All() { c.all = true }

// Take gives the email's tokens, and begins the next.
func (c *Collector) Take(d Doc) Doc {
	for _, t := range c.list {
		c.seen[t/64] = 0
	}
	if d.All = c.all; !c.all {
		slices.Sort(c.list)
		d.Tokens = slices.Clone(c.list)
	}
	c.list, c.all = c.list[:0], false
	return d
}
