package pop3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	mail "github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// topRead is how much of a body TOP asks for at once, octets: most headers fit.
const topRead = 16 << 10

// retr sends a message (RFC 1939 §5).
func (c *session) retr(args []byte) result {
	n, m, r := c.message(bytes.TrimSpace(args))
	if m == nil {
		return r
	}
	if r = c.send(n, nil); r == good {
		m.state |= retrieved
		c.drop.retrieved++
		c.svc.metrics.retrieved.Inc()
	}
	return r
}

// top sends the header and some lines of the body (RFC 1939 §7).
func (c *session) top(args []byte) result {
	which, rest, _ := bytes.Cut(bytes.TrimSpace(args), []byte{' '})
	lines, ok := number(bytes.TrimSpace(rest))
	if !ok {
		return c.out.misused("TOP wants a message number and a number of lines")
	}
	n, m, r := c.message(which)
	if m == nil {
		return r
	}
	return c.send(n, &cutter{lines: uint64(lines)})
}

// send streams message n, or the part of it that cut leaves. The first piece is awaited before +OK, so that what cannot be
// read is an answer; what breaks off later ends the connection, since a cut message must not look whole.
func (c *session) send(n int, cut *cutter) result {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel() // ends the stream when TOP has enough
	// A store that says nothing more is given up; the time that the client takes does not count.
	watchdog := time.AfterFunc(c.svc.cfg.CallTimeout, cancel)
	defer watchdog.Stop()
	e, err := c.drop.email(ctx, n)
	if err != nil {
		return c.unreadable(n, err)
	}
	if e == nil {
		return c.out.fail("", "the message is gone")
	}
	if body := e.GetBody(); len(body) > 0 && int64(len(body)) == e.GetSize() {
		watchdog.Stop()
		return c.sendBody(e, cut)
	}
	r := &storev1.BodyRange{BlobId: e.GetBlobId(), Overlay: e.GetOverlay(), Length: -1}
	if cut != nil {
		r.Length = topRead
	}
	first := true
	stuff := stuffer{ascii: !c.utf8}
	for {
		octets, done, err := c.sendRange(ctx, r, cut, &stuff, &first, watchdog)
		switch {
		case err != nil && first:
			return c.unreadable(n, err)
		case err != nil:
			c.log.LogAttrs(c.ctx, slog.LevelWarn, "message broken off", obs.Error(err))
			c.out.flush()
			c.hangUp("message broken off")
			return silent
		}
		if done || cut == nil || octets < r.Length {
			break
		}
		r.Offset += octets
		r.Length = 1 << 20
	}
	if first {
		c.out.ok("message follows")
	}
	c.out.give(stuff.end(c.out.take()))
	return good
}

// sendBody sends a message whose body came along with its email.
func (c *session) sendBody(e *storev1.Email, cut *cutter) result {
	overlay, body := mail.OverlayFrom(e.GetOverlay()), e.GetBody()
	stuff := stuffer{ascii: !c.utf8}
	c.out.ok("message follows")
	for _, p := range overlay.Pieces(nil, mail.Range{Length: overlay.Size(e.GetSize())}, e.GetSize()) {
		data := body
		if p.Prefix {
			data = overlay.Prefix
		}
		data = data[p.Offset:p.End()]
		enough := false
		if cut != nil {
			var n int
			n, enough = cut.cut(data)
			data = data[:n]
		}
		c.out.give(stuff.append(c.out.take(), data))
		if enough {
			break
		}
	}
	c.out.give(stuff.end(c.out.take()))
	e.Body = nil // who asks for it once more reads it again
	if c.out.err != nil {
		c.hangUp("write failed")
		return silent
	}
	return good
}

// sendRange streams one range and tells how many octets of the body it had, and whether cut has enough.
func (c *session) sendRange(ctx context.Context, r *storev1.BodyRange, cut *cutter, stuff *stuffer, first *bool, watchdog *time.Timer) (octets int64, done bool, err error) {
	stream, err := c.svc.deps.Bodies.Open(ctx, &storev1.OpenRequest{Ranges: []*storev1.BodyRange{r}})
	if err != nil {
		return 0, false, err
	}
	for {
		watchdog.Reset(c.svc.cfg.CallTimeout)
		piece, err := stream.Recv()
		watchdog.Stop()
		if errors.Is(err, io.EOF) {
			return octets, false, nil
		}
		if err != nil {
			return octets, false, err
		}
		data := piece.GetData()
		octets += int64(len(data))
		if *first {
			*first = false
			c.out.ok("message follows")
		}
		if cut != nil {
			var n int
			n, done = cut.cut(data)
			data = data[:n]
		}
		c.out.give(stuff.append(c.out.take(), data))
		if c.out.err != nil {
			return octets, false, c.out.err
		}
		if done {
			return octets, true, nil
		}
	}
}

// unreadable answers for a message that store cannot give.
func (c *session) unreadable(n int, err error) result {
	if errors.Is(err, errWrite) {
		c.hangUp("write failed")
		return silent
	}
	c.log.LogAttrs(c.ctx, slog.LevelWarn, "message not readable", slog.Uint64("uid", uint64(mailbox.UID(c.drop.messages[n-1].uid))), obs.Error(err))
	if code := status.Code(err); code == codes.NotFound || code == codes.DataLoss {
		return c.out.fail("SYS/PERM", "the message cannot be read")
	}
	return c.out.fail("SYS/TEMP", "the message cannot be read right now, try again")
}
