package backup

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// tries is how often an account is read whose bodies went away meanwhile.
const tries = 3

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// read copies an account: its rows at one moment go to a temporary file, as the database must not wait for bodies.
func (r *run) read(ctx context.Context, id uint64, queued []*storev1.QueuedFor, before string) (line *accountLine, err error) {
	known, err := r.learnBodies(ctx, before)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		line, err = r.readOnce(ctx, id, queued, known)
		if err != nil || len(line.Missing) == 0 || try == tries {
			return line, err
		}
	}
}

// learnBodies are those that rows which are in the repository tell of.
func (r *run) learnBodies(ctx context.Context, rows string) (map[blobID]repo.Digest, error) {
	known := map[blobID]repo.Digest{}
	if rows == "" || !r.has(rows) {
		return known, nil
	}
	return known, r.bodies.learn(ctx, rows, known)
}

func (r *run) readOnce(ctx context.Context, id uint64, queued []*storev1.QueuedFor, known map[blobID]repo.Digest) (*accountLine, error) {
	spool, err := r.spoolFile()
	if err != nil {
		return nil, err
	}
	defer spool.Close()
	if err := r.spool(ctx, spool, &storev1.DumpRequest{Account: id, Queued: queued}); err != nil {
		return nil, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	a := r.reading(id, known)
	from := bufio.NewReaderSize(spool, spoolBuffer)
	for {
		page := &storev1.DumpResponse{}
		err := protodelim.UnmarshalOptions{MaxSize: -1}.UnmarshalFrom(from, page)
		if errors.Is(err, io.EOF) {
			return a.end(ctx)
		}
		if err == nil {
			err = a.page(ctx, page.GetTables(), page.GetRows())
		}
		if err != nil {
			return nil, err
		}
	}
}

// spoolBuffer is how much of a temporary file is in memory, octets.
const spoolBuffer = 256 << 10

// spoolFile is a temporary file without a name.
func (r *run) spoolFile() (*os.File, error) {
	f, err := os.CreateTemp(r.Repo.Temp, "mailfarm-backup-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (r *run) spool(ctx context.Context, f *os.File, req *storev1.DumpRequest) error {
	w := bufio.NewWriterSize(f, spoolBuffer)
	stream, err := r.Store.Dump(ctx, req)
	for err == nil {
		var page *storev1.DumpResponse
		if page, err = stream.Recv(); err == nil {
			_, err = protodelim.MarshalTo(w, page)
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return w.Flush()
}

// emailBatch is how many bodies are asked for at once.
const emailBatch = 128

// reading is an account on its way.
type reading struct {
	*run
	line   *accountLine
	tables []*storev1.BackupTable
	known  map[blobID]repo.Digest
	words  keywords
	pieces pieces
	// batch are emails whose lines wait for their bodies.
	batch []values
}

func (r *run) reading(id uint64, known map[blobID]repo.Digest) *reading {
	return &reading{run: r, line: &accountLine{Account: id}, known: known, words: keywords{}, pieces: pieces{repo: r.Repo}}
}

// page takes rows; tables come with the first.
func (a *reading) page(ctx context.Context, tables []*storev1.BackupTable, rows []*storev1.BackupRow) error {
	if len(tables) > 0 {
		a.tables = tables
	}
	for _, row := range rows {
		if err := a.row(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// end writes what is left.
func (a *reading) end(ctx context.Context) (*accountLine, error) {
	if err := a.emails(ctx); err != nil {
		return nil, err
	}
	d, err := a.pieces.end(ctx)
	a.line.Rows = d.String()
	return a.line, err
}

func (a *reading) row(ctx context.Context, row *storev1.BackupRow) error {
	if int(row.GetTable()) >= len(a.tables) {
		return fmt.Errorf("row of table %d of %d", row.GetTable(), len(a.tables))
	}
	t := a.tables[row.GetTable()]
	v, err := valuesOf(t, row)
	if err != nil {
		return err
	}
	switch t.GetName() {
	case "email":
		if a.batch = append(a.batch, v); len(a.batch) < emailBatch {
			return nil
		}
		return a.emails(ctx)
	case "mailbox":
		a.words[v.number("mailbox")] = strings.Fields(v.text("keywords"))
	case "account":
		a.line.ModSeq, a.line.Messages, a.line.Octets = uint64(v.number("mod_seq")), v.number("messages"), v.number("size")
	}
	if err := a.emails(ctx); err != nil {
		return err
	}
	return a.put(ctx, t.GetName(), v, nil)
}

func (a *reading) put(ctx context.Context, table string, v values, more map[string]any) error {
	a.line.rows++
	line, err := v.line(table, a.words, more)
	if err != nil {
		return err
	}
	return a.pieces.add(ctx, table, v.key(table), line)
}

// key is what a line is known by while its content changes.
func (v values) key(table string) string {
	switch table {
	case "email":
		return strconv.FormatInt(v.number("email"), 36)
	case "imported":
		return string(v.octets("key"))
	case "conversation":
		return strconv.FormatInt(v.number("id_hash"), 36)
	case "chunk":
		return fmt.Sprint(v.number("mailbox"), v.number("first_uid"))
	case "seen":
		return fmt.Sprint(v.number("mailbox"), v.number("reader"), v.number("first_uid"))
	}
	return fmt.Sprint(v.number("mailbox"), v.number("mod_seq"), v.number("part"), v.number("uid_next"))
}

// emails writes the lines of those that wait, with their bodies before.
func (a *reading) emails(ctx context.Context) error {
	if len(a.batch) == 0 {
		return nil
	}
	wanted := make([]wantedBody, len(a.batch))
	for i, v := range a.batch {
		wanted[i] = wantedBody{id: string(v.octets("blob_id")), size: v.number("size")}
	}
	if err := a.bodies.fetch(ctx, wanted, a.known); err != nil {
		return err
	}
	for i, v := range a.batch {
		more := map[string]any{}
		if w := wanted[i]; w.missing == "" {
			more["body"] = w.digest.String()
		} else {
			more["missing"] = w.missing
			a.line.Missing = append(a.line.Missing, repo.Missing{Account: a.line.Account, Email: uint64(v.number("email")), Reason: w.missing})
		}
		if err := a.put(ctx, "email", v, more); err != nil {
			return err
		}
	}
	a.batch = a.batch[:0]
	return nil
}
