package fulltext

import (
	"context"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// RuleOut tells which emails of an account cannot match, in ascending order. All others may: they do, or have other text with
// the same tokens, or are not indexed.
func (x *Index) RuleOut(ctx context.Context, account mailbox.AccountID, q *Query) ([]mailbox.EmailID, error) {
	if q == nil {
		return nil, nil
	}
	q, tokens := q.fit()
	if q == nil {
		return nil, nil
	}
	var out []mailbox.EmailID
	err := x.db.ReadSQL(ctx, func(tx SQL) error {
		segments, err := x.open(tx, account)
		if err != nil {
			return err
		}
		segments = slices.DeleteFunc(segments, func(s opened) bool { return s.Version != Version })
		found, err := lookUp(tx, account, segments, tokens)
		if err != nil {
			return err
		}
		for i, s := range segments {
			may := q.match(len(s.Emails), found[i])
			may.or(s.Always)
			may.or(s.Dead)
			for doc, id := range s.Emails {
				if !may.has(doc) {
					out = append(out, id)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("search the index of account %d: %w", account, err)
	}
	slices.Sort(out)
	return out, nil
}

// lookUp reads the lists of tokens in each of some segments.
func lookUp(tx SQL, account mailbox.AccountID, segments []opened, tokens []Token) ([]map[Token]bitmap, error) {
	type part struct {
		segment, slice int
		tokens         []Token
	}
	found := make([]map[Token]bitmap, len(segments))
	parts := map[Place]part{}
	var places []Place
	for i, s := range segments {
		found[i] = make(map[Token]bitmap, len(tokens))
		for rest := tokens; len(rest) > 0; {
			slice, n := s.slice(rest[0]), 1
			for n < len(rest) && s.slice(rest[n]) == slice {
				n++
			}
			places = append(places, s.ID.place(slice))
			parts[s.ID.place(slice)] = part{i, slice, rest[:n]}
			rest = rest[n:]
		}
	}
	slices.Sort(places)
	err := readLists(tx, account, places, func(p Place, data []byte) error {
		at := parts[p]
		return segments[at.segment].find(at.slice, data, at.tokens, found[at.segment])
	})
	return found, err
}
