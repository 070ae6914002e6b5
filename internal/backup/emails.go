package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/index/whole"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// emailReader finds emails of an account by their ids. Of large accounts it holds a few pieces at a time.
type emailReader struct {
	repo *repo.Repo
	// inline are those that stand in the account's own object; pieces have the rest, in the order of ids.
	inline map[uint64]*emailLine
	pieces []emailPiece
	held   []heldPiece
}

type emailPiece struct {
	object      string
	first, last uint64
}

type heldPiece struct {
	object string
	emails map[uint64]*emailLine
}

// maxHeld is how many pieces are held: folders have emails that lie apart.
const maxHeld = 8

func newEmailReader(ctx context.Context, r *repo.Repo, rows string) (*emailReader, error) {
	e := &emailReader{repo: r, inline: map[uint64]*emailLine{}}
	b, err := readObject(ctx, r, rows)
	if err != nil {
		return nil, err
	}
	err = repo.EachLine(bytes.NewReader(b), func(line []byte) error {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil {
			return fmt.Errorf("%w: %w", ErrLine, err)
		}
		if stringOf(fields, "table") != whole.Emails {
			return nil
		}
		if piece := stringOf(fields, "piece"); piece != "" {
			emails, err := e.load(ctx, piece)
			if err != nil {
				return err
			}
			ids := sorted(emails)
			e.pieces = append(e.pieces, emailPiece{piece, ids[0], ids[len(ids)-1]})
			return nil
		}
		email, err := emailOf(fields)
		if err == nil {
			e.inline[email.ID] = email
		}
		return err
	})
	return e, err
}

func (e *emailReader) load(ctx context.Context, piece string) (map[uint64]*emailLine, error) {
	emails := map[uint64]*emailLine{}
	err := readLines(ctx, e.repo, piece, func(fields map[string]json.RawMessage) error {
		email, err := emailOf(fields)
		if err == nil {
			emails[email.ID] = email
		}
		return err
	})
	if err == nil && len(emails) == 0 {
		err = fmt.Errorf("%w: a piece without emails", ErrLine)
	}
	return emails, err
}

func (e *emailReader) find(ctx context.Context, id uint64) (*emailLine, error) {
	if email := e.inline[id]; email != nil {
		return email, nil
	}
	at, _ := slices.BinarySearchFunc(e.pieces, id, func(p emailPiece, id uint64) int {
		switch {
		case p.last < id:
			return -1
		case p.first > id:
			return 1
		}
		return 0
	})
	if at < len(e.pieces) && e.pieces[at].first <= id {
		emails, err := e.hold(ctx, e.pieces[at].object)
		if err != nil {
			return nil, err
		}
		if email := emails[id]; email != nil {
			return email, nil
		}
	}
	return nil, fmt.Errorf("%w: no email %d, which a folder has", ErrLine, id)
}

func (e *emailReader) hold(ctx context.Context, object string) (map[uint64]*emailLine, error) {
	for i, h := range e.held {
		if h.object == object {
			copy(e.held[1:i+1], e.held[:i])
			e.held[0] = h
			return h.emails, nil
		}
	}
	emails, err := e.load(ctx, object)
	if err != nil {
		return nil, err
	}
	e.held = append([]heldPiece{{object, emails}}, e.held[:min(len(e.held), maxHeld-1)]...)
	return emails, nil
}
