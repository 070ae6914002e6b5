package inflate_test

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"testing"

	"github.com/mailfarm/mailfarm/services/imap/internal/inflate"
)

// steps is a source that gives out one step after the other, and fails where it is asked for more.
type steps struct{ left []byte }

var errAsked = errors.New("asked for more")

func (s *steps) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, errAsked
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// TestZlib reads what zlib writes with all its ways of flushing: after each, what zlib itself would give out comes, and nothing
// is waited for. See testdata/zlib.py.
func TestZlib(t *testing.T) {
	b, err := os.ReadFile("testdata/zlib.json")
	if err != nil {
		t.Fatal(err)
	}
	var streams []struct {
		Name  string
		Steps []struct {
			Octets []byte
			Out    int
			CRC    uint32
		}
	}
	if err := json.Unmarshal(b, &streams); err != nil {
		t.Fatal(err)
	}
	if len(streams) < 60 {
		t.Fatalf("%d streams", len(streams))
	}
	for _, s := range streams {
		t.Run(s.Name, func(t *testing.T) {
			src := new(steps)
			r := inflate.NewReader(src)
			crc, out := crc32.NewIEEE(), 0
			for i, step := range s.Steps {
				src.left = step.Octets
				want := errAsked
				if i == len(s.Steps)-1 {
					want = nil
				}
				n, err := io.Copy(crc, r)
				out += int(n)
				if err != want || out != step.Out || crc.Sum32() != step.CRC {
					t.Fatalf("step %d: %d octets, %08x, %v, want %d, %08x, %v", i, out, crc.Sum32(), err, step.Out, step.CRC, want)
				}
			}
		})
	}
}
