package imap

import "strconv"

// errUIDRequired is a use of sequence numbers by who gave them up (RFC 9586 §3).
var errUIDRequired = bad("sequence numbers are not used with UIDONLY").withCode("UIDREQUIRED")

// numberedVerbs work on sequence numbers or answer with them; who has enabled UIDONLY has their UID variants.
var numberedVerbs = map[string]bool{
	"FETCH": true, "STORE": true, "SEARCH": true, "COPY": true, "MOVE": true, "SORT": true, "THREAD": true, "REPLACE": true,
}

// appendFetch begins a response about one message: FETCH by number, or UIDFETCH by UID.
func (s *session) appendFetch(b []byte, seq, uid uint32) []byte {
	if s.enabled.uidonly {
		b = strconv.AppendUint(append(b, "* "...), uint64(uid), 10)
		return append(b, " UIDFETCH ("...)
	}
	b = strconv.AppendUint(append(b, "* "...), uint64(seq), 10)
	return append(b, " FETCH ("...)
}
