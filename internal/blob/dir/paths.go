package dir

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Names are numbers padded so that listings sort; numbers that need more digits have them.

func incarnationName(n uint64) string { return fmt.Sprintf("%08d", n) }
func segmentName(n uint32) string     { return fmt.Sprintf("%08d.seg", n) }
func bodyName(n uint64) string        { return fmt.Sprintf("%010d", n) }

// number reads a name back; false for anything that name would not have made.
func number[T uint32 | uint64](s string, bits int, name func(T) string) (T, bool) {
	digits, _, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(digits, 10, bits)
	return T(n), err == nil && name(T(n)) == s
}

func (s *Store) incarnationPath(n uint64) string { return filepath.Join(s.root, incarnationName(n)) }

func (s *Store) segmentPath(n uint64, segment uint32) string {
	return filepath.Join(s.incarnationPath(n), segmentName(segment))
}

func (s *Store) bodiesPath(n uint64) string { return filepath.Join(s.incarnationPath(n), "body") }

func (s *Store) bodyPath(n, body uint64) string {
	return filepath.Join(s.bodiesPath(n), bodyName(body))
}
