package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"

	"archive/tar"

	"github.com/klauspost/compress/zstd"
)

// DefaultPackBytes is how large a pack becomes before the next is begun.
const DefaultPackBytes = 64 << 20

// spoolMemory is how much of an object is held in memory while its digest is not known.
const spoolMemory = 1 << 20

// Repo is a repository that was opened. Its methods may be called at once from several goroutines, but for those that write.
type Repo struct {
	Backend
	// Temp is where packs are made; empty: the system's place for temporary files. PackBytes is how large they become.
	Temp      string
	PackBytes int64
	// Fault, where it is set, may fail at a step: for tests.
	Fault func(step string) error

	mu    sync.Mutex
	packs []string
	// objects takes some 100 octets of memory for each.
	objects map[key]place
	pending *packing
	// waiting are the objects of the pack that is being made.
	waiting map[key]bool
	// Written counts what this process added.
	Written Written
}

// Written is what was added.
type Written struct {
	Packs  int `json:"packs"`
	Bodies int `json:"bodies"`
	Rows   int `json:"rows"`
	// Octets are those of objects, Stored those of packs.
	Octets int64 `json:"octets"`
	Stored int64 `json:"stored"`
}

type place struct {
	at, stored, octets int64
	pack               uint32
}

// key is what an object is found by: its kind, since a message may be made of the same octets as rows are, none at all for
// one, and the first 20 octets of its digest, which nobody can make alike.
type key [21]byte

func keyOf(kind Kind, d Digest) (k key) {
	k[0] = kind[0]
	copy(k[1:], d[:])
	return k
}

// Open reads the indexes of all packs. A pack without one is what a run that ended early left: nobody refers to it.
func Open(ctx context.Context, b Backend) (*Repo, error) {
	r := &Repo{Backend: b, PackBytes: DefaultPackBytes, objects: map[key]place{}, waiting: map[key]bool{}}
	files, err := b.List(ctx, "packs")
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", b, err)
	}
	whole := map[string]bool{}
	for _, f := range files {
		if strings.HasSuffix(f.Name, sealedSuffix) {
			return nil, fmt.Errorf("open repository %s: %w: the secret key is needed", b, ErrSealed)
		}
		if name, ok := strings.CutSuffix(strings.TrimPrefix(f.Name, "packs/"), ".tar.zst"); ok {
			whole[name] = true
		}
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(strings.TrimPrefix(f.Name, "packs/"), ".jsonl")
		if !ok || !whole[name] {
			continue
		}
		if err := r.load(ctx, name); err != nil {
			return nil, fmt.Errorf("open repository %s: %w", b, err)
		}
	}
	return r, nil
}

func (r *Repo) load(ctx context.Context, name string) error {
	r.packs = append(r.packs, name)
	number := uint32(len(r.packs) - 1)
	return readIndex(ctx, r, name, func(k Kind, d Digest, l indexLine) error {
		r.objects[keyOf(k, d)] = place{l.At, l.Stored, l.Octets, number}
		return nil
	})
}

// Has tells whether an object is there, and how large it is.
func (r *Repo) Has(kind Kind, d Digest) (int64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.objects[keyOf(kind, d)]
	return p.octets, ok
}

// Add adds an object, where it is not there, and tells its digest. It is durable after Flush.
func (r *Repo) Add(ctx context.Context, kind Kind, body io.Reader) (Digest, int64, error) {
	var memory bytes.Buffer
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(&memory, h), io.LimitReader(body, spoolMemory))
	if err != nil {
		return Digest{}, 0, err
	}
	var again io.Reader = &memory
	if n == spoolMemory {
		f, err := os.CreateTemp(r.Temp, "mailfarm-backup-*")
		if err != nil {
			return Digest{}, 0, err
		}
		defer f.Close()
		if err := os.Remove(f.Name()); err != nil {
			return Digest{}, 0, err
		}
		more, err := io.Copy(io.MultiWriter(f, h), body)
		if err != nil {
			return Digest{}, 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return Digest{}, 0, err
		}
		n += more
		again = io.MultiReader(&memory, f)
	}
	d := Digest(h.Sum(nil))
	return d, n, r.add(ctx, kind, d, n, again)
}

// AddBytes is Add of what is in memory.
func (r *Repo) AddBytes(ctx context.Context, kind Kind, b []byte) (Digest, error) {
	d := Digest(sha256.Sum256(b))
	return d, r.add(ctx, kind, d, int64(len(b)), bytes.NewReader(b))
}

