package smtpd

import "bytes"

// fault says why the octets of a message cannot be accepted; a set, so that it does not depend on how reads were split.
type fault uint8

const (
	faultBareCR fault = 1 << iota
	faultBareLF
	faultNUL
)

// dotState is how much of CRLF.CRLF the scanner has just passed.
type dotState uint8

const (
	atLineStart dotState = iota // Also at the message's begin: an empty message is "." alone.
	atMid
	atCR
	atDot
	atDotCR
)

// dotScanner undoes the dot-stuffing of DATA (RFC 5321 §4.5.2) and finds its end, which is CRLF.CRLF alone: any octet
// sequence that another server might take for it (LF.LF, LF.CRLF, CR.CR …) holds a bare CR or LF and is a fault.
type dotScanner struct {
	state dotState
	fault fault
}

// next reads from p, which is not empty, and returns the part of the message at its front (it may be empty), how many
// octets of p it used up, and whether that was the end. Text without dots at line starts comes back as large as it came.
func (s *dotScanner) next(p []byte) (span []byte, n int, done bool) {
	i, pairs := 0, 0 // pairs counts CRLF whose LF lies in the span.
	switch s.state {
	case atLineStart:
		if p[0] == '.' {
			s.state = atDot
			return nil, 1, false
		}
	case atDot:
		if p[0] == '\r' {
			s.state = atDotCR
			return nil, 1, false
		}
	case atDotCR:
		if p[0] == '\n' {
			return nil, 1, true
		}
		s.fault |= faultBareCR
	case atCR:
		if p[0] != '\n' {
			s.fault |= faultBareCR
			break
		}
		i, pairs = 1, 1
		if len(p) == 1 || p[1] == '.' {
			s.state = atLineStart
			return p[:1], 1, false
		}
	}
	n = len(p)
	for {
		cr := bytes.IndexByte(p[i:], '\r')
		if cr < 0 {
			s.state = atMid
			break
		}
		if i += cr + 1; i == n {
			s.state = atCR
			break
		}
		if p[i] != '\n' {
			s.fault |= faultBareCR
			continue
		}
		pairs++
		if i++; i == n || p[i] == '.' {
			s.state = atLineStart
			n = i
			break
		}
	}
	span = p[:n]
	s.check(span, pairs)
	return span, n, false
}

func (s *dotScanner) check(span []byte, pairs int) {
	if bytes.Count(span, newline) != pairs {
		s.fault |= faultBareLF
	}
	if bytes.IndexByte(span, 0) >= 0 {
		s.fault |= faultNUL
	}
}

var newline = []byte{'\n'}

// chunkChecker looks for the same faults in BDAT chunks, which have no dot-stuffing.
type chunkChecker struct {
	cr    bool // The last octet was a CR.
	fault fault
}

func (s *chunkChecker) check(p []byte) {
	pairs, i := 0, 0
	if s.cr {
		if p[0] == '\n' {
			pairs++
		} else {
			s.fault |= faultBareCR
		}
		s.cr = false
	}
	for {
		cr := bytes.IndexByte(p[i:], '\r')
		if cr < 0 {
			break
		}
		if i += cr + 1; i == len(p) {
			s.cr = true
			break
		}
		if p[i] == '\n' {
			pairs++
		} else {
			s.fault |= faultBareCR
		}
	}
	if bytes.Count(p, newline) != pairs {
		s.fault |= faultBareLF
	}
	if bytes.IndexByte(p, 0) >= 0 {
		s.fault |= faultNUL
	}
}

// end is called behind the last chunk.
func (s *chunkChecker) end() {
	if s.cr {
		s.fault |= faultBareCR
	}
}
