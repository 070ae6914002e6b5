package imap_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	imapsvc "github.com/mailfarm/mailfarm/services/imap"
)

// prose is some mail of about 4 KiB: sentences of a vocabulary of 20,000 words, the common ones often.
func prose(r *rand.Rand, n int) string {
	zipf := rand.NewZipf(r, 1.1, 3, 20_000)
	word := func() string {
		w := rand.New(rand.NewPCG(5, zipf.Uint64()))
		b := make([]byte, 2+w.IntN(8))
		for i := range b {
			b[i] = "etaoinshrdlucmfwypvbgkjqxz"[min(w.IntN(26), w.IntN(26))]
		}
		return string(b)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from mx%d.example.net by mail.example.org with ESMTPS id %x; Mon, 02 Jan 2023 10:00:00 +0000\r\n", r.IntN(50), r.Uint64())
	fmt.Fprintf(&b, "From: %s %s <sender%d@example%d.net>\r\nTo: user@example.org\r\nSubject: %s %s %s\r\nMessage-ID: <%x@example.net>\r\n", word(), word(), r.IntN(500), r.IntN(50), word(), word(), word(), r.Uint64())
	fmt.Fprintf(&b, "Date: Mon, 02 Jan 2023 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	for b.Len() < 4096 {
		for range 10 {
			b.WriteString(word())
			b.WriteByte(' ')
		}
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "reference number %d.\r\n", n)
	return b.String()
}

// BenchmarkSearchText times SEARCH TEXT over a large mailbox without the full-text index, then with it, in one run.
// IMAP_BENCH_MESSAGES changes how many messages there are (default 20000).
func BenchmarkSearchText(b *testing.B) {
	n := 20_000
	if v, err := strconv.Atoi(os.Getenv("IMAP_BENCH_MESSAGES")); err == nil {
		n = v
	}
	// No keys are held: FROM is always a first one.
	f := startFarm(b, func(c *imapsvc.Config) { c.KeysMemory = 1 })
	user, account := f.account(b)
	r := rand.New(rand.NewPCG(1, 2))
	octets := 0
	for at := 0; at < n; at += 500 {
		var batch []string
		for i := at; i < min(n, at+500); i++ {
			batch = append(batch, prose(r, i))
			octets += len(batch[len(batch)-1])
		}
		f.fill(b, account, "INBOX", batch...)
	}
	searches := []struct{ name, command string }{
		{"one", fmt.Sprintf("UID SEARCH TEXT \"number %d.\"", n/2)}, {"none", "UID SEARCH TEXT \"no such text anywhere\""},
		{"some", "UID SEARCH BODY \"number 77\""}, {"common", "UID SEARCH TEXT \"reference number\""}, {"from", "UID SEARCH FROM sender77@example"},
	}
	run := func(b *testing.B, name, command string) time.Duration {
		var per time.Duration
		b.Run(name, func(b *testing.B) {
			c := dial(b, f.addr, false)
			c.readLine()
			check(b, c.SetReadDeadline(time.Time{}))
			roundTrip(b, c, "LOGIN "+user+" "+quote(password))
			roundTrip(b, c, "SELECT INBOX")
			b.ResetTimer()
			for b.Loop() {
				roundTrip(b, c, command)
			}
			per = b.Elapsed() / time.Duration(b.N)
		})
		return per
	}
	without := map[string]time.Duration{}
	for _, s := range searches {
		without[s.name] = run(b, "without/"+s.name, s.command)
	}
	start := time.Now()
	f.work(b)
	f.indexed(b, account)
	took := time.Since(start)
	resp, err := f.fullText.GetIndexStatus(context.Background(), &storev1.GetIndexStatusRequest{Account: account})
	check(b, err)
	b.Logf("%d messages, %d octets, indexed in %v; the index has %d octets, %.2f of the mail, %d a message", n, octets, took, resp.GetStatus().GetOctets(),
		float64(resp.GetStatus().GetOctets())/float64(octets), resp.GetStatus().GetOctets()/int64(n))
	for _, s := range searches {
		with := run(b, "with/"+s.name, s.command)
		b.Logf("%s: %v without the index, %v with it, %.4f of it", s.name, without[s.name], with, float64(with)/float64(max(without[s.name], 1)))
	}
}
