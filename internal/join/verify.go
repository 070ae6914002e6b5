package join

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// Result tells what was joined and how the comparison went.
type Result struct {
	// Site names the join.
	Site    string  `json:"site"`
	Seconds float64 `json:"seconds"`
	Tables  []Table `json:"tables"`
	Bodies  Bodies  `json:"bodies"`
	// Damaged is mail that cannot be read at the site.
	Damaged []Damage `json:"damaged,omitempty"`
	// Same tells that all is as it should be.
	Same bool `json:"same"`
}

// Table is one that was compared. Digests are SHA-256 over the rows in the order of the site, with blob IDs as the farm has them.
type Table struct {
	Name string `json:"name"`
	// Rows are the site's, and Found how many the farm has of them, or more.
	Rows         int64  `json:"rows"`
	Found        int64  `json:"found"`
	Digest       string `json:"digest"`
	FoundDigest  string `json:"found_digest"`
	Same         bool   `json:"same"`
	FirstMissing string `json:"first_missing,omitempty"`
}

// Bodies tells of frames.
type Bodies struct {
	Frames int64 `json:"frames"`
	// Octets are those of all bodies, shared ones counted with each frame.
	Octets int64 `json:"octets"`
	// Gone were given back before, as nothing wanted them.
	Gone int64 `json:"gone"`
	// Unrouted will be published by recovery, and Withheld wait for an operator.
	Unrouted int64 `json:"unrouted"`
	Withheld int64 `json:"withheld"`
	// Read back were so many; Differ have another body, tail, kind or queue id.
	Read   int64    `json:"read"`
	Differ []string `json:"differ,omitempty"`
}

// Damage is a frame that cannot be read.
type Damage struct {
	Blob    string `json:"blob"`
	QueueID string `json:"queue_id,omitempty"`
}

// verify compares the farm with the site. It holds until the farm's roles are started.
func (j *joiner) verify(ctx context.Context) error {
	j.out.Tables, j.out.Same = nil, true
	for _, side := range []struct {
		tables []*table
		read   reading
	}{{directoryTables, j.src.accounts.Read}, {indexTables, j.src.index.Read}} {
		for _, t := range side.tables {
			got, err := j.compare(ctx, t, side.read)
			if err != nil {
				return fmt.Errorf("compare %s: %w", t.target, err)
			}
			j.out.Tables = append(j.out.Tables, got)
			j.out.Same = j.out.Same && got.Same
			j.deps.Say("verify: %s: %d rows, same: %t", t.target, got.Rows, got.Same)
		}
	}
	if err := j.bodies(ctx); err != nil {
		return fmt.Errorf("compare bodies: %w", err)
	}
	if err := j.damage(ctx); err != nil {
		return err
	}
	if !j.out.Same {
		return ErrDiffers
	}
	return nil
}

// compare reads a table on both sides.
func (j *joiner) compare(ctx context.Context, t *table, read reading) (Table, error) {
	out := Table{Name: t.target}
	here, there := sha256.New(), sha256.New()
	var matched int64
	for position := ""; ; {
		rows, next, err := t.batch(ctx, read, position)
		if err != nil {
			return out, err
		}
		if len(rows) == 0 {
			break
		}
		position = next
		if t.change != nil {
			if err := t.change(ctx, j, rows); err != nil {
				return out, err
			}
		}
		found, err := t.find(ctx, j.dst.db, rows)
		if err != nil {
			return out, err
		}
		for _, r := range rows {
			out.Rows++
			t.digest(here, r)
			got, ok := found[t.keyOf(r)]
			if ok {
				matched++
				t.digest(there, got)
			}
			if out.FirstMissing == "" && (!ok || !t.same(r, got)) {
				out.FirstMissing = fmt.Sprintf("%x", t.keyOf(r))
			}
		}
	}
	out.Digest, out.FoundDigest = fmt.Sprintf("%x", here.Sum(nil)), fmt.Sprintf("%x", there.Sum(nil))
	if out.Found = matched; !t.merge {
		s, err := j.dst.step(ctx, j.book.site, t.target)
		if err != nil {
			return out, err
		}
		err = j.dst.db.Read(ctx, func(tx *pgdb.ReadTx) error {
			return tx.QueryRow("SELECT count(*) FROM " + t.target).Scan(&out.Found)
		})
		if err != nil {
			return out, err
		}
		out.Found -= s.before
	}
	want := out.Rows
	if t.target == "withheld" {
		late, err := j.book.one(ctx, "SELECT COUNT(*) FROM frame WHERE need = 3 AND state = 1")
		if err != nil {
			return out, err
		}
		want += late
	}
	out.Same = matched == out.Rows && out.Found == want && out.Digest == out.FoundDigest
	return out, nil
}

