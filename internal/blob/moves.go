package blob

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// locateTime bounds one look-up of a frame that is not at its place.
const locateTime = 10 * time.Second

// Moves tells a store where frames are that are not at their places. Without a locator nothing was moved.
type Moves struct{ locator atomic.Pointer[Locator] }

// Use says whom to ask.
func (m *Moves) Use(l Locator) { m.locator.Store(&l) }

// Of tells where a frame was moved to; the zero ID where nobody knows. An error is not ErrNotFound: that a look-up failed
// says nothing about the frame.
func (m *Moves) Of(ctx context.Context, id ID) (ID, error) {
	l := m.locator.Load()
	if l == nil {
		return ID{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, locateTime)
	defer cancel()
	places, err := (*l).Locate(ctx, []ID{id})
	if err == nil && len(places) != 1 {
		err = fmt.Errorf("%d places for one frame", len(places))
	}
	if err != nil {
		return ID{}, fmt.Errorf("look up where it was moved to: %w", err)
	}
	return places[0], nil
}
