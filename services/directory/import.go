package directory

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

const (
	// importBatch is how many accounts are written in one transaction.
	importBatch = 500
	// maxFaults bounds the answer: behind so many the import stops, since the file is of another kind.
	maxFaults = 10_000
)

// ImportAccounts adds or updates an account per request. Each is a line, counted from 1, also those that a caller sends empty
// to keep the count. Lines with faults are passed over and told; what comes before a broken stream is stored.
func (s *Service) ImportAccounts(stream grpc.ClientStreamingServer[directoryv1.ImportAccountsRequest, directoryv1.ImportAccountsResponse]) error {
	resp := &directoryv1.ImportAccountsResponse{}
	batch := make([]importLine, 0, importBatch)
	for number := uint32(1); ; number++ {
		req, err := stream.Recv()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if req != nil && (req.Address != "" || req.Secret != "") {
			batch = append(batch, importLine{number: number, req: req})
		}
		if len(batch) == importBatch || err != nil && len(batch) > 0 {
			if err := s.importLines(stream, batch, resp); err != nil {
				return fmt.Errorf("import up to line %d: %w", number, err)
			}
			batch = batch[:0]
		}
		if err != nil {
			break
		}
		if len(resp.Faults) >= maxFaults {
			return invalid("%d lines with faults up to line %d: is this a file of accounts? The first: line %d: %s",
				len(resp.Faults), number, resp.Faults[0].Line, resp.Faults[0].Problem)
		}
	}
	s.log.InfoContext(stream.Context(), "accounts imported", obs.Count(int(resp.Added+resp.Updated)))
	return stream.SendAndClose(resp)
}

// importLine is one request with what was made of it.
type importLine struct {
	number uint32
	req    *directoryv1.ImportAccountsRequest
	addr   account.Address
	cred   credential.Credential
	err    error
}

// importLines works out the keys on all cores, then writes.
func (s *Service) importLines(stream grpc.ClientStreamingServer[directoryv1.ImportAccountsRequest, directoryv1.ImportAccountsResponse],
	lines []importLine, resp *directoryv1.ImportAccountsResponse) error {
	ctx := stream.Context()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(lines)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(lines) && ctx.Err() == nil; i = next.Add(1) - 1 {
				s.prepareLine(&lines[i])
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	changes := make([]account.Change, 0, len(lines))
	of := make([]*importLine, 0, len(lines)) // the line of each change
	for i := range lines {
		if l := &lines[i]; l.err == nil {
			changes = append(changes, s.change(account.AddOrUpdate, l.addr, l.cred))
			of = append(of, l)
		}
	}
	had := s.credentials(ctx, changes) // a file that is imported each night shall not end everybody's session each night
	outcomes, err := s.store.PutAccounts(ctx, changes)
	s.cache.drop()
	if err != nil {
		return err
	}
	var changed []mailbox.AccountID
	for i, o := range outcomes {
		switch {
		case o.Err != nil:
			of[i].err = explain(of[i].addr, o.Err)
		case o.Added:
			resp.Added++
		default:
			resp.Updated++
			if had[o.Account.Address] != changes[i].Account.Credential {
				changed = append(changed, o.Account.ID)
			}
		}
	}
	s.endChanged(ctx, changed...)
	for i := range lines {
		if l := &lines[i]; l.err != nil {
			resp.Faults = append(resp.Faults, &directoryv1.ImportFault{Line: l.number, Address: cut(l.req.Address), Problem: problem(l.err)})
		}
	}
	return nil
}

// prepareLine checks a line and makes its credential: this is what takes the time.
func (s *Service) prepareLine(l *importLine) {
	if l.addr, l.err = s.accountAddress(l.req.Address); l.err != nil {
		return
	}
	if credential.Looks(l.req.Secret) {
		if l.cred, l.err = credential.Parse(l.req.Secret); l.err != nil {
			l.err = invalid("the hash cannot be read: %v", l.err)
		}
		return
	}
	l.cred, l.err = s.newCredential(l.req.Secret)
}

// problem is an error's text without its code.
func problem(err error) string { return status.Convert(err).Message() }
