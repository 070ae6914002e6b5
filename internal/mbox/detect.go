package mbox

import (
	"bytes"
	"io"
)

// detectMax is how far a file is read to find out its dialect, octets.
const detectMax = 256 << 20

// signs are what tells dialects apart.
type signs struct {
	// right and wrong are how often Content-Length is where a message ends, and elsewhere.
	right, wrong int
	// plain are lines "From " within messages, quoted those with one ">" before, and twice those with more.
	plain, quoted, twice int
}

// detect looks for signs. Where nothing tells mboxo from mboxrd, they are read alike.
func (f *File) detect() (Dialect, error) {
	var s signs
	probe := File{r: f.r, size: f.size, dialect: CL2, next: f.next}
	for probe.next < min(f.size, f.next+detectMax) {
		m := &Message{Offset: probe.next, file: &probe}
		body, length, err := probe.readHeader(m)
		if err != nil {
			return Auto, err
		}
		byLength := false
		if length >= 0 {
			var next int64
			if next, byLength = probe.endsAt(body + length); byLength {
				m.end, probe.next = body+length, next
				s.right++
			} else {
				s.wrong++
			}
		}
		if !byLength {
			if m.end, probe.next, err = probe.findEnd(body, m.crlf); err != nil {
				return Auto, err
			}
		}
		if err := s.look(&probe, body, m.end); err != nil {
			return Auto, err
		}
	}
	return s.dialect(), nil
}

// look counts lines of a body.
func (s *signs) look(f *File, body, end int64) error {
	l := f.linesTo(body, end)
	for {
		line, err := l.next()
		if err != nil && err != io.EOF {
			return err
		}
		if bytes.Contains(line[:min(len(line), 8)], []byte("F")) || len(line) > 0 && line[0] == '>' {
			switch n := quotes(line); {
			case n == 0:
				s.plain++
			case n == 1:
				s.quoted++
			case n > 1:
				s.twice++
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func (s *signs) dialect() Dialect {
	switch {
	case s.right > 0 && s.right >= 4*s.wrong && (s.plain > 0 || s.quoted == 0):
		return CL2
	case s.right > 0 && s.right >= 4*s.wrong:
		return CL
	case s.quoted > 0 && s.twice == 0:
		return O
	}
	return RD
}
