package message

import (
	"io"
	"mime"
	"net/url"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/transform"
)

// charsetOf finds the encoding that a charset parameter names; nil for UTF-8 and ASCII, and where nobody knows it.
func charsetOf(label string) encoding.Encoding {
	label = strings.ToLower(strings.Trim(label, " \t\"'"))
	switch label {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return nil
	case "ansi_x3.110-1983": // QUIRK: some Outlook; what it means is Latin-1
		return charmap.ISO8859_1
	}
	if enc, err := htmlindex.Get(label); err == nil && enc != encoding.Replacement {
		return enc // the Web's names: ISO-8859-1 is windows-1252 there, as it mostly is in mail
	}
	if enc, err := ianaindex.MIME.Encoding(label); err == nil {
		return enc // may be nil: known, not supported
	}
	return nil
}

var wordDecoder = mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
	if enc := charsetOf(charset); enc != nil {
		return transform.NewReader(r, enc.NewDecoder()), nil
	}
	return r, nil
}}

// DecodeWords makes a header value readable: encoded words (RFC 2047) and raw octets become UTF-8. What cannot be decoded
// stays as it is, with U+FFFD for octets that are no UTF-8.
func DecodeWords(value string) string {
	if strings.Contains(value, "=?") {
		if s, err := wordDecoder.DecodeHeader(value); err == nil {
			value = s
		}
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}

// DecodeValue unfolds a field's value and decodes it for people and for SEARCH.
func DecodeValue(value []byte) string { return DecodeWords(string(unfold(nil, value))) }

// Filename is the name that a part is to be kept under, decoded (RFC 2183 §2.3, RFC 2231), or empty. It may hold slashes and
// whatever else the sender liked.
func (p *Part) Filename() string {
	for _, c := range []struct {
		params []Param
		name   string
	}{{p.DispositionParams, "filename"}, {p.Params, "name"}} {
		if s := paramOf(c.params, c.name+"*"); s != "" {
			return decodeExtended(s)
		}
		if s := paramOf(c.params, c.name); s != "" {
			return DecodeWords(s) // QUIRK: encoded words in parameters, which RFC 2047 §5 forbids, come from everywhere
		}
	}
	return ""
}

// decodeExtended decodes "charset'language'percent-encoded" (RFC 2231 §4).
func decodeExtended(s string) string {
	charset, rest, ok := strings.Cut(s, "'")
	if !ok {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	_, text, ok := strings.Cut(rest, "'")
	if !ok {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	if t, err := url.PathUnescape(text); err == nil {
		text = t
	}
	if enc := charsetOf(charset); enc != nil {
		if t, err := enc.NewDecoder().String(text); err == nil {
			text = t
		}
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
