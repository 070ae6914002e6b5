package search

import (
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TextQuery is what the full-text index can tell of the key: no message matches the key that does not match the query. It is
// nil where nothing can be told, as of NOT and of what is no text.
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
	case opAddress, opSubject, opHeader, opBody, opText:
		return k.leafQuery()
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
