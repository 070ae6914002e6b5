package mailbox_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func drawChunk(t *rapid.T) mailbox.Chunk {
	var c mailbox.Chunk
	uid := mailbox.UID(rapid.Uint32Range(1, 1<<31).Draw(t, "first"))
	c.FirstUID = uid
	for range rapid.IntRange(0, mailbox.ChunkSize).Draw(t, "entries") {
		c.Add(mailbox.Entry{
			UID:      uid,
			Flags:    mailbox.Flags(rapid.SampledFrom([]uint64{0, 1, 1 << 63, 1<<64 - 1}).Draw(t, "flags")),
			ModSeq:   mailbox.ModSeq(rapid.Uint64().Draw(t, "modseq")),
			Email:    mailbox.EmailID(rapid.Uint64().Draw(t, "email")),
			Size:     rapid.Int64Range(0, 1<<62).Draw(t, "size"),
			Received: rapid.Int64().Draw(t, "received"),
		})
		uid += mailbox.UID(rapid.Uint32Range(1, 3).Draw(t, "gap"))
	}
	return c
}

func TestChunkComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChunk(t)
		p := c.Pack()
		var back mailbox.Chunk
		if err := back.Unpack(&p); err != nil {
			t.Fatalf("Unpack: %v", err)
		}
		if back.FirstUID != c.FirstUID || back.MaxModSeq != c.MaxModSeq || back.Len() != c.Len() {
			t.Fatalf("got %d/%d/%d, want %d/%d/%d", back.FirstUID, back.MaxModSeq, back.Len(), c.FirstUID, c.MaxModSeq, c.Len())
		}
		for i := range c.Len() {
			if back.At(i) != c.At(i) {
				t.Fatalf("entry %d: got %+v, want %+v", i, back.At(i), c.At(i))
			}
		}
	})
}

func TestUniformColumnsAreSmall(t *testing.T) {
	flags := slices.Repeat([]mailbox.Flags{mailbox.Seen}, mailbox.ChunkSize)
	if b := mailbox.AppendFlags(nil, flags); len(b) > 4 {
		t.Errorf("equal flags take %d octets", len(b))
	}
	var uids []mailbox.UID
	var seqs []mailbox.ModSeq
	for i := range mailbox.ChunkSize {
		uids = append(uids, mailbox.UID(1000+i))
		seqs = append(seqs, mailbox.ModSeq(5_000_000+i))
	}
	if b := mailbox.AppendUIDs(nil, uids); len(b) > 4 {
		t.Errorf("neighbouring UIDs take %d octets", len(b))
	}
	if b := mailbox.AppendModSeqs(nil, seqs); len(b) > 12 {
		t.Errorf("MODSEQs of a run of deliveries take %d octets", len(b))
	}
}

