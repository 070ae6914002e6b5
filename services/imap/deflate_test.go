package imap

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/mailfarm/mailfarm/services/imap/internal/inflate"
)

// TestInflateMemory holds what compress.go says that a session keeps.
func TestInflateMemory(t *testing.T) {
	var stream bytes.Buffer
	for range 100 {
		if err := deflate([]byte("a1 UID FETCH 1:100 (FLAGS ENVELOPE)\r\n"), func(b []byte) error { stream.Write(b); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	const sessions = 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	keep := make([]any, sessions)
	buf := make([]byte, 4096)
	for i := range keep {
		r := inflate.NewReader(bytes.NewReader(stream.Bytes()))
		for n := 0; n < 3600; {
			m, err := r.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		keep[i] = r
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / sessions; each > 40<<10 {
		t.Errorf("%d octets a session", each)
	} else {
		t.Logf("%d octets a session", each)
	}
	runtime.KeepAlive(keep)
}
