package imap

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/inflate"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// deflatePiece is the most that is compressed in one go.
//
// Memory of compression: a session keeps what decompressing needs, below 40 KiB (package inflate). It keeps nothing for what it
// writes: each write is compressed by a borrowed compressor and flushed, so that there are no more of these than processors at
// work.
const deflatePiece = 64 << 10

// compress turns compression on (RFC 4978). It comes after the login: before it, a stranger's octets cost more than ours.
func (s *session) compress(l *wire.Lexer) (reply, error) {
	l.Space()
	mechanism := string(l.Word())
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	switch {
	case s.inflate != nil:
		return no("COMPRESSIONACTIVE", "compression is on already"), nil
	case mechanism != "DEFLATE":
		return no("CANNOT", "only DEFLATE is offered"), nil
	case s.svc.cfg.NoCompress:
		return no("CANNOT", "compression is not offered"), nil
	}
	s.answer(reply{text: "compression begins"})
	if s.out.Flush() != nil {
		return reply{silent: true}, nil
	}
	if s.in.Reset(&s.conn) {
		// RFC 4978 §3: nothing may come before our answer is read.
		s.log.Info("octets behind COMPRESS dropped")
	}
	s.inflate = inflate.NewReader(received{&s.conn})
	s.card.Change(func(c *presence.State) { c.Compressed = true })
	return reply{silent: true}, nil
}

// received reads what came over the connection as it came.
type received struct{ c *conn }

func (r received) Read(p []byte) (int, error) { return r.c.receive(p) }

var (
	deflaters = sync.Pool{New: func() any {
		w, _ := flate.NewWriter(io.Discard, flate.BestSpeed) // fails for unknown levels only
		return w
	}}
	deflated = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// deflate compresses p and hands the result to write, in pieces. Each refers to nothing before it, so that no history is kept,
// and ends at an octet's boundary, so that what another compressor writes can follow.
func deflate(p []byte, write func([]byte) error) error {
	out := deflated.Get().(*bytes.Buffer)
	defer deflated.Put(out)
	for piece := range slices.Chunk(p, deflatePiece) {
		out.Reset()
		if err := deflatePieceTo(out, piece); err != nil {
			return err
		}
		if err := write(out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// deflatePieceTo borrows a compressor for no longer than it works: a client may take its time to read.
func deflatePieceTo(out *bytes.Buffer, piece []byte) error {
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(out)
	if _, err := w.Write(piece); err != nil {
		return err
	}
	return w.Flush()
}
