package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Pruned is what Prune did.
type Pruned struct {
	Snapshots []string `json:"snapshots"`
	// Packs were removed; Rewritten of those had something that is still wanted.
	Packs     int   `json:"packs"`
	Rewritten int   `json:"rewritten"`
	Octets    int64 `json:"octets"`
}

// sparse is the share of a pack, in percent, below which what is still wanted of it goes to another one.
const sparse = 50

// Prune removes all snapshots but the latest so many, and then what no snapshot refers to. It may end anywhere: the snapshots
// go first, a pack goes when what is wanted of it lies elsewhere.
func (r *Repo) Prune(ctx context.Context, keep int) (*Pruned, error) {
	list, err := r.Snapshots(ctx)
	if err != nil {
		return nil, fmt.Errorf("nothing is removed while a snapshot cannot be read: %w", err)
	}
	out := &Pruned{Snapshots: []string{}}
	if keep < 1 {
		return nil, errors.New("at least one snapshot is kept")
	}
	gone := list[:max(0, len(list)-keep)]
	list = list[len(gone):]
	// What is kept must be whole before anything goes.
	live := map[key]bool{}
	w := &walker{Repo: r, seen: live, each: func(Kind, Digest) error { return nil }}
	for _, s := range list {
		if err := w.snapshot(ctx, s); err != nil {
			return nil, fmt.Errorf("nothing is removed, as what is kept is not whole: %w", err)
		}
	}
	for _, s := range gone {
		if err := r.Remove(ctx, snapshotName(s.Name)); err != nil {
			return out, err
		}
		out.Snapshots = append(out.Snapshots, s.Name)
		if err := r.fault("snapshot-removed"); err != nil {
			return out, err
		}
	}
	if err := r.prunePacks(ctx, live, out); err != nil {
		return out, err
	}
	return out, r.pruneRest(ctx)
}

func (r *Repo) prunePacks(ctx context.Context, live map[key]bool, out *Pruned) error {
	type member struct {
		kind   Kind
		digest Digest
	}
	old := append([]string{}, r.packs...)
	var drop []string
	for number, name := range old {
		var wanted []member
		var all, stored int64
		err := readIndex(ctx, r, name, func(k Kind, d Digest, l indexLine) error {
			all += l.Stored
			// The same object may lie in two packs, where a run ended between writing it anew and removing the old one.
			if live[keyOf(k, d)] && r.objects[keyOf(k, d)].pack == uint32(number) {
				wanted, stored = append(wanted, member{k, d}), stored+l.Stored
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(wanted) > 0 && stored*100 >= all*sparse {
			continue
		}
		for _, m := range wanted {
			b, err := r.ReadAll(ctx, m.kind, m.digest)
			if err != nil {
				return err
			}
			delete(r.objects, keyOf(m.kind, m.digest))
			if _, err := r.AddBytes(ctx, m.kind, b); err != nil {
				return err
			}
		}
		if len(wanted) > 0 {
			out.Rewritten++
		}
		out.Octets += all
		drop = append(drop, name)
	}
	if err := r.Flush(ctx); err != nil {
		return err
	}
	made := map[string]bool{}
	for _, name := range r.packs[len(old):] {
		made[name] = true
	}
	for _, name := range drop {
		if made[name] {
			continue // what was written anew is the same
		}
		// The index first: a pack without one is nobody's.
		for _, file := range []string{indexName(name), packName(name)} {
			if err := r.Remove(ctx, file); err != nil {
				return err
			}
			if err := r.fault("pack-removed"); err != nil {
				return err
			}
		}
		out.Packs++
	}
	return nil
}

// pruneRest removes what runs left that ended early: packs without an index, and indexes without a pack.
func (r *Repo) pruneRest(ctx context.Context) error {
	files, err := r.List(ctx, "packs")
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, f := range files {
		there[f.Name] = true
	}
	for _, f := range files {
		other := strings.TrimSuffix(f.Name, ".jsonl") + ".tar.zst"
		if pack, ok := strings.CutSuffix(f.Name, ".tar.zst"); ok {
			other = pack + ".jsonl"
		}
		if !there[other] {
			if err := r.Remove(ctx, f.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
