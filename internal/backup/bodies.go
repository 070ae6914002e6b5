package backup

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// blobID is a frame's id, which never means another one (docs/decisions/0005).
type blobID [20]byte

// maxKnown bounds how many bodies are remembered over accounts: a letter to many is stored once, and read once.
const maxKnown = 500_000

// bodies copies bodies.
type bodies struct {
	*run
	began time.Time
	known map[blobID]repo.Digest
}

// wantedBody is one to be copied.
type wantedBody struct {
	id   string
	size int64
	// digest is set by fetch, or missing.
	digest  repo.Digest
	missing string
}

// learn reads which bodies an object of rows, or of the queue, has.
func (b *bodies) learn(ctx context.Context, object string, into map[blobID]repo.Digest) error {
	return readLines(ctx, b.Repo, object, func(fields map[string]json.RawMessage) error {
		var id, body string
		if json.Unmarshal(fields["blob_id"], &id) != nil || json.Unmarshal(fields["body"], &body) != nil {
			return nil // a line of another table
		}
		raw, err := hex.DecodeString(id)
		d, err2 := repo.ParseDigest(body)
		if errors.Join(err, err2) == nil && len(raw) == len(blobID{}) {
			into[blobID(raw)] = d
		}
		return nil
	})
}

// find looks whether a body was copied before.
func (b *bodies) find(w *wantedBody, known map[blobID]repo.Digest) bool {
	if len(w.id) != len(blobID{}) {
		w.missing = fmt.Sprintf("its blob id has %d octets", len(w.id))
		return true
	}
	id := blobID([]byte(w.id))
	d, ok := known[id]
	if !ok {
		d, ok = b.known[id]
	}
	if !ok {
		return false
	}
	size, there := b.Repo.Has(repo.Body, d)
	if !there && !b.Repo.Pending(repo.Body, d) || there && size != w.size {
		return false
	}
	w.digest = d
	return true
}

// fetch copies those that were not copied before.
func (b *bodies) fetch(ctx context.Context, list []wantedBody, known map[blobID]repo.Digest) error {
	var open []*wantedBody
	for i := range list {
		if !b.find(&list[i], known) {
			open = append(open, &list[i])
		}
	}
	for len(open) > 0 {
		n, err := b.stream(ctx, open)
		for _, w := range open[:n] {
			if w.missing != "" {
				continue
			}
			id := blobID([]byte(w.id))
			known[id] = w.digest
			if len(b.known) >= maxKnown {
				clear(b.known)
			}
			b.known[id] = w.digest
		}
		if open = open[n:]; err != nil {
			return err
		}
	}
	return nil
}

// stream copies bodies up to the first that cannot be read, which counts among those that are done.
func (b *bodies) stream(ctx context.Context, open []*wantedBody) (done int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &storev1.OpenRequest{}
	for _, w := range open {
		req.Ranges = append(req.Ranges, &storev1.BodyRange{BlobId: []byte(w.id), Length: -1})
	}
	stream, err := b.Bodies.Open(ctx, req)
	if err != nil {
		return 0, err
	}
	r := &rangeReader{recv: stream.Recv, at: -1}
	for i, w := range open {
		r.begin(i, w.size)
		d, n, err := b.Repo.Add(ctx, repo.Body, r)
		if r.err != nil {
			if code := status.Code(r.err); code != codes.NotFound && code != codes.DataLoss {
				return i, fmt.Errorf("read body: %w", r.err)
			}
			w.missing = status.Convert(r.err).Message()
			return i + 1, nil
		}
		if err != nil {
			return i, err
		}
		if n != w.size || r.over() {
			w.missing = fmt.Sprintf("it does not have the %d octets that it should", w.size)
		}
		w.digest = d
		b.progress.Bodies++
		b.progress.Octets += n
		b.Say(b.progress)
		if err := b.pace(ctx); err != nil {
			return i + 1, err
		}
	}
	return len(open), nil
}

// pace waits until as much time has passed as what was read should take.
func (b *bodies) pace(ctx context.Context) error {
	if b.cfg.Rate <= 0 {
		return nil
	}
	due := b.began.Add(time.Duration(float64(b.progress.Octets) / float64(b.cfg.Rate) * float64(time.Second)))
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// rangeReader reads a stream of ranges, each as long as it should be.
type rangeReader struct {
	recv func() (*storev1.OpenResponse, error)
	// number is the range that is read, left what it still should have.
	number int
	left   int64
	// at is the range of the piece that came last, and data its rest.
	at   int
	data []byte
	// err is what the stream ended by, if not by its end.
	err error
}

// begin goes to a range.
func (r *rangeReader) begin(number int, size int64) {
	if r.at < number {
		r.data = nil
	}
	r.number, r.left = number, size
}

// over tells that the range has more than it should.
func (r *rangeReader) over() bool { return r.at == r.number && len(r.data) > 0 }

func (r *rangeReader) Read(p []byte) (int, error) {
	// Whatever is read too early may be an error of the next range. An empty range is a piece as well.
	for r.at < r.number || r.at == r.number && len(r.data) == 0 && r.left > 0 {
		next, err := r.recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			r.err = err
			return 0, err
		}
		r.at, r.data = int(next.GetRange()), next.GetData()
	}
	if r.at > r.number || r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.data)
	r.data, r.left = r.data[n:], r.left-int64(n)
	return n, nil
}
