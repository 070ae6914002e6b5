package mailauth

import "bytes"

// Limits of what is kept of a header. Beyond them only fields that matter are listed, wherever they stand, and DKIM has no
// result; forged fields are found all the same.
const (
	// MaxHeaderBytes is how much of a header is kept, octets.
	MaxHeaderBytes = 256 << 10
	// MaxFields is how many fields are listed.
	MaxFields = 4096
	// Reserve is what is kept beyond MaxHeaderBytes of the fields that matter, octets.
	Reserve = 256 << 10
	// ReserveFields is how many fields that matter are listed beyond MaxFields.
	ReserveFields = 1024
	// MaxJudged is how long a header is at most that can be judged, octets: as far as internal/message shows fields.
	MaxJudged = 1 << 20
	// maxHead is how much of a field that is not kept is looked at.
	maxHead = 4 << 10
	// maxPiece is how much of a line is held back for its end.
	maxPiece = 64 << 10
	// keepBytes is the largest buffer that Reset keeps.
	keepBytes = 32 << 10
)

// fits tells whether there is room for more of the current field.
func (h *Header) fits(piece []byte) bool {
	n := len(h.raw) + len(piece)
	return n <= MaxHeaderBytes || n <= MaxHeaderBytes+Reserve && matters(h.beginning(piece))
}

// beginning is what there is of a field that is kept so far, piece being its next octets.
func (h *Header) beginning(piece []byte) []byte {
	if h.at < len(h.raw) {
		return h.raw[h.at:]
	}
	return piece
}

// overflow keeps only the beginning of a field.
func (h *Header) overflow(piece []byte) {
	if h.keeping {
		h.keeping = false
		h.leaveOut(h.beginning(piece))
		f := h.raw[h.at:]
		h.head = append(h.head, f[:min(len(f), maxHead)]...)
		h.raw = h.raw[:h.at]
	}
	h.head = append(h.head, piece[:min(len(piece), maxHead-len(h.head))]...)
}

// leaveOut notes that a field is not listed.
func (h *Header) leaveOut(beginning []byte) {
	h.truncated = true
	h.unjudged = h.unjudged || matters(beginning)
}

// important are the fields that matter: what a message is judged by, and what tells its way.
var important = [...]string{
	"from", "sender", "date", "message-id", "subject", "dkim-signature", "received", authResults,
}

// maxName is how much of a field is looked at for such a name; it is longer than all of them.
const maxName = 32

// matters tells whether a field that begins so may be one of those. White space behind the name is no way out.
func matters(field []byte) bool {
	field = field[:min(len(field), maxName)]
	end := bytes.IndexAny(field, ": \t")
	if end < 0 {
		return false
	}
	for _, s := range important {
		if len(s) == end && foldEqual(field[:end], s) {
			return true
		}
	}
	return false
}
