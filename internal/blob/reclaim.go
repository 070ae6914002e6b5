package blob

import (
	"context"
	"time"
)

// Locator tells where frames lie that were moved. Rows that name a frame keep its first ID for ever.
type Locator interface {
	// Locate answers in order; the zero ID stands for a frame that was never moved.
	Locate(ctx context.Context, ids []ID) ([]ID, error)
}

// Reclaimer is a Store whose room can be given back. internal/reclaim decides what goes; nothing here does.
//
// A frame that was moved tells its first ID (frame.Header.Origin), and whoever refers to it goes on using that. Open and
// Create find a frame that is not at its ID's place, or that has lost its body there, by asking the Locator once, also the
// frame that has a shared body; they compare the first ID that it tells with the one asked for. A Frame's ID is always
// the one that was asked for. A look-up that fails is never ErrNotFound.
type Reclaimer interface {
	Store
	// UseLocator says whom to ask about frames that are not where their IDs say. Until it was called nobody is asked.
	UseLocator(Locator)
	// Segments lists the segments of an incarnation that are still there, in the order of their numbers, without those
	// that nobody was answered for. It reads no frames; for a store of objects it is one listing.
	Segments(ctx context.Context, incarnation uint64) ([]Segment, error)
	// Rewrite copies frames to the end of this process's incarnation and returns where they lie now, in order. The copy has
	// kind, queue id, tail, digest and checksums of the frame, and tells its Origin; a body that lies apart is linked or
	// copied to one of the new incarnation, so that a frame and its body go together; a shared body stays shared with
	// the same frame. What cannot be copied (ErrCorrupt, ErrNotFound) has its Err set; the error is of the rest, of which
	// nothing is said then. Copies that nobody comes to refer to are dead like any other frame.
	Rewrite(ctx context.Context, frames []Rewrite) ([]Rewritten, error)
	// FreeBodies removes the bodies that lie apart of frames at these places, and returns how many octets that gave back.
	// The frames stay, without bodies. A frame that is not there, or has no such body (any more), is passed over.
	FreeBodies(ctx context.Context, places []ID) (int64, error)
	// RemoveSegment removes a sealed segment with the bodies of its frames that lie apart, those first, and returns how
	// many octets that gave back. A repeat after an error, or a crash, goes on; one that is gone already is no error. Frames that
	// are open can be read to their end where the store can see to that; elsewhere a read answers ErrNotFound.
	//
	// It leaves nothing behind that looks like damage or like the end of the incarnation: neighbours are read as before,
	// and numbers are not used again.
	RemoveSegment(ctx context.Context, incarnation uint64, segment uint32) (int64, error)
	// Sweep removes what no frame refers to in incarnations that are dead (bodies whose frame was never written, parts of
	// uploads), and returns how many things it removed. It is cheap where there is nothing new to sweep.
	Sweep(ctx context.Context) (int, error)
}

// Segment is what is known of a segment without reading its frames.
type Segment struct {
	Incarnation uint64
	Number      uint32
	// Bytes is its length, without bodies that lie apart.
	Bytes int64
	// Sealed tells that no frame will be added.
	Sealed bool
	// Ended is a time that all its frames were written before; where it is not known well, a later one. Zero unless sealed.
	Ended time.Time
}

// Position is where the segment begins.
func (s Segment) Position() Position { return Position{Incarnation: s.Incarnation, Segment: s.Number} }

// Rewrite asks for a copy of the frame at Place, whose first ID is Origin.
type Rewrite struct {
	Origin, Place ID
}

// Rewritten is what became of a Rewrite.
type Rewritten struct {
	// Place is where the copy lies.
	Place ID
	// Bytes is how many octets were written for it, or copied by a server.
	Bytes int64
	Err   error
}

// Less orders IDs by place.
func (id ID) Less(other ID) bool {
	if id.Incarnation != other.Incarnation {
		return id.Incarnation < other.Incarnation
	}
	return Position{Segment: id.Segment, Offset: id.Offset}.Before(Position{Segment: other.Segment, Offset: other.Offset})
}
