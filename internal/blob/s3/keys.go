package s3

import (
	"fmt"
	"strconv"
	"strings"
)

// Suffixes of an incarnation's objects beside its claim.
const (
	beatSuffix  = ".beat"
	endSuffix   = ".end"
	sweptSuffix = ".swept"
)

// Numbers are padded so that listings sort. Keys are relative to the prefix.

func claimKey(n uint64) string             { return fmt.Sprintf("inc/%020d", n) }
func segmentsKey(n uint64) string          { return fmt.Sprintf("seg/%020d/", n) }
func segmentKey(n uint64, k uint32) string { return fmt.Sprintf("seg/%020d/%010d", n, k) }
func bodiesKey(n uint64) string            { return fmt.Sprintf("body/%020d/", n) }
func bodyKey(n, number uint64) string      { return fmt.Sprintf("body/%020d/%020d", n, number) }

// numberOf reads the number that ends a key, behind its folder.
func numberOf(key string) (uint64, bool) {
	n, err := strconv.ParseUint(key[strings.LastIndexByte(key, '/')+1:], 10, 64)
	return n, err == nil
}
