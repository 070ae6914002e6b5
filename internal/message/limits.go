package message

// Version is the first octet of every encoded index. It grows with what the index tells and with the list of known names;
// an index of another version is made anew from the body.
const Version = 2

// Limits of what an index tells. Behind them the structure is coarser, and nothing fails.
const (
	// MaxDepth is how deep multiparts and messages nest; what is deeper is application/octet-stream.
	MaxDepth = 50
	// MaxParts is how many parts a message has; the last one takes in what follows it.
	MaxParts = 10_000
	// MaxFields is how many fields of a header are looked at.
	MaxFields = 2_000
	// MaxHeaderBytes is how much of one header is looked at, octets; one header is held at a time.
	MaxHeaderBytes = 1 << 20
	// MaxRetained is what the strings of all parts measure in all, octets; what has no room is left out.
	MaxRetained = 1 << 20
	// MaxString is the longest single string that is kept of a header, octets; it is cut there.
	MaxString = 16 << 10
	// MaxAddressBytes is what one address field measures at most in ENVELOPE, octets; further addresses are left out.
	MaxAddressBytes = 128 << 10
	// MaxParams is how many parameters a Content-Type or Content-Disposition has.
	MaxParams = 100
	// MaxLanguages is how many tags a Content-Language has.
	MaxLanguages = 20
	// MaxDeliveredTo is how many Delivered-To fields are kept.
	MaxDeliveredTo = 100
	// MaxFieldName is the longest field name that is told apart, octets (RFC 5322 §2.1.1 allows 77 on a line of 78).
	MaxFieldName = 77
	// PreviewMax is the longest preview, characters: RFC 8970 §3.1 allows 200.
	PreviewMax = 200
	// MaxReferences is how much is kept of the References field, octets: its end, where the nearest messages are named.
	MaxReferences = 4 << 10
	// MaxBoundary is the longest boundary, octets. RFC 2046 §5.1.1 says 70; some mailers do not know.
	MaxBoundary = 200
)

const (
	// maxDelimiterLine is the longest delimiter line: hyphens, boundary, padding and line end.
	maxDelimiterLine = 2 + MaxBoundary + 2 + 64
	// maxType is the longest media type, subtype, encoding or parameter name.
	maxType = 127
	// maxQuoted is the longest string sent between quotes; a longer one is a literal.
	maxQuoted = 1000
	// previewSource is how much of a text part its preview is made of, octets as they were sent.
	previewSource = 32 << 10
	// previewTries is how many text parts are looked at for one that has text.
	previewTries = 10
	// keepBuffer is the largest buffer that an Indexer keeps for the next message.
	keepBuffer = 64 << 10
)

// Stand-ins for the halves of an address that has only one: NIL would mean a group (RFC 9051 §7.5.2).
const (
	missingMailbox = "MISSING_MAILBOX"
	missingDomain  = "MISSING_DOMAIN"
)
