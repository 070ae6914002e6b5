package join

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// metaOf stands for all of a frame but its body.
func metaOf(m blob.Meta, size int64) []byte {
	h := sha256.New()
	h.Write([]byte{byte(m.Kind)})
	h.Write(m.QueueID[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(size)))
	h.Write(m.Tail)
	return h.Sum(nil)
}

// adopt looks for frames that an earlier run wrote and did not note: it died between the two. Incarnations that it did not
// come to note either, as one began in trouble, are told by their frames: all of them are this site's.
func (c *copier) adopt(ctx context.Context) (err error) {
	if c.known, err = c.book.incarnations(ctx); err != nil {
		return err
	}
	list, err := c.blobs.Incarnations(ctx)
	if err != nil {
		return fmt.Errorf("list incarnations: %w", err)
	}
	for _, inc := range list {
		if h, ok := c.known[inc.ID]; ok && h == before || inc.ID == c.blobs.Incarnation() {
			continue
		}
		if err := c.look(ctx, inc.ID); err != nil {
			return fmt.Errorf("look for frames of an earlier run in incarnation %d: %w", inc.ID, err)
		}
	}
	n, err := c.book.one(ctx, "SELECT COUNT(*) FROM found")
	c.found = n > 0
	return err
}

// look takes down the frames of an incarnation that nobody has noted. What has no queue id cannot tell whose it is, and
// counts only where the incarnation is known to be this join's.
func (c *copier) look(ctx context.Context, id uint64) error {
	_, ours := c.known[id]
	var batch []blob.Scanned
	flush := func() error {
		err := c.book.Write(ctx, func(tx *sqlitedb.Tx) error {
			for _, f := range batch {
				if _, err := tx.Exec(`INSERT INTO found (place, meta) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM frame WHERE place = ?1)
					ON CONFLICT DO NOTHING`, f.ID.Bytes(), metaOf(f.Meta, f.Size)); err != nil {
					return err
				}
			}
			return nil
		})
		batch = batch[:0]
		return err
	}
	_, err := c.blobs.Scan(ctx, blob.Position{Incarnation: id}, func(f blob.Scanned) error {
		if f.Err != nil || !ours && f.Meta.QueueID.IsZero() {
			return nil
		}
		if batch = append(batch, f); len(batch) < planBatch/8 {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// adopted finds the copy of a frame that an earlier run made; zero where there is none.
func (c *copier) adopted(ctx context.Context, e entry) (blob.ID, error) {
	if !c.found {
		return blob.ID{}, nil
	}
	for {
		var place blob.ID
		// Whoever takes a row has it: of two frames that differ in nothing each gets one.
		err := c.book.Write(ctx, func(tx *sqlitedb.Tx) error {
			var b []byte
			if err := tx.QueryRow("SELECT place FROM found WHERE meta = ? LIMIT 1", e.meta).Scan(&b); err != nil {
				return err
			}
			var err error
			if place, err = blob.IDFrom(b); err != nil {
				return err
			}
			_, err = tx.Exec("DELETE FROM found WHERE place = ?", b)
			return err
		})
		if errors.Is(err, sql.ErrNoRows) {
			return blob.ID{}, nil
		}
		if err != nil {
			return blob.ID{}, err
		}
		f, err := c.blobs.Open(ctx, place)
		if err != nil {
			return blob.ID{}, fmt.Errorf("%w: frame of an earlier run: %w", errWrite, err)
		}
		same := string(f.Digest[:]) == string(e.digest)
		if err := f.Close(); err != nil {
			return blob.ID{}, err
		}
		if same {
			return place, nil
		}
	}
}
