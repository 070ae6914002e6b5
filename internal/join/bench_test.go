package join_test

import (
	"os"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/join"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// BenchmarkJoin joins a site of many messages of 4 KiB, 10,000 or MAILFARM_JOIN_MESSAGES, and tells messages per second,
// comparison included.
func BenchmarkJoin(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("MAILFARM_JOIN_MESSAGES"))
	if n == 0 {
		n = 10_000
	}
	s := openSite(b, b.TempDir())
	s.fill(10, 10)
	s.bulk(n)
	s.stop()
	srv := servers.S3(b)
	for b.Loop() {
		b.StopTimer()
		p := newPlace(b, srv)
		os.Remove(s.folder + "/join.db")
		b.StartTimer()
		r, err := join.Run(b.Context(), p.config(s.folder), join.Deps{Say: b.Logf})
		if err != nil || !r.Same {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// bulk appends messages of 4 KiB to all accounts.
func (s *site) bulk(n int) {
	s.Helper()
	const batch = 200
	tail := must(proto.Marshal(&mailv1.FrameTail{PartIndex: make([]byte, 300)}))
	for done := 0; done < n; done += batch {
		messages := make([]index.Message, batch)
		var wg sync.WaitGroup
		for i := range messages {
			body := s.body(4096)
			wg.Go(func() {
				d := must(s.blobs.Create(blob.ID{}))
				must(d.Write(body))
				id := must(d.Commit(s.ctx, blob.Meta{Kind: blob.Appended, Tail: tail}))
				messages[i] = index.Message{Blob: id, PartIndex: make([]byte, 300), Size: 4096, Received: s.now}
			})
		}
		wg.Wait()
		acc := s.ids[done/batch%len(s.ids)]
		if _, err := s.index.Mailboxes().Append(s.ctx, mailbox.AccountID(acc), index.Inbox, messages); err != nil {
			s.Fatal(err)
		}
	}
}
