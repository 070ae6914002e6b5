package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/fnv"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
)

// Bounds of a piece, octets: below the first its lines stand where a reference would, at the second it ends whatever its keys
// say. cutEvery is after how many lines it ends, about, by their keys.
const (
	pieceLeast = 16 << 10
	pieceMost  = 4 << 20
)

var cutEvery = map[string]uint32{"email": 1024, "conversation": 4096, "chunk": 8, "removed": 8, "seen": 8, "tombstone": 64, "uid_mark": 4096, "imported": 4096}

// pieces writes lines as an object, and those of large tables as objects of their own: where one ends depends on its last key
// alone, so that the others stay as they are where lines come, go or change.
type pieces struct {
	repo *repo.Repo
	// top are the lines of the object that refers to the pieces.
	top   bytes.Buffer
	table string
	piece bytes.Buffer
	rows  int
}

// add adds a line with its end. Lines of a table come together.
func (p *pieces) add(ctx context.Context, table, key string, line []byte) error {
	if table != p.table {
		if err := p.cut(ctx); err != nil {
			return err
		}
		p.table = table
	}
	every := cutEvery[table]
	if every == 0 {
		p.top.Write(line)
		return nil
	}
	p.piece.Write(line)
	p.rows++
	h := fnv.New32a()
	h.Write([]byte(key))
	// The lower bits of FNV alone are no good for short keys.
	if sum := h.Sum32(); (sum^sum>>15)%every == 0 || p.piece.Len() >= pieceMost {
		return p.cut(ctx)
	}
	return nil
}

// cut ends the piece.
func (p *pieces) cut(ctx context.Context) error {
	defer func() {
		p.piece.Reset()
		p.rows = 0
	}()
	if p.piece.Len() < pieceLeast {
		p.top.Write(p.piece.Bytes())
		return nil
	}
	d, err := p.repo.AddBytes(ctx, repo.Rows, p.piece.Bytes())
	if err != nil {
		return err
	}
	return json.NewEncoder(&p.top).Encode(struct {
		Table string `json:"table"`
		Piece string `json:"piece"`
		Rows  int    `json:"lines"`
	}{p.table, d.String(), p.rows})
}

// end writes the object that refers to all of it.
func (p *pieces) end(ctx context.Context) (repo.Digest, error) {
	if err := p.cut(ctx); err != nil {
		return repo.Digest{}, err
	}
	return p.repo.AddBytes(ctx, repo.Rows, p.top.Bytes())
}

// lists writes lines to as many objects as they take: for what is read from its first line to its last.
type lists struct {
	repo    *repo.Repo
	buf     bytes.Buffer
	digests []string
}

func (l *lists) add(ctx context.Context, line []byte) error {
	l.buf.Write(line)
	if l.buf.Len() < pieceMost {
		return nil
	}
	return l.cut(ctx)
}

func (l *lists) cut(ctx context.Context) error {
	if l.buf.Len() == 0 {
		return nil
	}
	d, err := l.repo.AddBytes(ctx, repo.Rows, l.buf.Bytes())
	if err != nil {
		return err
	}
	l.digests = append(l.digests, d.String())
	l.buf.Reset()
	return nil
}

func (l *lists) end(ctx context.Context) ([]string, error) {
	err := l.cut(ctx)
	return append([]string{}, l.digests...), err
}

// readLines hands over the lines of an object, and those of the pieces that it refers to in their place.
func readLines(ctx context.Context, r *repo.Repo, object string, each func(fields map[string]json.RawMessage) error) error {
	b, err := readObject(ctx, r, object)
	if err != nil {
		return err
	}
	return repo.EachLine(bytes.NewReader(b), func(line []byte) error {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil {
			return err
		}
		piece, ok := fields["piece"]
		if !ok {
			return each(fields)
		}
		var name string
		if err := json.Unmarshal(piece, &name); err != nil {
			return err
		}
		return readLines(ctx, r, name, each)
	})
}

// readObject reads lines into memory: an object of lines has a few MiB.
func readObject(ctx context.Context, r *repo.Repo, object string) ([]byte, error) {
	d, err := repo.ParseDigest(object)
	if err != nil {
		return nil, err
	}
	return r.ReadAll(ctx, repo.Rows, d)
}
