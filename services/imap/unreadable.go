package imap

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

const (
	// unreadableMax is how many octets of the UIDs of unreadable messages a client is told.
	unreadableMax = 200
	// brokenMax is how many bodies are remembered that broke off.
	brokenMax = 1000
)

// corrupt is a body that is damaged, or lost.
type corrupt struct {
	lost bool
}

// Error is for our log; a client sees what As gives.
func (c corrupt) Error() string {
	if c.lost {
		return "body is lost"
	}
	return "body is damaged"
}

// As makes it a reply (RFC 5530 CORRUPTION).
func (c corrupt) As(target any) bool {
	r, ok := target.(*reply)
	if ok {
		*r = no("CORRUPTION", "message cannot be read")
	}
	return ok
}

// bodyError tells a client that a body is damaged or lost, and our log more loudly.
func (m *mails) bodyError(err error) error {
	code := status.Code(err)
	if code == codes.NotFound || code == codes.DataLoss || errors.Is(err, errShortBody) {
		m.s.log.Error("body cannot be read", obs.Error(err))
		return corrupt{lost: code == codes.NotFound}
	}
	return err
}

// isLost tells of a body of which nothing is there.
func isLost(err error) bool {
	var c corrupt
	return errors.As(err, &c) && c.lost
}

// isReply tells of an error that is of one message, and for its client: the others go on.
func isReply(err error) bool {
	var r reply
	return errors.As(err, &r)
}

// leaveOut notes that an item of a message is left out; false where the error ends the FETCH.
func (f *fetcher) leaveOut(r *row, err error) bool {
	var c corrupt
	switch {
	case errors.As(err, &c):
		if uid := uint32(f.cols.UIDs[r.i]); !f.unreadable.Contains(uid) {
			f.unreadable = f.unreadable.Add(uid)
		}
	case !isReply(err):
		f.mails.fail(err)
		return false
	case f.leftOut == nil:
		f.leftOut = err
	}
	return true
}

// corruption is the end of a FETCH that could not read everything.
func (f *fetcher) corruption() reply { return no("CORRUPTION", f.s.unreadableText(f.unreadable)) }

// unreadableText tells a client, and our log, which messages cannot be read.
func (s *session) unreadableText(unreadable wire.Set) string {
	n := unreadable.Count()
	uids := string(wire.AppendSet(nil, unreadable))
	if len(uids) > unreadableMax {
		uids = uids[:unreadableMax] + "..."
	}
	s.log.Warn("messages cannot be read", obs.Mailbox(s.sel.name), obs.Count(int(n)), obs.Reason("UID "+uids))
	what := "messages"
	if n == 1 {
		what = "message"
	}
	return fmt.Sprintf("%d %s cannot be read in whole: UID %s", n, what, uids)
}

// brokenBodies remembers bodies that broke off within a literal. The zero value is empty.
type brokenBodies struct {
	mu  sync.Mutex
	ids map[string]struct{} // guarded by mu
}

func (b *brokenBodies) add(id []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids == nil || len(b.ids) >= brokenMax {
		b.ids = map[string]struct{}{}
	}
	b.ids[string(id)] = struct{}{}
}

func (b *brokenBodies) has(id []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.ids[string(id)]
	return ok
}
