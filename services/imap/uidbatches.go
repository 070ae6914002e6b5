package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// batchMin is the smallest batch that may be asked for (RFC 10022): a client that asks for less splits a mailbox into more
// ranges than it gains by.
const batchMin = 500

// uidBatches tells ranges of UIDs that split the mailbox into batches of as many messages, the newest first (RFC 10022). The
// ranges join without gaps, and the last goes down to 1.
func (s *session) uidBatches(l *wire.Lexer) (reply, error) {
	l.Space()
	size := l.Number()
	first, last := uint32(1), uint32(1<<32-1)
	if l.Accept(' ') {
		first = l.Number()
		l.Expect(':')
		last = l.Number()
		if first == 0 || last == 0 {
			l.Fail("batches count from 1")
		}
		if first > last {
			first, last = last, first
		}
	}
	if size == 0 {
		l.Fail("batches of nothing")
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if size < batchMin {
		return no("TOOFEW", "a batch has at least "+strconv.Itoa(batchMin)+" messages"), nil
	}
	snap := s.sel.snap
	b := append(s.out.Take(), "* UIDBATCHES (TAG "...)
	b = wire.AppendString(b, s.tag, false)
	b = append(b, ')')
	s.out.Give(b)
	// top is the number of the newest message of a batch; that of the batch below ends where this one begins.
	separator := byte(' ')
	top := int64(0)
	if above := uint64(first-1) * uint64(size); above < uint64(snap.Len()) {
		top = int64(snap.Len()) - int64(above)
	}
	for n := first; top > 0 && n <= last; n, top = n+1, top-int64(size) {
		low := uint64(1)
		if below := top - int64(size); below > 0 {
			low = uint64(snap.UID(uint32(below))) + 1
		}
		b := append(s.out.Take(), separator)
		b = strconv.AppendUint(b, uint64(snap.UID(uint32(top))), 10)
		b = strconv.AppendUint(append(b, ':'), low, 10)
		s.out.Give(b)
		separator = ','
	}
	s.out.Str("\r\n")
	return reply{}, nil
}
