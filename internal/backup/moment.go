package backup

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protodelim"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// looks is how often accounts that changed since they were read are looked for: one transaction may not have the time.
const looks = 3

// oneMoment makes the accounts what they were at one and the same moment. They were read one after the other: a message that
// moves from one that is read late to one that was read early is in neither. So those that changed while this run read are read
// again, which takes little time, and then, in one transaction, those that changed in that time.
func (r *run) oneMoment(ctx context.Context, q *queue) error {
	for range looks {
		if len(r.fresh) > 0 {
			if err := r.accounts(ctx, q); err != nil {
				return err
			}
		}
		apart, err := r.changed(ctx, q)
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if r.out.Apart = apart; apart == "" {
			return nil
		}
	}
	return nil
}

// knownBatch is how many accounts one request tells of.
const knownBatch = 1000

// changed reads, as they were at one moment, the accounts that are not as they were read; apart is why the store did not tell.
func (r *run) changed(ctx context.Context, q *queue) (apart string, err error) {
	spool, err := r.spoolFile()
	if err != nil {
		return "", err
	}
	defer spool.Close()
	w := bufio.NewWriterSize(spool, spoolBuffer)
	err = r.dumpChanged(ctx, q, func(page *storev1.DumpChangedResponse) error {
		_, err := protodelim.MarshalTo(w, page)
		return err
	})
	if told, ok := status.FromError(err); err != nil && ok {
		return "read what changed meanwhile: " + told.Message(), nil
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return "", err
	}
	return "", r.settleAll(ctx, spool, q)
}

// settleAll takes the accounts of a file.
func (r *run) settleAll(ctx context.Context, spool io.Reader, q *queue) error {
	from := bufio.NewReaderSize(spool, spoolBuffer)
	var a *reading
	var state *storev1.AccountState
	for {
		page := &storev1.DumpChangedResponse{}
		err := protodelim.UnmarshalOptions{MaxSize: -1}.UnmarshalFrom(from, page)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if a != nil && (err != nil || page.GetState() != nil) {
			if err := r.settle(ctx, a, state, q); err != nil {
				return fmt.Errorf("account %d: %w", state.GetAccount(), err)
			}
		}
		if err != nil {
			r.out.Accounts = RunAccounts{Read: len(r.fresh), Unchanged: len(r.lines) - len(r.fresh)}
			return nil
		}
		if st := page.GetState(); st != nil {
			known, err := r.learnBodies(ctx, r.lines[st.GetAccount()].Rows)
			if err != nil {
				return err
			}
			a, state = r.reading(st.GetAccount(), known), st
		}
		if a == nil {
			return errors.New("rows of no account")
		}
		if err := a.page(ctx, page.GetTables(), page.GetRows()); err != nil {
			return fmt.Errorf("account %d: %w", state.GetAccount(), err)
		}
	}
}

// settle takes an account as it was at the moment. One whose bodies went away since is read again, as it is now.
func (r *run) settle(ctx context.Context, a *reading, st *storev1.AccountState, q *queue) error {
	line, err := a.end(ctx)
	if err == nil && len(line.Missing) > 0 {
		line, err = r.read(ctx, st.GetAccount(), q.local[st.GetAccount()], line.Rows)
	}
	if err != nil {
		return err
	}
	line.Fingerprint = hex.EncodeToString(st.GetFingerprint())
	r.lines[st.GetAccount()], r.fresh[st.GetAccount()] = *line, q
	return nil
}

// dumpChanged asks for what is not as it was read.
func (r *run) dumpChanged(ctx context.Context, q *queue, each func(*storev1.DumpChangedResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.Store.DumpChanged(ctx)
	if err != nil {
		return err
	}
	req := &storev1.DumpChangedRequest{}
	send := func() error {
		full := req
		req = &storev1.DumpChangedRequest{}
		if err := stream.Send(full); err != nil && !isEOF(err) {
			return err
		}
		return nil // what ended the stream is told when it is read
	}
	for _, id := range sorted(r.lines) {
		req.Accounts = append(req.Accounts, &storev1.KnownAccount{Account: id, ModSeq: r.lines[id].ModSeq, Queued: q.local[id]})
		if len(req.Accounts) == knownBatch {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(send(), stream.CloseSend()); err != nil {
		return err
	}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(page); err != nil {
			return err
		}
	}
}
