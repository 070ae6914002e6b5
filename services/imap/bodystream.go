package imap

import (
	"context"
	"errors"
	"fmt"
	"io"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"google.golang.org/grpc"
)

// errShortBody is a store that sends less of a body than the part index says there is.
var errShortBody = errors.New("body is shorter than its index says")

// bodyStream reads ranges of bodies in the order they were asked for.
type bodyStream struct {
	m      *mails
	cancel context.CancelFunc
	stream grpc.ServerStreamingClient[storev1.OpenResponse]
	ranges []*storev1.BodyRange
	// at is the range being read, left what of it is still to come, behind held.
	at   int
	left int64
	held []byte
}

// open asks for ranges, none of them empty. Close the stream.
func (m *mails) open(ranges []*storev1.BodyRange) (*bodyStream, error) {
	ctx, cancel := context.WithCancel(m.ctx)
	stream, err := m.s.svc.deps.Bodies.Open(ctx, &storev1.OpenRequest{Ranges: ranges})
	if err != nil {
		cancel()
		return nil, m.bodyError(err)
	}
	return &bodyStream{m: m, cancel: cancel, stream: stream, ranges: ranges, left: ranges[0].GetLength()}, nil
}

// close gives the stream back, waiting for its end where that is next: a cancelled stream costs more.
func (b *bodyStream) close() {
	if len(b.held) == 0 && b.left == 0 && b.at == len(b.ranges)-1 {
		b.stream.Recv()
	}
	b.cancel()
}

// ready waits until octets are there: an error found now, before a literal is announced, harms no one.
func (b *bodyStream) ready() error {
	for len(b.held) == 0 {
		if b.left == 0 {
			if b.at+1 >= len(b.ranges) {
				return io.ErrUnexpectedEOF
			}
			b.at++
			b.left = b.ranges[b.at].GetLength()
		}
		piece, err := b.stream.Recv()
		if err == io.EOF {
			return b.m.bodyError(errShortBody)
		}
		if err != nil {
			return b.m.bodyError(err)
		}
		if int(piece.GetRange()) != b.at || int64(len(piece.GetData())) > b.left {
			return b.m.bodyError(fmt.Errorf("%w: range %d of %d", errShortBody, b.at, len(b.ranges)))
		}
		b.held = piece.GetData()
		b.left -= int64(len(b.held))
	}
	return nil
}

// take gives the next n octets, in pieces.
func (b *bodyStream) take(n int64, to func([]byte)) error {
	for n > 0 {
		if err := b.ready(); err != nil {
			return err
		}
		p := b.held[:min(n, int64(len(b.held)))]
		to(p)
		b.held = b.held[len(p):]
		n -= int64(len(p))
	}
	return nil
}

// skip passes over n octets.
func (b *bodyStream) skip(n int64) error { return b.take(n, func([]byte) {}) }
