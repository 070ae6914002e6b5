package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Limits bound what a peer may make the reader hold. All are octets.
type Limits struct {
	// Line bounds what stands between two literals of a command.
	Line int
	// Command bounds a command with those of its literals that are kept with it.
	Command int
	// Drop bounds what of one refused command is read only to be dropped.
	Drop int64
}

// Errors of Command. After ErrTooLong and ErrRefused the whole command has been dropped and the dialogue can go on.
var (
	// ErrTooLong is a line or command above its limit.
	ErrTooLong = errors.New("command line too long")
	// ErrRefused is a command whose literal was refused.
	ErrRefused = errors.New("literal refused")
	// ErrFlood is a refused command with more behind it than is read to be dropped: end the connection.
	ErrFlood = errors.New("refused command does not end")
)

// Literal is the announcement of a literal at the end of a line (RFC 9051 §4.3, RFC 7888, RFC 3516 for Binary).
type Literal struct {
	Size int64
	// NonSync tells that the octets follow without being asked for.
	NonSync bool
	// Binary is literal8.
	Binary bool
}

// Action is what becomes of a literal.
type Action int

const (
	// Refuse drops the command: a literal that waits to be asked for never comes, another is read and dropped.
	Refuse Action = iota
	// Inline keeps the literal with its command; the reader asks for it where it is synchronising, and has room.
	Inline
	// Stream ends the command here: the caller asks for the literal where it is synchronising, and reads it by ReadLiteral.
	Stream
)

// markerMax is the longest announcement: ~{18446744073709551615+} and CRLF.
const markerMax = 32

// keepMax is how much of a dropped command is still given back: enough for tag and verb.
const keepMax = 96

// Sizes of the buffers; the first lies within the Reader, so that a connection that waits holds no other.
const (
	smallBuffer  = 256
	middleBuffer = 8 << 10
)

var middlePool = sync.Pool{New: func() any { b := make([]byte, middleBuffer); return &b }}

// Reader assembles commands: lines with their literals in one piece of memory.
//
// It is for one goroutine. A slice it returns holds until the next call of Command or Wait.
type Reader struct {
	src    io.Reader
	ask    func()
	limits Limits
	buf    []byte
	pooled *[]byte // what buf is, if it came from middlePool
	start  int     // the command being assembled
	end    int     // end of what is assembled or dropped
	w      int     // end of what was read

	total    int64 // octets that src gave
	streamed int64 // octets of a Stream literal still to be read
	stopped  bool  // Command stopped at a Stream literal
	nonSync  bool  // which comes without being asked for
	dropped  int64 // octets dropped of this command
	nkept    int
	small    [smallBuffer]byte
	kept     [keepMax]byte // beginning of a dropped command
}

// NewReader reads from src. Before a src blocks it should flush what was written: the reader only calls it when it has
// nothing more in memory to go on with.
//
// ask writes the continuation request for a literal that is kept.
func NewReader(src io.Reader, limits Limits, ask func()) *Reader {
	r := &Reader{src: src, limits: limits, ask: ask}
	r.buf = r.small[:]
	return r
}

// Reset goes on with another source and drops what was read ahead (STARTTLS: octets sent in clear behind the command must
// not be taken for octets sent in private, RFC 9051 §6.2.1). It tells whether there were any.
func (r *Reader) Reset(src io.Reader) bool {
	ahead := r.w > r.end
	r.release()
	r.src = src
	return ahead
}

// Wait blocks until something of the next command is there, and holds no more than a small buffer while it does.
func (r *Reader) Wait() error {
	r.start = r.end
	if r.end < r.w {
		return nil
	}
	r.release()
	return r.fill()
}

// Consumed is how many octets were assembled, read as literals or dropped so far.
func (r *Reader) Consumed() int64 { return r.total - int64(r.w-r.end) }

// Ready tells whether a whole line is there already.
func (r *Reader) Ready() bool { return bytes.IndexByte(r.buf[r.end:r.w], '\n') >= 0 }

func (r *Reader) release() {
	if r.pooled != nil {
		middlePool.Put(r.pooled)
		r.pooled = nil
	}
	r.buf = r.small[:]
	r.start, r.end, r.w = 0, 0, 0
}

