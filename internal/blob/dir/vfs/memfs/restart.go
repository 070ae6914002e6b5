package memfs

import (
	"maps"
	"slices"
)

// Keep decides, for each thing that was done and not flushed, whether the disk has it.
type Keep func() bool

// Nothing is kept of what was not flushed.
func Nothing() bool { return false }

// Everything is kept: the kernel had written it all back.
func Everything() bool { return true }

// Restart returns the file system that the machine finds when the power is back. The old one answers ErrPowerCut.
func (m *FS) Restart(keep Keep) *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	fresh := New()
	fresh.root = m.root.restart(keep, map[*content]*content{})
	return fresh
}

func (f *folder) restart(keep Keep, done map[*content]*content) *folder {
	fresh := newFolder()
	names := maps.Clone(f.held)
	maps.Copy(names, f.seen)
	for _, name := range sorted(names) {
		held, seen := f.held[name], f.seen[name]
		n := held
		if held != seen && keep() {
			n = seen
		}
		var copied node
		switch n := n.(type) {
		case nil:
			continue
		case *folder:
			copied = n.restart(keep, done)
		case *content:
			if done[n] == nil {
				image := n.image(keep)
				done[n] = &content{seen: image, held: append([]byte(nil), image...), dirty: map[int]bool{}}
			}
			copied = done[n]
		}
		fresh.seen[name], fresh.held[name] = copied, copied
	}
	return fresh
}

// image is what the disk has when keep decides about the length and about each sector that was not flushed.
func (c *content) image(keep Keep) []byte {
	size := len(c.held)
	if len(c.seen) != size && keep() {
		size = len(c.seen)
	}
	image := make([]byte, size)
	copy(image, c.held)
	for s := 0; s*Sector < min(size, len(c.seen)); s++ {
		if c.dirty[s] && keep() {
			copy(image[s*Sector:min(size, (s+1)*Sector)], c.seen[s*Sector:])
		}
	}
	return image
}

// sorted keeps the order of decisions the same from run to run.
func sorted(names map[string]node) []string {
	return slices.Sorted(maps.Keys(names))
}

// Kill returns the file system that the next process finds after this one was killed: all it did, flushed or not. The
// old one answers ErrPowerCut.
func (m *FS) Kill() *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	fresh := New()
	fresh.root = m.root.clone(map[node]node{}).(*folder)
	return fresh
}

func (f *folder) clone(done map[node]node) node {
	if done[f] == nil {
		fresh := newFolder()
		done[f] = fresh
		for name, n := range f.seen {
			fresh.seen[name] = n.clone(done)
		}
		for name, n := range f.held {
			fresh.held[name] = n.clone(done)
		}
	}
	return done[f]
}

func (c *content) clone(done map[node]node) node {
	if done[c] == nil {
		done[c] = &content{seen: slices.Clone(c.seen), held: slices.Clone(c.held), dirty: maps.Clone(c.dirty)}
	}
	return done[c]
}
