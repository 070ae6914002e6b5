package remote

import (
	"context"
	"errors"
	"time"
)

// answerTime is how long the reply to a final dot is awaited once the role stops: whoever does not get it sends twice
// (RFC 5321 §6.1).
const answerTime = 2 * time.Second

// errDraining is work that was not begun, or was cut off, because the role stops.
var errDraining = errors.New("the role stops")

// drain ends dialogues when the role stops: those before the final dot at once, the others after answerTime.
type drain struct {
	beforeDot, afterDot context.Context
	cut, giveUp         context.CancelFunc
}

func newDrain() (d drain) {
	d.beforeDot, d.cut = context.WithCancel(context.Background())
	d.afterDot, d.giveUp = context.WithCancel(context.Background())
	return d
}

// on drains when ctx ends.
func (d drain) on(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		d.cut()
		time.AfterFunc(answerTime, d.giveUp)
	})
}

func (d drain) begun() bool { return d.beforeDot.Err() != nil }

// context is ctx that also ends, with errDraining as its cause, when dialogues before the final dot are cut off.
func (d drain) context(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.beforeDot, func() { cancel(errDraining) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}
