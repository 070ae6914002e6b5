package pop3

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func TestExpires(t *testing.T) {
	days := func(n int) *int { return &n }
	const today = 20_000
	for _, tt := range []struct {
		name  string
		days  *int
		state messageState
		day   uint16
		want  bool
	}{
		{"never", nil, seen | retrieved, 0, false},
		{"at once, fetched", days(0), retrieved, today, true},
		{"at once, read elsewhere", days(0), seen, 0, false},
		{"old and read", days(30), seen, today - 31, true},
		{"old and fetched", days(30), retrieved, today - 31, true},
		{"old and unread", days(30), 0, today - 1000, false},
		{"on its last day", days(30), seen, today - 30, false},
		{"from tomorrow", days(30), seen, today + 1, false},
	} {
		d := &maildrop{svc: &Service{cfg: Config{ExpireDays: tt.days}}}
		if got := d.expires(&message{state: tt.state, day: tt.day}, today); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestMemoryOfMessages: 100,000 messages left on the server take what Config.MaxMessages says, and more are not read.
func TestMemoryOfMessages(t *testing.T) {
	if n := unsafe.Sizeof(message{}); n != 24 {
		t.Errorf("a message takes %d octets, not the 24 that are documented", n)
	}
	const all = 100_000
	d := &maildrop{svc: &Service{cfg: Config{MaxMessages: all}}, messages: make([]message, 0, all)}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var into mailbox.Chunk
	for first := mailbox.UID(1); first < all+2*mailbox.ChunkSize; first += mailbox.ChunkSize {
		c := mailbox.Chunk{FirstUID: first}
		for i := range mailbox.UID(mailbox.ChunkSize) {
			c.Add(mailbox.Entry{UID: first + i, Email: mailbox.EmailID(first + i), Size: 1000, Received: 1_700_000_000})
		}
		p := c.Pack()
		err := d.add(&into, &storev1.Chunk{FirstUid: uint32(p.FirstUID), MaxModSeq: uint64(p.MaxModSeq), Uids: p.UIDs, Flags: p.Flags,
			ModSeqs: p.ModSeqs, Emails: p.Emails, Sizes: p.Sizes, Received: p.Received, Saved: p.Saved})
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if len(d.messages) != all || cap(d.messages) != all {
		t.Errorf("%d messages in room for %d, want %d", len(d.messages), cap(d.messages), all)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("reading them leaves %d octets behind", grown)
	}
	runtime.KeepAlive(d)
}
