package repo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// reference is what a line of JSON may refer to.
type reference struct {
	// Rows are an account's, Piece more lines of the same table, Body a message's.
	Rows  string `json:"rows"`
	Piece string `json:"piece"`
	Body  string `json:"body"`
}

// walker goes through all that snapshots refer to, each object once.
type walker struct {
	*Repo
	seen map[key]bool
	// each is told of every object.
	each func(Kind, Digest) error
	// bad is told of an object that is not there, or cannot be read; nil: it ends the walk.
	bad func(error)
}

func (w *walker) snapshot(ctx context.Context, s *Snapshot) error {
	for _, root := range s.roots() {
		if err := w.rows(ctx, root); err != nil {
			return fmt.Errorf("snapshot %s: %w", s.Name, err)
		}
	}
	return nil
}

func (w *walker) visit(kind Kind, text string) (d Digest, again bool, err error) {
	if d, err = ParseDigest(text); err != nil {
		return d, false, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if w.seen[keyOf(kind, d)] {
		return d, true, nil
	}
	w.seen[keyOf(kind, d)] = true
	if _, ok := w.Has(kind, d); !ok {
		return d, false, fmt.Errorf("%s: %w", kind.member(d), ErrNotFound)
	}
	return d, false, w.each(kind, d)
}

func (w *walker) fails(err error) error {
	if w.bad != nil && err != nil {
		w.bad(err)
		return nil
	}
	return err
}

func (w *walker) rows(ctx context.Context, text string) error {
	d, again, err := w.visit(Rows, text)
	if err != nil || again {
		return w.fails(err)
	}
	var below []string
	err = w.Read(ctx, Rows, d, func(body io.Reader, _ int64) error {
		return EachLine(body, func(line []byte) error {
			var ref reference
			if err := json.Unmarshal(line, &ref); err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			if ref.Body != "" {
				if _, _, err := w.visit(Body, ref.Body); err != nil {
					if err := w.fails(err); err != nil {
						return err
					}
				}
			}
			for _, r := range []string{ref.Rows, ref.Piece} {
				if r != "" {
					below = append(below, r)
				}
			}
			return nil
		})
	})
	if err != nil {
		return w.fails(err)
	}
	for _, r := range below {
		if err := w.rows(ctx, r); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// maxLine bounds a line of JSON, octets.
const maxLine = 64 << 20

// EachLine hands over lines without their ends.
func EachLine(r io.Reader, each func(line []byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	for s.Scan() {
		if err := each(s.Bytes()); err != nil {
			return err
		}
	}
	return s.Err()
}