// find reads the farm's rows with the keys of rows.
func (t *table) find(ctx context.Context, db *pgdb.DB, rows [][]any) (map[string][]any, error) {
	types := map[kind]string{number: "bigint", text: "text", octets: "bytea"}
	var arrays, equal []string
	args := make([]any, len(t.key))
	for i, name := range t.key {
		at := t.at(name)
		k := t.columns[at].kind
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, types[k]))
		equal = append(equal, fmt.Sprintf("t.%s = k.%s", name, name))
		switch k {
		case number:
			args[i] = columnOf[int64](rows, at)
		case text:
			args[i] = columnOf[string](rows, at)
		default:
			args[i] = columnOf[[]byte](rows, at)
		}
	}
	query := "SELECT t." + strings.Join(t.names(), ", t.") + " FROM unnest(" + strings.Join(arrays, ", ") + ") AS k (" +
		strings.Join(t.key, ", ") + ") JOIN " + t.target + " t ON " + strings.Join(equal, " AND ")
	found := make(map[string][]any, len(rows))
	err := db.Read(ctx, func(tx *pgdb.ReadTx) error {
		got, err := tx.Query(query, args...)
		if err != nil {
			return err
		}
		defer got.Close()
		for got.Next() {
			row, _, err := t.scan(got.Scan)
			if err != nil {
				return err
			}
			found[t.keyOf(row)] = row
		}
		return got.Err()
	})
	return found, err
}

func columnOf[T any](rows [][]any, at int) []T {
	all := make([]T, len(rows))
	for i, r := range rows {
		all[i] = r[at].(T)
	}
	return all
}

// keyOf is a row's key in the farm.
func (t *table) keyOf(row []any) string {
	var b []byte
	for _, name := range t.key {
		b = appendValue(b, row[t.at(name)])
	}
	return string(b)
}

// digest adds a row, but for what may differ.
func (t *table) digest(h hash.Hash, row []any) {
	var b []byte
	for i, v := range row {
		if !slices.Contains(t.loose, t.columns[i].name) {
			b = appendValue(b, v)
		}
	}
	h.Write(b)
}

func (t *table) same(a, b []any) bool {
	x, y := sha256.New(), sha256.New()
	t.digest(x, a)
	t.digest(y, b)
	return string(x.Sum(nil)) == string(y.Sum(nil))
}

// appendValue writes a value so that no two rows are written alike.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'n')
	case bool:
		if v {
			return append(b, 't')
		}
		return append(b, 'f')
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
	case string:
		return append(binary.BigEndian.AppendUint64(append(b, 's'), uint64(len(v))), v...)
	case []byte:
		return append(binary.BigEndian.AppendUint64(append(b, 'b'), uint64(len(v))), v...)
	}
	panic(fmt.Sprintf("value of type %T", v))
}

// bodies reads copies back from the bucket.
func (j *joiner) bodies(ctx context.Context) (err error) {
	out := Bodies{}
	for query, to := range map[string]*int64{
		"SELECT COUNT(*) FROM frame WHERE state = 1":               &out.Frames,
		"SELECT COALESCE(SUM(size), 0) FROM frame WHERE state = 1": &out.Octets,
		"SELECT COUNT(*) FROM frame WHERE state = 2":               &out.Gone,
		"SELECT COUNT(*) FROM frame WHERE state = 1 AND need = 2":  &out.Unrouted,
		"SELECT COUNT(*) FROM frame WHERE state = 1 AND need = 3":  &out.Withheld,
	} {
		if *to, err = j.book.one(ctx, query); err != nil {
			return err
		}
	}
	j.out.Bodies = out
	if out.Frames == 0 {
		return nil
	}
	blobs, err := j.dst.blobs(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	var mu sync.Mutex // guards j.out.Bodies and failed
	var failed error
	var wg sync.WaitGroup
	work := make(chan entry)
	for range largeAtOnce {
		wg.Go(func() {
			for e := range work {
				same, err := j.sameBody(ctx, blobs, e)
				mu.Lock()
				j.out.Bodies.Read++
				if n := j.out.Bodies.Read; n%10_000 == 0 {
					j.deps.Say("verify: %d bodies of %d", n, out.Frames/int64(j.cfg.OneBodyIn))
				}
				if err != nil {
					failed = errors.Join(failed, err)
				} else if !same {
					j.out.Bodies.Differ = append(j.out.Bodies.Differ, e.place.String())
					j.out.Same = false
				}
				mu.Unlock()
			}
		})
	}
	n := 0
	err = j.book.each(ctx, "state = 1", func(e entry) error {
		if n++; (n-1)%j.cfg.OneBodyIn != 0 {
			return nil
		}
		work <- e
		mu.Lock()
		defer mu.Unlock()
		return failed
	})
	close(work)
	wg.Wait()
	return errors.Join(err, failed)
}

// readBack is how much of a body is read at once.
const readBack = 1 << 20

// sameBody reads a copy. What is not there, or damaged, is another body.
func (j *joiner) sameBody(ctx context.Context, blobs *s3.Store, e entry) (bool, error) {
	wrong := func(err error) (bool, error) {
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
			return false, nil
		}
		return false, fmt.Errorf("read %v back: %w", e.place, err)
	}
	f, err := blobs.Open(ctx, e.place)
	if err != nil {
		return wrong(err)
	}
	defer f.Close()
	h := blake3.New()
	if _, err := io.CopyBuffer(onlyWriter{h}, f.Reader(), make([]byte, min(f.Size+1, readBack))); err != nil {
		return wrong(err)
	}
	return string(h.Sum(nil)) == string(e.digest) && string(f.Digest[:]) == string(e.digest) && f.Size == e.size &&
		string(metaOf(f.Meta, f.Size)) == string(e.meta), nil
}
