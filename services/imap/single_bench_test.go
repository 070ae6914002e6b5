package imap_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// benchSizes are the mailboxes of BenchmarkSingle; IMAP_BENCH_SIZES names others, such as 300000.
func benchSizes(b *testing.B) []int {
	names := "1000,10000,100000"
	if s := os.Getenv("IMAP_BENCH_SIZES"); s != "" {
		names = s
	}
	var sizes []int
	for _, s := range strings.Split(names, ",") {
		n, err := strconv.Atoi(s)
		check(b, err)
		sizes = append(sizes, n)
	}
	return sizes
}

// inbox is the id of an account's INBOX.
func inbox(b *testing.B, f *farm, account uint64) uint64 {
	found, err := f.mailboxes.Find(b.Context(), &storev1.FindRequest{Account: account, Names: []string{"INBOX"}})
	check(b, err)
	return found.GetFound()[0].GetMailbox().GetId()
}

// flagSome sets or takes away a flag of 1,000 messages of n, as a POP3 client does that fetched some here and there: most chunks
// change behind all sessions' backs.
func flagSome(b *testing.B, f *farm, account uint64, n, i int) {
	var uids mailbox.UIDSet
	for range min(n, 1000) {
		uid := mailbox.UID(1 + rand.IntN(n))
		uids = append(uids, mailbox.UIDRange{First: uid, Last: uid})
	}
	_, err := f.mailboxes.Flag(b.Context(), &storev1.FlagRequest{
		Account: account, Mailbox: inbox(b, f, account), Uids: mailbox.AppendUIDSet(nil, mailbox.NewUIDSet(uids...)),
		Mode: storev1.FlagMode(1 + i&1), Flags: []string{`\Answered`},
	})
	check(b, err)
}

// refreshed is how many large mailboxes the role brought up to date that nobody had open.
func (f *farm) refreshed(b *testing.B) float64 {
	families, err := f.metrics.Gather()
	check(b, err)
	for _, family := range families {
		if family.GetName() == "mailfarm_imap_left_mailboxes_refreshed_total" {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.Fatal("nobody counts refreshes")
	return 0
}

// BenchmarkSingle times commands about one message, or about none, in mailboxes of growing size: what one costs should not
// depend on the size. "first" has nobody else in the mailbox's recent past; "warm" has had a session before.
func BenchmarkSingle(b *testing.B) {
	f := startFarm(b, nil)
	text := strings.ReplaceAll(strings.Join(numbered(0, 1), ""), "\n", "\r\n")
	for _, n := range benchSizes(b) {
		user, account := f.account(b)
		for at := 0; at < n; at += 5000 {
			f.fill(b, account, "INBOX", numbered(at, min(n, at+5000))...)
		}
		login := func(b *testing.B) *lineConn {
			c := dial(b, f.addr, false)
			c.readLine()
			roundTrip(b, c, "LOGIN "+user+" "+quote(password))
			return c
		}
		flags := [2]string{"+FLAGS", "-FLAGS"}
		for _, op := range []struct {
			name string
			run  func(b *testing.B, c, other *lineConn, i int)
		}{
			{"select", func(b *testing.B, c, _ *lineConn, _ int) { roundTrip(b, c, "SELECT INBOX") }},
			{"select-changed", func(b *testing.B, c, other *lineConn, i int) {
				roundTrip(b, other, "UID STORE 7 "+flags[i&1]+".SILENT (\\Flagged)")
				roundTrip(b, c, "SELECT INBOX")
			}},
			{"select-flagged", func(b *testing.B, c, _ *lineConn, i int) {
				b.StopTimer()
				flagSome(b, f, account, n, i)
				b.StartTimer()
				roundTrip(b, c, "SELECT INBOX")
			}},
			{"select-flagged-left", func(b *testing.B, c, _ *lineConn, i int) {
				// Nobody has it open when it changes, and it is a while until somebody comes.
				b.StopTimer()
				roundTrip(b, c, "UNSELECT")
				before := f.refreshed(b)
				flagSome(b, f, account, n, i)
				for f.refreshed(b) == before {
					runtime.Gosched()
				}
				b.StartTimer()
				roundTrip(b, c, "SELECT INBOX")
			}},
			{"store", func(b *testing.B, c, _ *lineConn, i int) {
				roundTrip(b, c, "STORE "+strconv.Itoa(1+rand.IntN(n))+" "+flags[i&1]+" (\\Flagged)")
			}},
			{"fetch-body", func(b *testing.B, c, _ *lineConn, _ int) {
				roundTrip(b, c, "FETCH "+strconv.Itoa(1+rand.IntN(n))+" BODY.PEEK[]")
			}},
			{"fetch-flags", func(b *testing.B, c, _ *lineConn, _ int) {
				roundTrip(b, c, "FETCH "+strconv.Itoa(1+rand.IntN(n))+" (UID FLAGS)")
			}},
			{"noop", func(b *testing.B, c, _ *lineConn, _ int) { roundTrip(b, c, "NOOP") }},
			{"append", func(b *testing.B, c, _ *lineConn, _ int) {
				roundTrip(b, c, fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text))
			}},
		} {
			b.Run(fmt.Sprintf("%s/%d", op.name, n), func(b *testing.B) {
				if op.name == "select-flagged-left" && (os.Getenv("IMAP_BENCH_LEFT") == "" || n < 20_000) {
					b.Skip("for large mailboxes with IMAP_BENCH_LEFT set: it waits 200 ms each time, so -benchtime 50x")
				}
				c := login(b)
				defer c.Close()
				var other *lineConn
				if op.name == "select-changed" {
					other = login(b)
					defer other.Close()
					roundTrip(b, other, "SELECT INBOX")
				}
				if op.name != "select" {
					roundTrip(b, c, "SELECT INBOX")
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					op.run(b, c, other, i)
				}
			})
		}
	}
}
