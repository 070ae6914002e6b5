package remote

import (
	"context"
	"errors"
	"time"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// answerTime is how long the reply to a final dot is awaited once the role stops: whoever does not get it sends twice
// (RFC 5321 §6.1).
const answerTime = 2 * time.Second

// errDraining is work that was not begun because the role stops.
var errDraining = errors.New("the role stops")

// goingDown is the outcome of a dialogue that was cut off by our own end: it is due again at once.
var goingDown = verdict{storev1.State_STATE_QUEUED, "451 4.3.2 this server is going down"}

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

// context is ctx that also ends when dialogues before the final dot are cut off.
func (d drain) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.beforeDot, cancel)
	return ctx, func() { stop(); cancel() }
}
