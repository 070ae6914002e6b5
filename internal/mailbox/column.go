package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The columns of a Chunk are packed with varints, both in the database's rows and in mailfarm.store.v1.Chunk:
//
//	uids              ranges, as AppendUIDSet writes them
//	flags             runs of equal values: uvarint value, uvarint entries−1
//	mod_seqs          runs of equal steps from the entry before (0 before the first): varint step, uvarint entries−1
//	emails, received  steps from the entry before (0 before the first): varint
//	sizes             uvarint
//	saved             octet 0, then runs of equal differences from received; or octet 1, then runs of equal steps from the
//	                  entry before; both as mod_seqs. Empty: as received, which is how entries are told that were made
//	                  before there was this column.
//
// So a chunk whose flags were all set by one STORE has its flags and MODSEQs in a dozen octets, and so has one that was
// filled by a run of deliveries. How many entries there are is told by uids alone: every other column is decoded against
// that number and must hold exactly as many.

// ErrColumn is the error for octets that are no packed column of the number of entries expected.
var ErrColumn = errors.New("not a packed column")

// AppendFlags packs flags behind b.
func AppendFlags(b []byte, flags []Flags) []byte {
	for i := 0; i < len(flags); {
		n := 1
		for i+n < len(flags) && flags[i+n] == flags[i] {
			n++
		}
		b = binary.AppendUvarint(b, uint64(flags[i]))
		b = binary.AppendUvarint(b, uint64(n-1))
		i += n
	}
	return b
}

// DecodeFlags unpacks n flags behind dst. ErrColumn.
func DecodeFlags(dst []Flags, b []byte, n int) ([]Flags, error) {
	for n > 0 {
		v, used := binary.Uvarint(b)
		if used <= 0 {
			return dst, fmt.Errorf("flags: %w", ErrColumn)
		}
		run, used2 := binary.Uvarint(b[used:])
		if used2 <= 0 || run >= uint64(n) {
			return dst, fmt.Errorf("flags: %w", ErrColumn)
		}
		b = b[used+used2:]
		for range run + 1 {
			dst = append(dst, Flags(v))
		}
		n -= int(run) + 1
	}
	return dst, ended("flags", b)
}

// FlagsOf tells which flags all of n packed entries have, and which any has: with no entries all and none. ErrColumn.
func FlagsOf(b []byte, n int) (common, found Flags, err error) {
	common = ^Flags(0)
	err = eachRun("flags", b, n, binary.Uvarint, func(v uint64) {
		common &= Flags(v)
		found |= Flags(v)
	})
	return common, found, err
}

// CheckModSeqs tells whether b is a column of n MODSEQs. ErrColumn.
func CheckModSeqs(b []byte, n int) error {
	return eachRun("mod_seqs", b, n, binary.Varint, func(int64) {})
}

// eachRun calls each with the value of every run of a column of n entries. ErrColumn.
func eachRun[T any](column string, b []byte, n int, value func([]byte) (T, int), each func(T)) error {
	for n > 0 {
		v, used := value(b)
		if used <= 0 {
			return fmt.Errorf("%s: %w", column, ErrColumn)
		}
		run, used2 := binary.Uvarint(b[used:])
		if used2 <= 0 || run >= uint64(n) {
			return fmt.Errorf("%s: %w", column, ErrColumn)
		}
		b = b[used+used2:]
		each(v)
		n -= int(run) + 1
	}
	return ended(column, b)
}

// AppendModSeqs packs MODSEQs behind b; they need not ascend.
func AppendModSeqs(b []byte, seqs []ModSeq) []byte {
	var last ModSeq
	for i := 0; i < len(seqs); {
		step := int64(seqs[i] - last)
		n := 1
		for i+n < len(seqs) && int64(seqs[i+n]-seqs[i+n-1]) == step {
			n++
		}
		b = binary.AppendVarint(b, step)
		b = binary.AppendUvarint(b, uint64(n-1))
		last = seqs[i+n-1]
		i += n
	}
	return b
}

// DecodeModSeqs unpacks n MODSEQs behind dst. ErrColumn.
func DecodeModSeqs(dst []ModSeq, b []byte, n int) ([]ModSeq, error) {
	var last ModSeq
	for n > 0 {
		step, used := binary.Varint(b)
		if used <= 0 {
			return dst, fmt.Errorf("mod_seqs: %w", ErrColumn)
		}
		run, used2 := binary.Uvarint(b[used:])
		if used2 <= 0 || run >= uint64(n) {
			return dst, fmt.Errorf("mod_seqs: %w", ErrColumn)
		}
		b = b[used+used2:]
		for range run + 1 {
			last += ModSeq(step) // wraps like the subtraction that made it
			dst = append(dst, last)
		}
		n -= int(run) + 1
	}
	return dst, ended("mod_seqs", b)
}

// AppendEmails packs email ids behind b.
func AppendEmails(b []byte, ids []EmailID) []byte {
	var last EmailID
	for _, id := range ids {
		b = binary.AppendVarint(b, int64(id-last))
		last = id
	}
	return b
}