// fill reads once, making room first.
func (r *Reader) fill() error {
	if r.w == len(r.buf) {
		r.room()
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		r.total += int64(n)
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// room moves the command to the buffer's beginning, or to a larger buffer.
func (r *Reader) room() {
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.w])
		r.w -= r.start
		r.end -= r.start
		r.start = 0
		return
	}
	var next []byte
	var pooled *[]byte
	if len(r.buf) < middleBuffer {
		pooled = middlePool.Get().(*[]byte)
		next = *pooled
	} else {
		next = make([]byte, 2*len(r.buf))
	}
	copy(next, r.buf[:r.w])
	if r.pooled != nil {
		middlePool.Put(r.pooled)
	}
	r.buf, r.pooled = next, pooled
}

// Command reads the next command, or what follows a streamed literal: lines without their last CRLF, literals with their
// announcement. A line may end in LF alone.
//
// decide is asked at each literal, with the command so far; nil refuses all. With ErrTooLong, ErrRefused and ErrFlood comes
// the command's beginning.
func (r *Reader) Command(decide func(sofar []byte, lit Literal) Action) ([]byte, error) {
	r.start, r.dropped, r.stopped, r.streamed = r.end, 0, false, 0
	for {
		line := r.end - r.start // offset of this line, which moving the buffer keeps
		if err := r.line(); err == ErrTooLong {
			return r.drop(ErrTooLong, line)
		} else if err != nil {
			return nil, err
		}
		text := r.buf[r.start:r.end]
		lit, ok := marker(text[line:])
		if !ok {
			return trimEOL(text), nil
		}
		action := Refuse
		if lit.Size >= 0 && decide != nil {
			action = decide(text, lit)
		}
		switch {
		case action == Stream:
			r.streamed, r.stopped, r.nonSync = lit.Size, true, lit.NonSync
			return text, nil
		case action == Inline && int64(len(text))+lit.Size <= int64(r.limits.Command):
			if !lit.NonSync {
				r.ask()
			}
			if err := r.take(int(lit.Size)); err != nil {
				return nil, err
			}
		default:
			reason := ErrRefused
			if action == Inline {
				reason = ErrTooLong
			}
			r.keep()
			if !lit.NonSync {
				return r.kept[:r.nkept], reason
			}
			r.start = r.end
			return r.dropLiteral(reason, lit)
		}
	}
}

