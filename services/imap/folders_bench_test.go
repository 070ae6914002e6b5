package imap_test

import (
	"context"
	"fmt"
	"testing"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// BenchmarkFolders times commands on one mailbox among few and among many: the cost must not depend on their number.
func BenchmarkFolders(b *testing.B) {
	f := startFarm(b, nil)
	for _, n := range []int{10, 9_990} {
		user, account := f.account(b)
		for i := range n {
			_, err := f.mailboxes.Create(context.Background(), &storev1.CreateRequest{Account: account, Name: fmt.Sprintf("f%d", i)})
			check(b, err)
		}
		f.fill(b, account, "f7", numbered(0, 10)...)
		for _, command := range []string{"STATUS f7 (MESSAGES UNSEEN)", "SELECT f7", "EXAMINE f7", `LIST "" f7`, "APPEND f7 {17+}\r\nSubject: 1\r\n\r\nx\r\n"} {
			b.Run(fmt.Sprintf("%.6s/%d", command, n), func(b *testing.B) {
				c := dial(b, f.addr, false)
				c.readLine()
				roundTrip(b, c, "LOGIN "+user+" "+quote(password))
				for b.Loop() {
					roundTrip(b, c, command)
				}
			})
		}
	}
}