// DecodeEmails unpacks n email ids behind dst. ErrColumn.
func DecodeEmails(dst []EmailID, b []byte, n int) ([]EmailID, error) {
	var last EmailID
	for range n {
		step, used := binary.Varint(b)
		if used <= 0 {
			return dst, fmt.Errorf("emails: %w", ErrColumn)
		}
		b = b[used:]
		last += EmailID(step)
		dst = append(dst, last)
	}
	return dst, ended("emails", b)
}

// AllEmails unpacks all the email ids in b behind dst. ErrColumn.
func AllEmails(dst []EmailID, b []byte) ([]EmailID, error) {
	var last EmailID
	for len(b) > 0 {
		step, used := binary.Varint(b)
		if used <= 0 {
			return dst, fmt.Errorf("emails: %w", ErrColumn)
		}
		b = b[used:]
		last += EmailID(step)
		dst = append(dst, last)
	}
	return dst, nil
}

// AppendSizes packs sizes behind b, octets, none negative.
func AppendSizes(b []byte, sizes []int64) []byte {
	for _, s := range sizes {
		b = binary.AppendUvarint(b, uint64(s))
	}
	return b
}

// DecodeSizes unpacks n sizes behind dst. ErrColumn, also for one above 2^63−1.
func DecodeSizes(dst []int64, b []byte, n int) ([]int64, error) {
	for range n {
		v, used := binary.Uvarint(b)
		if used <= 0 || v > math.MaxInt64 {
			return dst, fmt.Errorf("sizes: %w", ErrColumn)
		}
		b = b[used:]
		dst = append(dst, int64(v))
	}
	return dst, ended("sizes", b)
}

// AppendReceived packs times behind b, seconds since 1970 UTC.
func AppendReceived(b []byte, seconds []int64) []byte {
	var last int64
	for _, s := range seconds {
		b = binary.AppendVarint(b, s-last)
		last = s
	}
	return b
}

// DecodeReceived unpacks n times behind dst. ErrColumn.
func DecodeReceived(dst []int64, b []byte, n int) ([]int64, error) {
	var last int64
	for range n {
		step, used := binary.Varint(b)
		if used <= 0 {
			return dst, fmt.Errorf("received: %w", ErrColumn)
		}
		b = b[used:]
		last += step
		dst = append(dst, last)
	}
	return dst, ended("received", b)
}

// AppendSaved packs times behind b, in the shorter of two ways: a message is saved when it is received, mostly, and what was
// copied at once was saved at once.
func AppendSaved(b []byte, saved, received []int64) []byte {
	if len(saved) == 0 {
		return b
	}
	begin := len(b)
	b = appendRuns(append(b, 0), len(saved), func(i int) int64 { return saved[i] - received[i] })
	first := len(b)
	b = appendRuns(append(b, 1), len(saved), func(i int) int64 {
		if i == 0 {
			return saved[0]
		}
		return saved[i] - saved[i-1]
	})
	if n := len(b) - first; n < first-begin {
		return append(b[:begin], b[first:]...)
	}
	return b[:first]
}

// appendRuns packs n values as runs of equal ones.
func appendRuns(b []byte, n int, value func(int) int64) []byte {
	for i := 0; i < n; {
		v, run := value(i), 1
		for i+run < n && value(i+run) == v {
			run++
		}
		b = binary.AppendVarint(b, v)
		b = binary.AppendUvarint(b, uint64(run-1))
		i += run
	}
	return b
}

// DecodeSaved unpacks the times of entries that were received at these behind dst. A column of another number of entries,
// which a process that does not know it has left behind, tells nothing: they were saved as they were received. ErrColumn.
func DecodeSaved(dst []int64, b []byte, received []int64) ([]int64, error) {
	if len(b) == 0 {
		return append(dst, received...), nil
	}
	way := b[0]
	if b = b[1:]; way > 1 {
		return dst, fmt.Errorf("saved: %w", ErrColumn)
	}
	begin := len(dst)
	var last int64
	for i := 0; len(b) > 0; {
		v, used := binary.Varint(b)
		if used <= 0 {
			return dst, fmt.Errorf("saved: %w", ErrColumn)
		}
		run, used2 := binary.Uvarint(b[used:])
		if used2 <= 0 {
			return dst, fmt.Errorf("saved: %w", ErrColumn)
		}
		if run >= uint64(len(received)-i) {
			return append(dst[:begin], received...), nil
		}
		b = b[used+used2:]
		for range run + 1 {
			if last += v; way == 0 {
				last = received[i] + v
			}
			dst = append(dst, last)
			i++
		}
	}
	if len(dst)-begin < len(received) {
		return append(dst[:begin], received...), nil
	}
	return dst, nil
}

// ended tells whether a column has octets behind its last entry.
func ended(column string, rest []byte) error {
	if len(rest) > 0 {
		return fmt.Errorf("%s: %w: %d octets too many", column, ErrColumn, len(rest))
	}
	return nil
}
