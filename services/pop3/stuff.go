package pop3

import "bytes"

// stuffer makes a body fit for a multi-line response (RFC 1939 §3): a dot at the begin of a line is doubled, every line ends
// in CRLF, the last one too. The zero value is at the begin of a body.
//
// Bodies that came by SMTP have CRLF throughout and pass unchanged but for the dots. A bare LF, which only APPEND can bring,
// becomes CRLF: a client that takes it for a line end would otherwise see the end of the response where there is none.
type stuffer struct {
	inLine bool // the last octet was not LF
	cr     bool // the last octet was CR
	// ascii tells that headers in UTF-8 are downgraded.
	ascii bool
	down  downgrade
}

// append appends the next piece of the message to dst.
func (s *stuffer) append(dst, piece []byte) []byte {
	if s.ascii {
		piece = s.down.take(piece)
	}
	return s.stuff(dst, piece)
}

func (s *stuffer) stuff(dst, piece []byte) []byte {
	for len(piece) > 0 {
		if !s.inLine && piece[0] == '.' {
			dst = append(dst, '.')
		}
		i := bytes.IndexByte(piece, '\n')
		if i < 0 {
			s.inLine, s.cr = true, piece[len(piece)-1] == '\r'
			return append(dst, piece...)
		}
		crlf := s.cr
		if i > 0 {
			crlf = piece[i-1] == '\r'
		}
		dst = append(dst, piece[:i]...)
		if !crlf {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		piece = piece[i+1:]
		s.inLine, s.cr = false, false
	}
	return dst
}

// end appends what ends the response.
func (s *stuffer) end(dst []byte) []byte {
	if s.ascii {
		dst = s.stuff(dst, s.down.end())
	}
	switch {
	case s.inLine && s.cr:
		dst = append(dst, '\n')
	case s.inLine:
		dst = append(dst, "\r\n"...)
	}
	return append(dst, ".\r\n"...)
}

// cutter finds where TOP ends: the header, the empty line behind it, and so many lines of the body.
type cutter struct {
	lines  uint64
	body   bool   // behind the empty line
	length uint64 // octets of the line so far, CR not counted
}

// cut tells how much of the next piece belongs to the answer, and whether that is its end.
func (c *cutter) cut(piece []byte) (n int, done bool) {
	if c.body && c.lines == 0 {
		return 0, true
	}
	for n < len(piece) {
		i := bytes.IndexByte(piece[n:], '\n')
		if i < 0 {
			c.length += visible(piece[n:])
			return len(piece), false
		}
		c.length += visible(piece[n : n+i])
		n += i + 1
		switch {
		case c.body:
			c.lines--
		case c.length == 0:
			c.body = true
		}
		c.length = 0
		if c.body && c.lines == 0 {
			return n, true
		}
	}
	return n, false
}

// visible counts the octets that make a line not empty.
func visible(b []byte) uint64 {
	if len(b) == 1 && b[0] == '\r' {
		return 0
	}
	return uint64(len(b))
}
