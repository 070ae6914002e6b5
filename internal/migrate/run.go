// Package migrate brings the mail of accounts on another IMAP server into accounts of this farm, over the store's Imports
// service. A pass brings what is new there, carries changes of flags over, and tells what was left; as many passes as are wanted
// follow each other while mail still arrives on the old server.
//
// What makes a repeat safe is in the store: each message has a key of its server, user, folder, UIDVALIDITY and UID, and one
// whose key was filed is not filed again. What makes a repeat cheap is in a folder of state: for each mailbox, which
// UIDs were brought with which flags, and the MODSEQ (RFC 7162) up to which changes are known. State that is lost costs time, not mail.
package migrate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/imapsource"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Account is one that is brought.
type Account struct {
	Server imapsource.Server
	Login  imapsource.Login
	// TokenFor, where it is set, gets a user's access token, anew for each connection.
	TokenFor func(ctx context.Context, user string) (string, error)
	// Source is what the server is called in keys: it must not change between passes.
	Source string
	// Target is the address here, and ID its account.
	Target string
	ID     uint64
}

// Name is what an account is called in reports.
func (a *Account) Name() string { return a.Login.User + " at " + a.Source }

// Run says what is brought how.
type Run struct {
	Imports   storev1.ImportsClient
	Mailboxes storev1.MailboxesClient
	Bodies    storev1.BodiesClient
	Sharing   storev1.SharingClient
	Accounts  []*Account
	// State is the folder where passes note what they did.
	State string
	// Rename maps names of folders there to names here; what lies below goes along. Exclude are folders that stay, "Name/*" with what
	// lies below.
	Rename  map[string]string
	Exclude []string
	// DryRun only looks. Delete removes here what was deleted there and nobody touched here. Verify compares digests. Renumbered
	// brings folders whose UIDVALIDITY changed anew. Again brings back what was removed here.
	DryRun, Delete, Verify, Renumbered, Again, OverQuota bool
	// NoACL leaves access control lists. Identifier is what one of the source is called here; empty: nobody.
	NoACL      bool
	Identifier func(source, identifier string) string
	// Connections bounds accounts at a time, PerServer those of one server.
	Connections, PerServer int
	// Retry is how long it is waited before what broke off is tried again. Default 1s, 2s, 5s, 15s, 30s, 1m.
	Retry []time.Duration
	// Progress, where it is set, is told after every batch; it is called by several at a time.
	Progress func(account *AccountReport, folder *FolderReport)
}

// Bounds of what is in memory at a time.
const (
	// maxMessages is how many messages a folder may have.
	maxMessages   = 8 << 20
	batchMessages = 256
	batchBytes    = 8 << 20
	askKeys       = 2000
)

// Run brings all accounts. The report tells what was done also where an error ended it.
func (r *Run) Run(ctx context.Context) (*Report, error) {
	if r.Retry == nil {
		r.Retry = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute}
	}
	if err := os.MkdirAll(r.State, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of state: %w", err)
	}
	lock, err := filelock.Take(filepath.Join(r.State, "lock"))
	if err != nil {
		return nil, fmt.Errorf("state is in use by another migration: %w", err)
	}
	defer lock.Release()
	report := &Report{Began: time.Now().UTC(), DryRun: r.DryRun, Reasons: map[string]int{}}
	all := make(chan struct{}, max(r.Connections, 1))
	servers := map[string]chan struct{}{}
	var done sync.WaitGroup
	for _, a := range r.Accounts {
		if servers[a.Server.Host] == nil {
			servers[a.Server.Host] = make(chan struct{}, max(r.PerServer, 1))
		}
		out := &AccountReport{Source: a.Name(), Account: a.Target, Folders: []*FolderReport{}, Notes: []string{}}
		report.Accounts = append(report.Accounts, out)
		mine := servers[a.Server.Host]
		done.Go(func() {
			for _, slot := range []chan struct{}{mine, all} {
				select {
				case slot <- struct{}{}:
					defer func() { <-slot }()
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil {
				out.Error = "not begun: " + ctx.Err().Error()
				return
			}
			began := time.Now()
			w := &worker{run: r, account: a, report: out, lost: map[uint32]int{}}
			if err := w.work(ctx); err != nil {
				out.Error = err.Error()
			}
			w.hangUp()
			out.Seconds = time.Since(began).Seconds()
		})
	}
	done.Wait()
	report.sum()
	return report, ctx.Err()
}

// excluded tells of folders that stay where they are.
func (r *Run) excluded(name string) bool {
	return slices.ContainsFunc(r.Exclude, func(e string) bool {
		below, all := strings.CutSuffix(e, "/*")
		return name == e || all && (name == below || strings.HasPrefix(name, below+"/"))
	})
}
