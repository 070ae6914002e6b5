package keys

import (
	"bytes"
	"hash/maphash"
)

// RefsMax is how many ids of References count for one message: the last ones, which are the nearest.
const RefsMax = 50

// seed keeps anybody from making ids that are taken for one another.
var seed = maphash.MakeSeed()

// hashID stands for a message id, never 0.
func hashID(id []byte) uint64 { return max(maphash.Bytes(seed, id), 1) }

// nextID finds the next message id in a field's value, in the form in which ids are compared: without quotes, backslashes and
// blanks (RFC 5256 §3, RFC 5322 §3.6.4). It is nil where there is none.
func nextID(room, value []byte) (id, rest []byte) {
	for {
		i := bytes.IndexByte(value, '<')
		if i < 0 {
			return nil, nil
		}
		value = value[i+1:]
		id = room[:0]
		quoted, at := false, false
		for i = 0; i < len(value); i++ {
			c := value[i]
			switch {
			case c == '\\' && quoted && i+1 < len(value):
				i++
				id = append(id, value[i])
				continue
			case c == '"':
				quoted = !quoted
				continue
			case quoted:
			case c == '<', c == '>':
			case isSpace(c):
				continue
			case c == '@':
				at = true
			}
			if !quoted && (c == '<' || c == '>') {
				break
			}
			id = append(id, c)
		}
		if i == len(value) {
			return nil, nil
		}
		if value[i] == '>' {
			if at && len(id) > 1 {
				return id, value[i+1:]
			}
			i++
		}
		value = value[i:]
	}
}

// firstID is the first id of a value, 0 for none.
func firstID(value []byte) uint64 {
	var room [256]byte
	id, _ := nextID(room[:], value)
	if id == nil {
		return 0
	}
	return hashID(id)
}

// appendIDs appends the last RefsMax ids of a value, each once, in their order.
func appendIDs(dst []uint64, value []byte) []uint64 {
	var room [256]byte
	begin := len(dst)
next:
	for {
		var id []byte
		if id, value = nextID(room[:], value); id == nil {
			break
		}
		h := hashID(id)
		for _, have := range dst[begin:] {
			if have == h {
				continue next
			}
		}
		if len(dst)-begin == RefsMax {
			copy(dst[begin:], dst[begin+1:])
			dst = dst[:len(dst)-1]
		}
		dst = append(dst, h)
	}
	return dst
}
