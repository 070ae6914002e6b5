package store

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// bodyPiece is how much one response carries, octets.
const bodyPiece = 64 << 10

// bodies serves storev1.Bodies.
type bodies struct {
	storev1.UnimplementedBodiesServer
	*Service
}

// Open streams ranges of bodies in the order asked for; one that is empty, or lies behind the end, is one empty piece.
// Ranges of the same body that follow each other open it once. NOT_FOUND and DATA_LOSS name the range in their text; those
// before it were sent.
func (s *bodies) Open(req *storev1.OpenRequest, stream grpc.ServerStreamingServer[storev1.OpenResponse]) error {
	if len(req.GetRanges()) > MaxRanges {
		return invalid("%d ranges, more than %d", len(req.GetRanges()), MaxRanges)
	}
	var frame *blob.Frame
	defer func() {
		if frame != nil {
			frame.Close()
		}
	}()
	for i, r := range req.GetRanges() {
		id, err := blob.IDFrom(r.GetBlobId())
		if err != nil {
			return invalid("range %d: %v", i, err)
		}
		if err := checkOverlay(r.GetOverlay()); err != nil {
			return err
		}
		if frame == nil || frame.ID != id {
			if frame != nil {
				frame.Close()
			}
			if frame, err = s.deps.Blobs.Open(stream.Context(), id); err != nil {
				frame = nil
				return bodyStatus(i, err)
			}
		}
		body := message.NewReader(message.OverlayFrom(r.GetOverlay()), frame.Body, frame.Size)
		if err := s.send(stream, uint32(i), r, body); err != nil {
			return bodyStatus(i, err)
		}
	}
	return nil
}

// send streams one range; a small one is a single piece, read straight into the response.
func (s *bodies) send(stream grpc.ServerStreamingServer[storev1.OpenResponse], number uint32, r *storev1.BodyRange, body *io.SectionReader) error {
	if r.GetOffset() < 0 || r.GetLength() < -1 {
		return invalid("range of %d octets at %d", r.GetLength(), r.GetOffset())
	}
	at := min(r.GetOffset(), body.Size())
	left := body.Size() - at
	if r.GetLength() >= 0 {
		left = min(left, r.GetLength())
	}
	for first := true; first || left > 0; first = false {
		// Not reused: gRPC may look at a response after Send has returned.
		data := make([]byte, min(left, bodyPiece))
		if _, err := body.ReadAt(data, at); err != nil && err != io.EOF {
			return fmt.Errorf("read at %d: %w", at, err)
		}
		at += int64(len(data))
		left -= int64(len(data))
		if err := stream.Send(&storev1.OpenResponse{Range: number, Data: data}); err != nil {
			return err
		}
		s.metrics.bodyBytes.Add(float64(len(data)))
	}
	return nil
}

// bodyStatus tells which range an error is about.
func bodyStatus(i int, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	err = fmt.Errorf("range %d: %w", i, err)
	if errors.Is(err, blob.ErrCorrupt) {
		return status.Error(codes.DataLoss, err.Error())
	}
	return toStatus(err)
}
