package search

import (
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TextQuery is what the full-text index can tell of the key: no message matches the key that does not match the query. It is
// nil where nothing can be told, as of NOT and of what is neither text nor thread.
func (k *Key) TextQuery() *storev1.TextQuery {
	switch k.op {
	case opAnd:
		all := &storev1.TextQuery{}
		for _, kid := range k.kids {
			if q := kid.TextQuery(); q != nil {
				all.All = append(all.All, q)
			}
		}
		if len(all.All) == 0 {
			return nil
		}
		return all
	case opOr:
		one := &storev1.TextQuery{}
		for _, kid := range k.kids {
			q := kid.TextQuery()
			if q == nil {
				return nil
			}
			one.Any = append(one.Any, q)
		}
		return one
	case opHeader:
		there := &storev1.TextQuery{Field: []byte(k.field)}
		if q := k.leafQuery(); q != nil {
			return &storev1.TextQuery{All: []*storev1.TextQuery{there, q}}
		}
		return there
	case opAddress, opSubject, opBody, opText:
		return k.leafQuery()
	case opThreadID:
		if id, err := mailbox.ParseObjectID('T', string(k.text)); err == nil {
			return &storev1.TextQuery{Thread: id}
		}
	}
	return nil
}

// trigram is the shortest text that the index knows of.
const trigram = 3

func (k *Key) leafQuery() *storev1.TextQuery {
	if len(k.text) < trigram {
		return nil
	}
	q := &storev1.TextQuery{Substring: k.text}
	if len(k.words) > 0 {
		q = &storev1.TextQuery{Any: []*storev1.TextQuery{q, {Stems: k.words}}}
	}
	return q
}
