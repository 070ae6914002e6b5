package imapsource

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// FuzzResponse reads whatever a server may say: it ends, and holds no more than was said.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"* 1 FETCH (UID 7 FLAGS (\\Seen x[y) BODY[HEADER.FIELDS (A B)] {3}\r\nabc INTERNALDATE NIL)\r\nm1 OK [A B] done\r\n",
		"* LIST (\\a (b)) \"/\" {2}\r\nab (\"X\" (\"y\"))\r\n", "* SEARCH 1 2 (MODSEQ 3)\r\n", "* ESEARCH (TAG \"a\") UID ALL 1:3\r\n",
		"+ go\r\n", "* OK [UIDNEXT 1\r\n", "(\r\n)\r\n\r\n", "* 1 FETCH (BODY[] \"a\\\"b\")\r\n", "* 1 FETCH (FLAGS)\r\n", "* 1 FETCH (BODY[] ~{1}\r\na RFC822 NIL)\r\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := &Conn{r: bufio.NewReader(strings.NewReader(text)), w: bufio.NewWriter(io.Discard), flush: func() error { return nil }, caps: map[string]bool{}}
		for range len(text) + 1 {
			r, err := c.response(func(_ *Message, size int64, r io.Reader) error {
				n, err := io.Copy(io.Discard, r)
				if err == nil && n != size {
					t.Errorf("%d octets of a body of %d", n, size)
				}
				return err
			})
			if err != nil {
				return
			}
			parseList(r)
			decodeName(r.text)
		}
		t.Errorf("%q does not end", text)
	})
}
