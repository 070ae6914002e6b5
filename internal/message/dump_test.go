package message_test

import (
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/message"
)

// index makes the index of a message written in one piece.
func index(body []byte) *message.Index {
	var x message.Indexer
	x.Write(body)
	ix, _ := x.Finish()
	return ix
}

// dump tells all that an index tells.
func dump(ix *message.Index, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "size %d flags %#x hops %d return-path %q delivered-to %q\n", ix.Size, ix.Flags, ix.Hops, ix.ReturnPath, ix.DeliveredTo)
	date, ok := ix.SentDate()
	if ok {
		fmt.Fprintf(&b, "date %s\n", date.Format("2006-01-02T15:04:05-0700"))
	}
	fmt.Fprintf(&b, "message-id %q subject %q\n", ix.MessageID(), ix.Subject())
	for _, f := range ix.Fields {
		fmt.Fprintf(&b, "field %s @%d %q\n", f.Name, f.Start, cut(body, f.Value, 60))
	}
	ix.Walk(func(path []int, p *message.Part) bool {
		fmt.Fprintf(&b, "part %v kind %d header %d+%d body %d+%d lines %d %s/%s", path, p.Kind, p.Header.Offset, p.Header.Length,
			p.Body.Offset, p.Body.Length, p.Lines, p.Type, p.Subtype)
		fmt.Fprintf(&b, " %q id %q desc %q enc %q md5 %q disp %q %q lang %q loc %q file %q\n", p.Params, p.ID, p.Description, p.Encoding, p.MD5,
			p.Disposition, p.DispositionParams, p.Language, p.Location, p.Filename())
		if p.Kind == message.Leaf {
			fmt.Fprintf(&b, "  %q\n", cut(body, p.Body, 60))
		}
		return true
	})
	fmt.Fprintf(&b, "ENVELOPE %s\n", ix.Envelope())
	fmt.Fprintf(&b, "BODYSTRUCTURE %s\n", ix.BodyStructure())
	fmt.Fprintf(&b, "BODY %s\n", ix.AppendBody(nil))
	fmt.Fprintf(&b, "PREVIEW %q\n", ix.Preview())
	fmt.Fprintf(&b, "REFERENCES %q\n", ix.References())
	return b.String()
}

func cut(body []byte, r message.Range, most int64) []byte {
	return body[r.Offset : r.Offset+min(r.Length, most)]
}