// line extends the command by one line.
func (r *Reader) line() error {
	begin, scan := r.end-r.start, r.end-r.start
	for {
		i := bytes.IndexByte(r.buf[r.start+scan:r.w], '\n')
		if i >= 0 {
			r.end = r.start + scan + i + 1
		}
		length := r.w - r.start - begin
		if i >= 0 {
			length = r.end - r.start - begin
		}
		if length > r.limits.Line || begin+length > r.limits.Command {
			return ErrTooLong
		}
		if i >= 0 {
			return nil
		}
		scan = r.w - r.start
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// take extends the command by n octets of a literal.
func (r *Reader) take(n int) error {
	for r.w-r.end < n {
		missing := n - (r.w - r.end)
		if err := r.fill(); err != nil {
			return err
		}
		if missing == n-(r.w-r.end) {
			return io.ErrNoProgress
		}
	}
	r.end += n
	return nil
}

// drop gives up the command from its line at the given offset on.
func (r *Reader) drop(reason error, line int) ([]byte, error) {
	r.nkept = copy(r.kept[:], r.buf[r.start:r.w])
	r.start, r.end = r.start+line, r.start+line
	lit, ok, err := r.dropLine()
	if err == nil && ok && lit.NonSync {
		return r.dropLiteral(reason, lit)
	}
	if err != nil {
		return nil, err
	}
	return r.kept[:r.nkept], reason
}

// dropLiteral drops literals and lines until a line ends the command.
func (r *Reader) dropLiteral(reason error, lit Literal) ([]byte, error) {
	for {
		if err := r.skip(lit.Size); err != nil {
			return r.kept[:r.nkept], err
		}
		next, ok, err := r.dropLine()
		if err != nil {
			return r.kept[:r.nkept], err
		}
		if !ok || !next.NonSync {
			return r.kept[:r.nkept], reason
		}
		lit = next
	}
}

// keep copies the command's beginning, so that the rest may be overwritten.
func (r *Reader) keep() { r.nkept = copy(r.kept[:], r.buf[r.start:r.end]) }

// dropLine reads up to the next LF and tells the literal announced before it.
func (r *Reader) dropLine() (Literal, bool, error) {
	var tail [markerMax]byte
	n := 0
	for {
		chunk := r.buf[r.end:r.w]
		i := bytes.IndexByte(chunk, '\n')
		if i >= 0 {
			chunk = chunk[:i+1]
		}
		n = appendTail(&tail, n, chunk)
		if err := r.advance(len(chunk)); err != nil {
			return Literal{}, false, err
		}
		if i >= 0 {
			lit, ok := marker(tail[:n])
			return lit, ok, nil
		}
		if err := r.refill(); err != nil {
			return Literal{}, false, err
		}
	}
}

// appendTail keeps the last octets of a line that comes in pieces.
func appendTail(tail *[markerMax]byte, n int, chunk []byte) int {
	if len(chunk) >= markerMax {
		return copy(tail[:], chunk[len(chunk)-markerMax:])
	}
	if over := n + len(chunk) - markerMax; over > 0 {
		copy(tail[:], tail[over:n])
		n -= over
	}
	return n + copy(tail[n:], chunk)
}

// skip drops n octets.
func (r *Reader) skip(n int64) error {
	if n < 0 || n > r.limits.Drop-r.dropped {
		return ErrFlood
	}
	for {
		have := min(int64(r.w-r.end), n)
		if err := r.advance(int(have)); err != nil {
			return err
		}
		if n -= have; n == 0 {
			return nil
		}
		if err := r.refill(); err != nil {
			return err
		}
	}
}

// advance drops n octets of what was read. The limit is counted here, octet by octet dropped, so that it does not depend on
// how they were cut into reads.
func (r *Reader) advance(n int) error {
	r.end += n
	r.start = r.end
	if r.dropped += int64(n); r.dropped > r.limits.Drop {
		return ErrFlood
	}
	return nil
}

// refill reads on once all that was read is dropped.
func (r *Reader) refill() error {
	r.start, r.end, r.w = 0, 0, 0
	return r.fill()
}

// ReadLiteral reads of the literal that Command stopped at; io.EOF behind its last octet.
func (r *Reader) ReadLiteral(p []byte) (int, error) {
	if r.streamed == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.streamed)]
	if r.w > r.end {
		n := copy(p, r.buf[r.end:r.w])
		r.end += n
		r.streamed -= int64(n)
		return n, nil
	}
	n, err := r.src.Read(p)
	r.total += int64(n)
	r.streamed -= int64(n)
	if n > 0 {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// NonSync tells whether the literal that Command stopped at comes without being asked for.
func (r *Reader) NonSync() bool { return r.stopped && r.nonSync }

// DropLiteral gives up the command that Command stopped at a literal of, from what of the literal is not read yet to its end.
// Without such a literal it does nothing. asked tells that the octets come: the literal is not synchronising, or was asked
// for. Error: ErrFlood.
func (r *Reader) DropLiteral(asked bool) error {
	if !r.stopped {
		return nil
	}
	n := r.streamed
	r.stopped, r.streamed = false, 0
	if !asked {
		return nil
	}
	r.start, r.dropped = r.end, 0
	_, err := r.dropLiteral(nil, Literal{Size: n})
	return err
}

func trimEOL(line []byte) []byte {
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// marker finds the announcement of a literal at the end of a line. A size above what 18 digits can say is -1.
func marker(line []byte) (Literal, bool) {
	line = trimEOL(line)
	n := len(line)
	if n < 3 || line[n-1] != '}' {
		return Literal{}, false
	}
	if n > markerMax {
		line = line[n-markerMax:]
		n = markerMax
	}
	var lit Literal
	i := n - 2
	if line[i] == '+' {
		lit.NonSync = true
		i--
	}
	digits := i + 1
	for i >= 0 && line[i] >= '0' && line[i] <= '9' {
		i--
	}
	if i < 0 || line[i] != '{' || i+1 == digits {
		return Literal{}, false
	}
	if digits-i-1 > 18 {
		lit.Size = -1
	} else {
		for _, c := range line[i+1 : digits] {
			lit.Size = lit.Size*10 + int64(c-'0')
		}
	}
	lit.Binary = i > 0 && line[i-1] == '~'
	return lit, true
}