func (r *Repo) add(ctx context.Context, kind Kind, d Digest, size int64, body io.Reader) (err error) {
	r.mu.Lock()
	_, there := r.objects[keyOf(kind, d)]
	there = there || r.waiting[keyOf(kind, d)]
	r.mu.Unlock()
	if there {
		return nil
	}
	if r.pending == nil {
		if r.pending, err = newPacking(r.Temp); err != nil {
			return fmt.Errorf("begin pack: %w", err)
		}
	}
	if err := r.pending.add(kind, d, size, body); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	r.waiting[keyOf(kind, d)] = true
	if kind == Body {
		r.Written.Bodies++
	} else {
		r.Written.Rows++
	}
	r.Written.Octets += size
	if r.pending.at >= r.PackBytes {
		return r.Flush(ctx)
	}
	return nil
}

// Flush makes all that was added durable.
func (r *Repo) Flush(ctx context.Context) error {
	if r.pending == nil {
		return nil
	}
	if err := r.fault("pack"); err != nil {
		return err
	}
	p := r.pending
	name, err := p.close(ctx, r)
	if err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	r.mu.Lock()
	r.packs = append(r.packs, name)
	for _, l := range p.lines {
		k, d, err := memberOf(l.Name)
		if err != nil {
			r.mu.Unlock()
			return err
		}
		r.objects[keyOf(k, d)] = place{l.At, l.Stored, l.Octets, uint32(len(r.packs) - 1)}
	}
	r.mu.Unlock()
	r.Written.Packs++
	r.Written.Stored += p.at
	r.pending, r.waiting = nil, map[key]bool{}
	return r.fault("packed")
}

func (r *Repo) fault(step string) error {
	if r.Fault == nil {
		return nil
	}
	return r.Fault(step)
}

// Read hands an object to read, which it must read to the end: only then is its digest known to be right. ErrNotFound, ErrCorrupt.
func (r *Repo) Read(ctx context.Context, kind Kind, d Digest, read func(body io.Reader, size int64) error) error {
	if r.waiting[keyOf(kind, d)] {
		if err := r.Flush(ctx); err != nil {
			return err
		}
	}
	r.mu.Lock()
	p, ok := r.objects[keyOf(kind, d)]
	pack := ""
	if ok {
		pack = r.packs[p.pack]
	}
	r.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s: %w", kind.member(d), ErrNotFound)
	}
	raw, err := r.Get(ctx, packName(pack), p.at, p.stored)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := readMember(raw, kind, d, read); err != nil {
		return fmt.Errorf("%s of pack %s: %w", kind.member(d), pack, err)
	}
	return nil
}

// ReadAll reads an object into memory.
func (r *Repo) ReadAll(ctx context.Context, kind Kind, d Digest) (b []byte, err error) {
	err = r.Read(ctx, kind, d, func(body io.Reader, _ int64) error {
		b, err = io.ReadAll(body)
		return err
	})
	return b, err
}

// source tells what fails in reading from what fails in those who read.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func readMember(raw io.Reader, kind Kind, d Digest, read func(io.Reader, int64) error) error {
	z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	t := tar.NewReader(z)
	header, err := t.Next()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if header.Name != kind.member(d) {
		return fmt.Errorf("%w: %q lies there", ErrCorrupt, header.Name)
	}
	h := sha256.New()
	s := &source{r: io.TeeReader(t, h)}
	if err := read(s, header.Size); err != nil {
		if s.err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return err
	}
	// What was not read counts as well.
	if _, err := io.Copy(io.Discard, s); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if Digest(h.Sum(nil)) != d {
		return fmt.Errorf("%w: another digest", ErrCorrupt)
	}
	return nil
}

// Packs are the names of those that are whole, sorted.
func (r *Repo) Packs() []string {
	list := append([]string{}, r.packs...)
	sort.Strings(list)
	return list
}

// Close gives up what was not flushed.
func (r *Repo) Close() error {
	if r.pending == nil {
		return nil
	}
	p := r.pending
	r.pending = nil
	return errors.Join(p.f.Close())
}

// Pending tells whether an object waits for Flush.
func (r *Repo) Pending(kind Kind, d Digest) bool { return r.waiting[keyOf(kind, d)] }
