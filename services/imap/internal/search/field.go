package search

import (
	"bytes"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// inField tells whether any field of a name, in lower case, holds, folded, what is looked for.
func inField(header []byte, field string, holds func([]byte) bool) bool {
	found := false
	var folded []byte
	message.EachField(header, func(name, value []byte) bool {
		if len(name) == len(field) && bytes.EqualFold(name, []byte(field)) {
			folded = searchtext.FoldValue(folded[:0], value)
			found = holds(folded)
		}
		return !found
	})
	return found
}
