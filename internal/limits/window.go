package limits

import "time"

// slots is into how many parts a window is cut.
const slots = 8

// window counts what came lately. It counts what is up to an eighth of the window too old, never too little: a limit that is
// held against it is held in every stretch of time as long as the window.
type window struct {
	slot  int64 // of the last count
	count [slots + 1]uint32
	sum   uint32
}

// at moves the window to a time and returns what it counts there.
func (w *window) at(now, length time.Duration) int {
	slot := int64(now / (length / slots))
	if slot-w.slot > slots {
		w.count, w.sum = [slots + 1]uint32{}, 0
		w.slot = slot
	}
	for w.slot < slot {
		w.slot++
		old := &w.count[w.slot%(slots+1)]
		w.sum -= *old
		*old = 0
	}
	return int(w.sum)
}

// add counts n more; at was called before.
func (w *window) add(n int) {
	w.count[w.slot%(slots+1)] += uint32(n)
	w.sum += uint32(n)
}

// attempt is a login that failed.
type attempt struct {
	mark uint32 // tells it from others
	at   time.Duration
}

// attempts are those that failed within a window, each once; who tries the same again only makes it younger.
type attempts []attempt

// live drops what is too old.
func (a *attempts) live(now, length time.Duration) int {
	kept := (*a)[:0]
	for _, x := range *a {
		if now-x.at < length {
			kept = append(kept, x)
		}
	}
	*a = kept
	return len(kept)
}

// add notes one; with top there already it takes the place of the oldest.
func (a *attempts) add(mark uint32, now time.Duration, top int) {
	oldest := 0
	for i, x := range *a {
		if x.mark == mark {
			(*a)[i].at = now
			return
		}
		if x.at < (*a)[oldest].at {
			oldest = i
		}
	}
	if len(*a) >= top {
		(*a)[oldest] = attempt{mark, now}
		return
	}
	*a = append(*a, attempt{mark, now})
}