func TestColumnsRefuseWhatIsNotTheirs(t *testing.T) {
	long := bytes.Repeat([]byte{0xff}, 12)
	for _, tt := range []struct {
		name string
		err  func() error
	}{
		{"flags: run past the entries", func() error { _, err := mailbox.DecodeFlags(nil, []byte{1, 5}, 5); return err }},
		{"flags: too few", func() error { _, err := mailbox.DecodeFlags(nil, []byte{1, 3}, 5); return err }},
		{"flags: octets behind", func() error { _, err := mailbox.DecodeFlags(nil, []byte{1, 4, 0}, 5); return err }},
		{"flags: endless varint", func() error { _, err := mailbox.DecodeFlags(nil, long, 5); return err }},
		{"flags: cut short", func() error { _, err := mailbox.DecodeFlags(nil, []byte{1}, 1); return err }},
		{"mod_seqs: huge run", func() error {
			_, err := mailbox.DecodeModSeqs(nil, []byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 256)
			return err
		}},
		{"mod_seqs: cut short", func() error { _, err := mailbox.DecodeModSeqs(nil, []byte{2}, 1); return err }},
		{"emails: too few", func() error { _, err := mailbox.DecodeEmails(nil, []byte{2}, 2); return err }},
		{"emails: too many", func() error { _, err := mailbox.DecodeEmails(nil, []byte{2, 2}, 1); return err }},
		{"sizes: above int64", func() error {
			_, err := mailbox.DecodeSizes(nil, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 1)
			return err
		}},
		{"received: empty", func() error { _, err := mailbox.DecodeReceived(nil, nil, 1); return err }},
		{"uids: zero step", func() error { _, err := mailbox.DecodeUIDSet([]byte{0, 1}); return err }},
		{"uids: above the greatest", func() error {
			_, err := mailbox.DecodeUIDSet([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
			return err
		}},
		{"uids: no length", func() error { _, err := mailbox.DecodeUIDSet([]byte{1}); return err }},
		{"uids: more than the limit", func() error {
			_, err := mailbox.DecodeUIDs(nil, mailbox.AppendUIDSet(nil, mailbox.UIDSet{{1, mailbox.MaxUID}}), 256)
			return err
		}},
		{"uids: one more than the limit", func() error { _, err := mailbox.DecodeUIDs(nil, []byte{1, 1, 2, 0}, 2); return err }},
	} {
		if err := tt.err(); !errors.Is(err, mailbox.ErrColumn) {
			t.Errorf("%s: got %v, want ErrColumn", tt.name, err)
		}
	}
}

func TestUIDSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ranges []mailbox.UIDRange
		in := map[mailbox.UID]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "ranges") {
			a := mailbox.UID(rapid.Uint32Range(0, 60).Draw(t, "a"))
			b := mailbox.UID(rapid.Uint32Range(0, 60).Draw(t, "b"))
			ranges = append(ranges, mailbox.UIDRange{First: a, Last: b})
			for u := max(min(a, b), 1); u <= max(a, b); u++ {
				in[u] = true
			}
		}
		s := mailbox.NewUIDSet(ranges...)
		if s.Len() != uint64(len(in)) {
			t.Fatalf("%v of %v: Len %d, want %d", s, ranges, s.Len(), len(in))
		}
		for u := range mailbox.UID(62) {
			if s.Contains(u) != in[u] {
				t.Fatalf("%v: Contains(%d) = %v", s, u, s.Contains(u))
			}
		}
		for i := 1; i < len(s); i++ {
			if s[i].First <= s[i-1].Last+1 {
				t.Fatalf("%v: ranges touch", s)
			}
		}
		back, err := mailbox.DecodeUIDSet(mailbox.AppendUIDSet(nil, s))
		if err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("back: %v, %v; want %v", back, err, s)
		}
		list := slices.Collect(s.All())
		if !bytes.Equal(mailbox.AppendUIDs(nil, list), mailbox.AppendUIDSet(nil, s)) {
			t.Fatalf("%v: list and set are packed differently", s)
		}
		lo, hi := mailbox.UID(rapid.Uint32Range(1, 60).Draw(t, "lo")), mailbox.UID(rapid.Uint32Range(1, 60).Draw(t, "hi"))
		part := s.Overlapping(lo, hi)
		for u := lo; u <= hi; u++ {
			if part.Contains(u) != in[u] {
				t.Fatalf("%v.Overlapping(%d, %d) = %v: wrong at %d", s, lo, hi, part, u)
			}
		}
	})
}

func TestWholeMailboxIsOneRange(t *testing.T) {
	all := mailbox.UIDSet{{1, mailbox.MaxUID}}
	b := mailbox.AppendUIDSet(nil, all)
	if len(b) > 7 {
		t.Errorf("1:* takes %d octets", len(b))
	}
	back, err := mailbox.DecodeUIDSet(b)
	if err != nil || len(back) != 1 || back.Len() != 1<<32-1 || !back.Contains(mailbox.MaxUID) {
		t.Errorf("got %v, %v", back, err)
	}
	if got := all.Append(7, mailbox.MaxUID); len(got) != 1 {
		t.Errorf("appended within: %v", got)
	}
	n := 0
	for u := range (mailbox.UIDSet{{mailbox.MaxUID - 1, mailbox.MaxUID}}).All() {
		if n++; n > 2 {
			t.Fatalf("All runs past the greatest UID to %d", u)
		}
	}
}

