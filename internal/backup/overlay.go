package backup

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// overlayJSON is a mailv1.Overlay.
type overlayJSON struct {
	Prefix string `json:"prefix,omitempty"`
	// PrefixBase64 stands for a prefix that is not UTF-8.
	PrefixBase64 []byte     `json:"prefix_base64,omitempty"`
	Cuts         [][2]int64 `json:"cuts,omitempty"`
}

func fromOverlay(b []byte) (*overlayJSON, error) {
	var o mailv1.Overlay
	if err := proto.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("decode overlay: %w", err)
	}
	j := &overlayJSON{}
	if utf8.Valid(o.GetPrefix()) {
		j.Prefix = string(o.GetPrefix())
	} else {
		j.PrefixBase64 = o.GetPrefix()
	}
	for _, c := range o.GetCuts() {
		j.Cuts = append(j.Cuts, [2]int64{c.GetOffset(), c.GetLength()})
	}
	return j, nil
}

func (j *overlayJSON) overlay() *mailv1.Overlay {
	if j == nil {
		return nil
	}
	o := &mailv1.Overlay{Prefix: j.PrefixBase64}
	if len(o.Prefix) == 0 {
		o.Prefix = []byte(j.Prefix)
	}
	for _, c := range j.Cuts {
		o.Cuts = append(o.Cuts, &mailv1.Cut{Offset: c[0], Length: c[1]})
	}
	return o
}

// seenSize is how many octets a reader sees of a body.
func (j *overlayJSON) seenSize(size int64) int64 {
	if j == nil {
		return size
	}
	size += int64(len(j.overlay().Prefix))
	for _, c := range j.Cuts {
		size -= c[1]
	}
	return size
}

// apply is a body as its reader sees it.
func (j *overlayJSON) apply(body io.Reader) io.Reader {
	if j == nil {
		return body
	}
	parts := []io.Reader{strings.NewReader(string(j.overlay().Prefix))}
	at := int64(0)
	for _, c := range j.Cuts {
		parts = append(parts, io.LimitReader(body, c[0]-at), &skipper{body, c[1]})
		at = c[0] + c[1]
	}
	return io.MultiReader(append(parts, body)...)
}

// skipper reads past octets and gives none.
type skipper struct {
	r io.Reader
	n int64
}

func (s *skipper) Read([]byte) (int, error) {
	n, err := io.CopyN(io.Discard, s.r, s.n)
	if s.n -= n; err == nil {
		err = io.EOF
	}
	return 0, err
}
