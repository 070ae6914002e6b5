package repo

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Verified is what Verify found.
type Verified struct {
	Snapshots int   `json:"snapshots"`
	Packs     int   `json:"packs"`
	Objects   int64 `json:"objects"`
	Octets    int64 `json:"octets"`
	// Problems are sentences.
	Problems []string `json:"problems"`
}

// maxProblems bounds what is told.
const maxProblems = 1000

func (v *Verified) problem(format string, args ...any) {
	if len(v.Problems) < maxProblems {
		v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
	}
}

// Verify reads everything: each pack against the digest that it is named by, each object against its own, and all that
// snapshots refer to. say is told how far it is.
func (r *Repo) Verify(ctx context.Context, say func(done, all int)) (*Verified, error) {
	v := &Verified{Problems: []string{}}
	packs := r.Packs()
	for i, name := range packs {
		say(i, len(packs))
		if err := r.verifyPack(ctx, name, v); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			v.problem("pack %s: %v", name, err)
		}
		v.Packs++
	}
	say(len(packs), len(packs))
	list, err := r.Snapshots(ctx)
	if err != nil {
		v.problem("%v", err)
	}
	w := &walker{Repo: r, seen: map[key]bool{}, each: func(Kind, Digest) error { return nil }}
	for _, s := range list {
		w.bad = func(err error) { v.problem("snapshot %s: %v", s.Name, err) }
		if err := w.snapshot(ctx, s); err != nil {
			return nil, err
		}
		v.Snapshots++
	}
	return v, nil
}

func (r *Repo) verifyPack(ctx context.Context, name string, v *Verified) error {
	lines := map[string]int64{}
	if err := readIndex(ctx, r, name, func(_ Kind, _ Digest, l indexLine) error {
		lines[l.Name] = l.Octets
		return nil
	}); err != nil {
		return err
	}
	raw, err := r.Get(ctx, packName(name), 0, -1)
	if err != nil {
		return err
	}
	defer raw.Close()
	whole := sha256.New()
	tee := io.TeeReader(raw, whole)
	z, err := zstd.NewReader(tee, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	bad := readMembers(z, lines, v)
	// The rest of a damaged pack counts towards its digest as well.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return errors.Join(bad, err)
	}
	if got := hex.EncodeToString(whole.Sum(nil)); got != name {
		return errors.Join(bad, fmt.Errorf("%w: its digest is %s", ErrCorrupt, got))
	}
	for member := range lines {
		bad = errors.Join(bad, fmt.Errorf("%s: %w", member, ErrNotFound))
	}
	return bad
}

// readMembers compares members with their names, and takes them out of lines.
func readMembers(r io.Reader, lines map[string]int64, v *Verified) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		_, d, err := memberOf(h.Name)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		sum := sha256.New()
		n, err := io.Copy(sum, t)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", h.Name, ErrCorrupt, err)
		}
		if Digest(sum.Sum(nil)) != d || n != lines[h.Name] {
			return fmt.Errorf("%s: %w: another digest", h.Name, ErrCorrupt)
		}
		delete(lines, h.Name)
		v.Objects++
		v.Octets += n
	}
}
