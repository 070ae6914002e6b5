package importer

import (
	"context"
	"errors"
	"io"
	"time"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// piece is how much of a message one request carries, octets.
const piece = 64 << 10

// Filing is one call of Import on its way: messages, then Done; or Abort, and nothing of it is filed.
type Filing struct {
	stream interface {
		Send(*storev1.ImportRequest) error
		CloseAndRecv() (*storev1.ImportResponse, error)
	}
	cancel context.CancelFunc
	failed error // of sending
}

// File begins a call.
func File(ctx context.Context, client storev1.ImportsClient, begin *storev1.ImportBegin) (*Filing, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := client.Import(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	f := &Filing{stream: s, cancel: cancel}
	f.send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Begin{Begin: begin}})
	return f, nil
}

func (f *Filing) send(req *storev1.ImportRequest) {
	if f.failed == nil {
		f.failed = f.stream.Send(req)
	}
}

// Ended tells that the store takes no more: Done tells why.
func (f *Filing) Ended() bool { return f.failed != nil }

// Message sends one, whose text is start's size octets of r. Its error is of reading.
func (f *Filing) Message(start *storev1.ImportStart, r io.Reader) error {
	f.send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Start{Start: start}})
	for left := start.GetSize(); left > 0 && !f.Ended(); {
		data := make([]byte, min(left, piece)) // not reused: gRPC may look at it after Send has returned
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		left -= int64(len(data))
		f.send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Data{Data: data}})
	}
	f.send(&storev1.ImportRequest{Part: &storev1.ImportRequest_End{End: true}})
	return nil
}

// Done files what was sent and tells what became of it.
func (f *Filing) Done() (*storev1.ImportResponse, error) {
	defer f.cancel()
	if f.failed != nil && !errors.Is(f.failed, io.EOF) {
		return nil, f.failed
	}
	return f.stream.CloseAndRecv() // tells also why sending ended
}

// Abort files nothing of it; behind Done it does nothing.
func (f *Filing) Abort() { f.cancel() }

// Nanos is a time for the contract; zero is none.
func Nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
