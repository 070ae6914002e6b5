package dsn

import (
	"bytes"
	"strings"
)

// returned is what the DSN gives back of the message it is about.
type returned struct {
	mediaType   string // empty for nothing
	description string
	body        []byte
	whole       bool
}

// returned chooses: the whole message where that was asked for, helps and is not too large, else its header. Octets above 127
// in the header make it message/global or message/global-headers, for those who can read that (RFC 6533 §5).
func (r *Report) returned() returned {
	if r.Full && r.has(Failed) && len(r.Message) > 0 && len(r.Message) <= MaxReturned {
		body := withCRLF(r.Message)
		mediaType := "message/rfc822"
		if r.SMTPUTF8 && hasEightBit(headerOf(body)) {
			mediaType = "message/global"
		}
		return returned{mediaType, "Undelivered message", body, true}
	}
	header := r.returnedHeader()
	if len(header) == 0 {
		return returned{}
	}
	mediaType := "text/rfc822-headers"
	if r.SMTPUTF8 && hasEightBit(header) {
		mediaType = "message/global-headers"
	}
	return returned{mediaType, "Header of the message", header, false}
}

// returnedHeader is the message's header with CRLF line ends, cut to MaxReturnedHeader.
func (r *Report) returnedHeader() []byte {
	header := r.Header
	if len(header) == 0 {
		header = r.Message
	}
	cut := len(header) > MaxReturnedHeader
	header = headerOf(withCRLF(header[:min(len(header), MaxReturnedHeader)]))
	if !cut {
		return header
	}
	// Leave out the last field, which may not be whole.
	for at := len(header); at > 0; {
		at = bytes.LastIndexByte(header[:at-1], '\n') + 1
		if at < len(header) && header[at] != ' ' && header[at] != '\t' {
			return header[:at]
		}
	}
	return nil
}

// headerOf is what comes before the first empty line.
func headerOf(b []byte) []byte {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return nil
	}
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return b[:i+2]
	}
	return b
}

// withCRLF makes every line end, also a bare CR or LF, a CRLF; the text ends with one, and has no NUL.
func withCRLF(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/40+2)
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\r':
			out = append(out, '\r', '\n')
			if i+1 < len(b) && b[i+1] == '\n' {
				i++
			}
		case '\n':
			out = append(out, '\r', '\n')
		case 0:
			out = append(out, '?')
		default:
			out = append(out, b[i])
		}
	}
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\r\n")) {
		out = append(out, '\r', '\n')
	}
	return out
}

// headerValue is the first value of a field of a header, unfolded; name is in lower case.
func headerValue(header []byte, name string) string {
	var value strings.Builder
	found := false
	for l := range bytes.Lines(header) {
		if found {
			if l[0] != ' ' && l[0] != '\t' {
				break
			}
			value.Write(bytes.TrimRight(l, "\r\n"))
			continue
		}
		n, v, ok := bytes.Cut(l, []byte(":"))
		if ok && strings.EqualFold(string(bytes.TrimSpace(n)), name) {
			found = true
			value.Write(bytes.TrimRight(v, "\r\n"))
		}
	}
	return strings.TrimSpace(value.String())
}
