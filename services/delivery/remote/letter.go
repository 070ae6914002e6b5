package remote

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// letter is the message as peers get it.
type letter struct {
	envelope *mailv1.Envelope
	overlay  message.Overlay
	frame    *blob.Frame
	// size is what is sent, octets.
	size int64
	// utf8Header tells that a header of it is not ASCII.
	utf8Header bool
}

// letter opens the message of a job. Close it.
//
// Relaying shows what ingress or submission added, and nothing of what the filter says to our own readers.
func (s *Service) letter(ctx context.Context, j *job) (*letter, error) {
	id, err := blob.IDFrom(j.message.BlobId)
	if err != nil {
		return nil, err
	}
	f, err := s.deps.Frames.Open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open the message: %w", err)
	}
	m := &letter{envelope: j.message.Envelope, overlay: message.OverlayFrom(j.message.Overlay), frame: f}
	m.size = m.reader().Size()
	m.utf8Header = !isASCII8(m.overlay.Prefix) || hasUTF8Header(f)
	return m, nil
}

// reader reads the message from its beginning.
func (m *letter) reader() *io.SectionReader {
	return message.NewReader(m.overlay, m.frame.Body, m.frame.Size)
}

func (m *letter) Close() error { return m.frame.Close() }

// hasUTF8Header asks the part index in the frame's tail. A frame without one is taken to have none: the flag of its MAIL
// would say no more.
func hasUTF8Header(f *blob.Frame) bool {
	var tail mailv1.FrameTail
	if proto.Unmarshal(f.Meta.Tail, &tail) != nil {
		return false
	}
	ix, err := message.Decode(tail.PartIndex)
	return err == nil && ix.Flags&message.EightBitHeader != 0
}

func isASCII8(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
