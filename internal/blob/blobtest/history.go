package blobtest

import (
	"math/rand/v2"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// testHistory does at random what callers do, and compares with a model: a map.
func testHistory(t *testing.T, p Place) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := p.Open(t)
	defer func() { closeStore(t, s) }()
	model := map[blob.ID]Message{}
	var ids []blob.ID
	any := func() blob.ID { return ids[r.IntN(len(ids))] }
	for step := range 150 {
		switch n := r.IntN(20); {
		case n == 0:
			closeStore(t, s)
			s = p.Open(t)
		case n == 1:
			CheckScan(t, s, model)
		case n == 2:
			d, err := s.Create(blob.ID{})
			if err != nil {
				t.Fatal(err)
			}
			d.Write(Octets(uint64(step), r.IntN(2*blob.SpoolMemory)))
			d.Discard()
		case n < 6 && len(ids) > 0:
			parent := any()
			m := Message{Meta: NewMessage(uint64(step), 0).Meta, Body: model[parent].Body}
			id := CommitShared(t, s, parent, m.Meta)
			model[id], ids = m, append(ids, id)
		case n < 12 && len(ids) > 0:
			id := any()
			Check(t, s, id, model[id])
		default:
			size := r.IntN(10_000)
			if n == 19 {
				size = r.IntN(3 * blob.SpoolMemory)
			}
			m := NewMessage(uint64(step), size)
			id := Commit(t, s, m)
			if _, ok := model[id]; ok {
				t.Fatalf("id %v was given twice", id)
			}
			model[id], ids = m, append(ids, id)
		}
	}
	CheckScan(t, s, model)
	for id, m := range model {
		Check(t, s, id, m)
	}
}
