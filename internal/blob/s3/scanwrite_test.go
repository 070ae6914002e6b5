package s3_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
)

// TestScanWhileWriting has the segment that a scan finds missing, and another one, be written before the scan reads the
// heartbeat: neither is passed over.
func TestScanWhileWriting(t *testing.T) {
	next := backend()
	way := newFaulty(next)
	mine, others := at(t, next), at(t, way)
	steady := func(c *s3.Config) {
		hasty(c)
		c.DeadAfter = time.Minute
	}
	writer, reader := closing(t, mine.open(t, steady)), closing(t, others.open(t, steady))
	w := newWorld(t)
	w.commit(writer, 10)
	first := firstOf(w.answered)

	beat := fmt.Sprintf("blob/inc/%020d.beat", first.Incarnation)
	eventually(t, "a heartbeat", func() bool { return len(mine.keys(t, beat)) == 1 })

	asks, goOn := make(chan bool), make(chan struct{})
	var once, resume sync.Once
	defer resume.Do(func() { close(goOn) })
	way.set(func(r *http.Request) action {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, beat) {
			once.Do(func() {
				asks <- true
				<-goOn
			})
		}
		return pass
	})
	var at blob.Position
	var err error
	found := 0
	each := func(f blob.Scanned) error { found++; return f.Err }
	var scan sync.WaitGroup
	scan.Go(func() { at, err = reader.Scan(t.Context(), blob.Position{Incarnation: first.Incarnation}, each) })
	<-asks
	w.commit(writer, 20)
	w.commit(writer, 21)
	eventually(t, "a heartbeat that knows of both", func() bool { return binary.BigEndian.Uint64(mine.read(t, beat)[16:]) >= 3 })
	resume.Do(func() { close(goOn) })
	scan.Wait()
	if err != nil {
		t.Fatal(err)
	}
	w.commit(writer, 30)
	if _, err = reader.Scan(t.Context(), at, each); err != nil {
		t.Fatal(err)
	}
	if found != len(w.answered) {
		t.Errorf("scans met %d frames, want all %d that were answered", found, len(w.answered))
	}
}