func FuzzDecodeUIDSet(f *testing.F) {
	f.Add(mailbox.AppendUIDSet(nil, mailbox.UIDSet{{1, 5}, {9, mailbox.MaxUID}}))
	f.Add([]byte{1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := mailbox.DecodeUIDSet(b)
		if err != nil {
			return
		}
		back, err := mailbox.DecodeUIDSet(mailbox.AppendUIDSet(nil, s))
		if err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("%x: %v came back as %v, %v", b, s, back, err)
		}
	})
}

func FuzzUnpackChunk(f *testing.F) {
	var c mailbox.Chunk
	c.FirstUID = 3
	c.Add(mailbox.Entry{UID: 3, Flags: 1, ModSeq: 9, Email: 1 << 40, Size: 5000, Received: 1_700_000_000})
	c.Add(mailbox.Entry{UID: 4, Flags: 1, ModSeq: 10, Email: 1<<40 + 9, Size: 50, Received: 1_700_000_100})
	p := c.Pack()
	f.Add(p.UIDs, p.Flags, p.ModSeqs, p.Emails, p.Sizes, p.Received)
	f.Fuzz(func(t *testing.T, uids, flags, seqs, emails, sizes, received []byte) {
		var c mailbox.Chunk
		p := mailbox.Packed{UIDs: uids, Flags: flags, ModSeqs: seqs, Emails: emails, Sizes: sizes, Received: received}
		if c.Unpack(&p) != nil {
			return
		}
		if c.Len() > mailbox.ChunkSize {
			t.Fatalf("%d entries", c.Len())
		}
		again := c.Pack()
		var back mailbox.Chunk
		if err := back.Unpack(&again); err != nil || !reflect.DeepEqual(back, c) && c.Len() > 0 {
			t.Fatalf("%+v came back as %+v, %v", c, back, err)
		}
	})
}

func BenchmarkUnpackPackChunk(b *testing.B) {
	var c, back mailbox.Chunk
	c.FirstUID = 1
	for i := range mailbox.ChunkSize {
		c.Add(mailbox.Entry{UID: mailbox.UID(i + 1), Flags: mailbox.Flags(i % 3), ModSeq: mailbox.ModSeq(100 + i*7%90),
			Email: mailbox.EmailID(1<<60 + i<<30), Size: int64(4000 + i), Received: int64(1_700_000_000 + i*60)})
	}
	p := c.Pack()
	b.ReportAllocs()
	for b.Loop() {
		if err := back.Unpack(&p); err != nil {
			b.Fatal(err)
		}
		p = back.Pack()
	}
}

// TestColumnsWithoutUnpacking: what is told of packed columns is what unpacking them tells.
func TestColumnsWithoutUnpacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChunk(t)
		n := c.Len() + rapid.SampledFrom([]int{0, 0, 0, -1, 1}).Draw(t, "off")
		if n < 0 {
			return
		}
		b := mailbox.AppendFlags(nil, c.Flags)
		if len(b) > 0 && rapid.Bool().Draw(t, "cut") {
			b = b[:len(b)-1]
		}
		flags, want := mailbox.DecodeFlags(nil, b, n)
		common, found, err := mailbox.FlagsOf(b, n)
		if errors.Is(err, mailbox.ErrColumn) != errors.Is(want, mailbox.ErrColumn) {
			t.Fatalf("flags of %d: %v, want %v", n, err, want)
		}
		if err == nil {
			all, any := ^mailbox.Flags(0), mailbox.Flags(0)
			for _, f := range flags {
				all, any = all&f, any|f
			}
			if common != all || found != any {
				t.Fatalf("%b and %b of %v", common, found, flags)
			}
		}
		b = mailbox.AppendModSeqs(nil, c.ModSeqs)
		_, want = mailbox.DecodeModSeqs(nil, b, n)
		if err := mailbox.CheckModSeqs(b, n); errors.Is(err, mailbox.ErrColumn) != errors.Is(want, mailbox.ErrColumn) {
			t.Fatalf("MODSEQs of %d: %v, want %v", n, err, want)
		}
	})
}
