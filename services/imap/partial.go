package imap

import "github.com/mailfarm/mailfarm/services/imap/internal/wire"

// window is the part of a result that a client asks for (RFC 9394 §3.1): from one place to another, counted from 1 at its
// beginning, or with fromEnd at its end.
type window struct {
	first, last uint64
	fromEnd     bool
}

// parseWindow reads "1:100" or "-1:-100".
func parseWindow(l *wire.Lexer) window {
	var w window
	w.fromEnd = l.Accept('-')
	w.first = uint64(l.Number())
	l.Expect(':')
	if w.fromEnd {
		l.Expect('-')
	}
	w.last = uint64(l.Number())
	if w.first == 0 || w.last == 0 {
		l.Fail("0 in a range")
	}
	if w.first > w.last {
		w.first, w.last = w.last, w.first
	}
	return w
}

// of is what of a resolved set lies in the window.
func (w window) of(set wire.Set) wire.Set {
	if !w.fromEnd {
		return set.Slice(w.first, w.last)
	}
	n := set.Count()
	if w.first > n {
		return nil
	}
	return set.Slice(n-min(w.last, n)+1, n-w.first+1)
}
