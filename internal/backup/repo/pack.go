package repo

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Digest is the SHA-256 that an object is named by.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads what String wrote.
func ParseDigest(s string) (d Digest, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("%q is no SHA-256", s)
	}
	return Digest(b), nil
}

// Kind is what an object is.
type Kind string

// The kinds.
const (
	// Body is a message as it was stored.
	Body Kind = "body"
	// Rows are lines of JSON.
	Rows Kind = "rows"
)

func (k Kind) member(d Digest) string {
	if k == Body {
		return "body/" + d.String() + ".eml"
	}
	return "rows/" + d.String() + ".jsonl"
}

// memberOf reads a member's name.
func memberOf(name string) (Kind, Digest, error) {
	kind, rest, _ := strings.Cut(name, "/")
	digest, _, _ := strings.Cut(rest, ".")
	d, err := ParseDigest(digest)
	if err == nil && name != Kind(kind).member(d) {
		err = fmt.Errorf("%q is no member of ours", name)
	}
	return Kind(kind), d, err
}

// indexLine is one of a pack's index.
type indexLine struct {
	Name string `json:"name"`
	// Octets is how many it has; At and Stored where its part of the pack begins, and how long that is.
	Octets int64 `json:"octets"`
	At     int64 `json:"at"`
	Stored int64 `json:"stored"`
}

// packing is a pack being written, in a temporary file.
type packing struct {
	f       *os.File
	hash    hash.Hash
	at      int64
	lines   []indexLine
	encoder *zstd.Encoder
}

func newPacking(folder string) (*packing, error) {
	f, err := os.CreateTemp(folder, "mailfarm-backup-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil { // gone with the process
		return nil, errors.Join(err, f.Close())
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &packing{f: f, hash: sha256.New(), encoder: enc}, nil
}

// Write counts and hashes what goes to the file.
func (p *packing) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.hash.Write(b[:n])
	p.at += int64(n)
	return n, err
}

// frame compresses what write writes by itself, so that it can be read by itself.
func (p *packing) frame(write func(io.Writer) error) error {
	p.encoder.Reset(p)
	if err := write(p.encoder); err != nil {
		return err
	}
	return p.encoder.Close()
}

// add adds a member.
func (p *packing) add(kind Kind, d Digest, size int64, body io.Reader) error {
	at := p.at
	err := p.frame(func(w io.Writer) error {
		t := tar.NewWriter(w)
		// Times would make packs of the same objects differ.
		if err := t.WriteHeader(&tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: kind.member(d), Size: size, Mode: 0o600, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		if _, err := io.Copy(t, body); err != nil {
			return err
		}
		return t.Flush() // no end of the archive yet
	})
	if err != nil {
		return err
	}
	p.lines = append(p.lines, indexLine{kind.member(d), size, at, p.at - at})
	return nil
}

// close ends the archive, puts pack and index to their place, and gives up the temporary file.
func (p *packing) close(ctx context.Context, to Backend) (name string, err error) {
	defer func() { err = errors.Join(err, p.f.Close()) }()
	err = p.frame(func(w io.Writer) error { return tar.NewWriter(w).Close() })
	if err != nil {
		return "", err
	}
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	name = hex.EncodeToString(p.hash.Sum(nil))
	if err := to.Put(ctx, packName(name), p.f, p.at); err != nil {
		return "", err
	}
	var index bytes.Buffer
	e := json.NewEncoder(&index)
	for _, l := range p.lines {
		if err := e.Encode(l); err != nil {
			return "", err
		}
	}
	return name, to.Put(ctx, indexName(name), bytes.NewReader(index.Bytes()), int64(index.Len()))
}

func packName(name string) string  { return "packs/" + name + ".tar.zst" }
func indexName(name string) string { return "packs/" + name + ".jsonl" }

// readIndex hands over the lines of a pack's index.
func readIndex(ctx context.Context, b Backend, name string, each func(Kind, Digest, indexLine) error) error {
	r, err := b.Get(ctx, indexName(name), 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	d := json.NewDecoder(bufio.NewReader(r))
	for {
		var l indexLine
		if err := d.Decode(&l); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w: %w", indexName(name), ErrCorrupt, err)
		}
		kind, digest, err := memberOf(l.Name)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", indexName(name), ErrCorrupt, err)
		}
		if err := each(kind, digest, l); err != nil {
			return err
		}
	}
}
