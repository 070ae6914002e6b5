package message_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/message"
)

// node is a part of a made message.
type node struct {
	mediaType string
	text      string // of a leaf
	children  []*node
	boundary  string
	// What rendering found: where its octets lie.
	header, body message.Range
}

// drawNode makes a random part.
func drawNode(t *rapid.T, depth int, count *int) *node {
	*count++
	n := &node{mediaType: "text/html"}
	kind := rapid.IntRange(0, 3).Draw(t, "kind")
	switch {
	case depth > 4 || *count > 30 || kind < 2:
		if kind == 1 {
			n.mediaType = "application/x-thing"
		}
		n.text = rapid.StringMatching(`((-{0,3}[a-z =.]{0,10}|--b[0-9]x)?(\r\n|\n))*[a-z-]{0,3}`).Draw(t, "text")
	case kind == 2:
		n.mediaType = "message/rfc822"
		n.children = []*node{drawNode(t, depth+1, count)}
	default:
		n.mediaType = "multipart/mixed"
		n.boundary = fmt.Sprintf("b%d", *count)
		for range rapid.IntRange(1, 3).Draw(t, "children") {
			n.children = append(n.children, drawNode(t, depth+1, count))
		}
	}
	return n
}

// render writes a part and notes where it lies.
func (n *node) render(t *rapid.T, b *bytes.Buffer, eol string) {
	start := int64(b.Len())
	fmt.Fprintf(b, "Subject: x%sContent-Type: %s", eol, n.mediaType)
	if n.boundary != "" {
		fmt.Fprintf(b, ";%s boundary=\"%s\"", eol, n.boundary)
	}
	b.WriteString(eol + eol)
	n.header = message.Range{Offset: start, Length: int64(b.Len()) - start}
	n.body.Offset = int64(b.Len())
	switch n.mediaType {
	case "message/rfc822":
		n.children[0].render(t, b, eol)
	case "multipart/mixed":
		if rapid.Bool().Draw(t, "preamble") {
			b.WriteString("preamble" + eol)
		}
		for i, c := range n.children {
			if i > 0 {
				b.WriteString(eol)
			}
			b.WriteString("--" + n.boundary + eol)
			c.render(t, b, eol)
		}
		b.WriteString(eol + "--" + n.boundary + "--")
		if rapid.Bool().Draw(t, "epilogue") {
			b.WriteString(eol + "epilogue")
		}
	default:
		b.WriteString(n.text)
	}
	n.body.Length = int64(b.Len()) - n.body.Offset
}

func (n *node) list(dst []string) []string {
	dst = append(dst, fmt.Sprintf("%s %v %v", n.mediaType, n.header, n.body))
	for _, c := range n.children {
		dst = c.list(dst)
	}
	return dst
}

// Every part of a random well-formed message is found where it was put.
func TestTreeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var count int
		root := drawNode(t, 0, &count)
		var b bytes.Buffer
		root.render(t, &b, rapid.SampledFrom([]string{"\r\n", "\n"}).Draw(t, "eol"))
		ix := index(b.Bytes())
		var got []string
		ix.Walk(func(path []int, p *message.Part) bool {
			got = append(got, fmt.Sprintf("%s/%s %v %v", p.Type, p.Subtype, p.Header, p.Body))
			if q, err := ix.Part(path); len(path) > 0 && (err != nil || q != p && p.Kind != message.Multipart) {
				t.Fatalf("part %v: %v", path, err)
			}
			return true
		})
		if want := root.list(nil); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q\n%s\nwant\n%s", b.Bytes(), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if err := check(ix, b.Bytes()); err != nil {
			t.Fatalf("%q: %v", b.Bytes(), err)
		}
	})
}
