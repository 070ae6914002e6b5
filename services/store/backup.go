package store

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Whole is the part of whole.Store that backups need.
type Whole interface {
	States(ctx context.Context, after mailbox.AccountID, limit int) ([]whole.State, error)
	Dump(ctx context.Context, account mailbox.AccountID, queued []whole.Queued, each func(*whole.Table, []any) error) error
	DumpChanged(ctx context.Context, known map[mailbox.AccountID]whole.Known, begin func(whole.State) error, each func(*whole.Table, []any) error) error
	Presence(ctx context.Context, account mailbox.AccountID) (whole.Presence, error)
	Missing(ctx context.Context, account mailbox.AccountID, emails []mailbox.EmailID) ([]mailbox.EmailID, error)
	PutEmails(ctx context.Context, account mailbox.AccountID, emails []whole.Email) error
	PutRows(ctx context.Context, account mailbox.AccountID, table string, names []string, rows [][]any) error
}

// BackupDeps is what backups need.
type BackupDeps struct {
	Whole  Whole
	Ledger ledger.Ledger
	Blobs  blob.Store
	// Directory tells whether an account that is to be put back is there; nil: nobody knows, and what is there is not asked.
	Directory Directory
	Now       func() time.Time
}

// backups serves storev1.Backups.
type backups struct {
	storev1.UnimplementedBackupsServer
	BackupDeps
}

// AddBackups adds the service that tells all that is kept, and puts it back. It is called before Register.
func (s *Service) AddBackups(deps BackupDeps) {
	s.servers = append(s.servers, func(r grpc.ServiceRegistrar) { storev1.RegisterBackupsServer(r, &backups{BackupDeps: deps}) })
}

const (
	// statesPage is how many accounts one response tells of.
	statesPage = 256
	// rowsPiece is how many octets of rows one message carries, about.
	rowsPiece = 1 << 20
	// maxQueuedFor is how many recipients in the queue one Dump may ask for.
	maxQueuedFor = 100_000
)

// ListStates tells which accounts there are.
func (s *backups) ListStates(req *storev1.ListStatesRequest, out grpc.ServerStreamingServer[storev1.ListStatesResponse]) error {
	after := mailbox.AccountID(req.GetAfter())
	for {
		list, err := s.Whole.States(out.Context(), after, statesPage)
		if err != nil {
			return toStatus(err)
		}
		resp := &storev1.ListStatesResponse{}
		for _, st := range list {
			resp.States = append(resp.States, &storev1.AccountState{Account: uint64(st.Account), ModSeq: uint64(st.ModSeq), Fingerprint: st.Fingerprint[:]})
			after = st.Account
		}
		if len(list) > 0 {
			if err := out.Send(resp); err != nil {
				return err
			}
		}
		if len(list) < statesPage {
			return nil
		}
	}
}

// Dump hands over an account.
func (s *backups) Dump(req *storev1.DumpRequest, out grpc.ServerStreamingServer[storev1.DumpResponse]) error {
	if req.GetAccount() >= 1<<63 {
		return invalid("account %d is none", req.GetAccount())
	}
	if len(req.GetQueued()) > maxQueuedFor {
		return invalid("%d recipients in the queue, more than %d", len(req.GetQueued()), maxQueuedFor)
	}
	queued, err := queuedOf(req.GetQueued())
	if err != nil {
		return err
	}
	resp := &storev1.DumpResponse{}
	tables, number := tablesOf()
	resp.Tables = tables
	size := 0
	err = s.Whole.Dump(out.Context(), mailbox.AccountID(req.GetAccount()), queued, func(t *whole.Table, row []any) error {
		r, n := toRow(number[t], row)
		resp.Rows = append(resp.Rows, r)
		if size += n; size < rowsPiece {
			return nil
		}
		full := resp
		resp, size = &storev1.DumpResponse{}, 0
		return out.Send(full)
	})
	if err == nil {
		err = out.Send(resp)
	}
	return toStatus(err)
}

// queuedOf decodes recipients in the queue.
func queuedOf(list []*storev1.QueuedFor) ([]whole.Queued, error) {
	queued := make([]whole.Queued, len(list))
	for i, q := range list {
		id, err := envelope.QueueIDFrom(q.GetQueueId())
		if err != nil {
			return nil, invalid("%v", err)
		}
		queued[i] = whole.Queued{ID: id, Number: q.GetNumber()}
	}
	return queued, nil
}

// tablesOf are all tables, and their places in the list.
func tablesOf() (list []*storev1.BackupTable, number map[*whole.Table]uint32) {
	number = map[*whole.Table]uint32{}
	for i, t := range whole.Tables {
		list = append(list, &storev1.BackupTable{Name: t.Name, Columns: t.Names()})
		number[t] = uint32(i)
	}
	return list, number
}

// toRow encodes a row, and tells about how many octets it has.
func toRow(table uint32, row []any) (*storev1.BackupRow, int) {
	r, size := &storev1.BackupRow{Table: table, Values: make([]*storev1.BackupValue, len(row))}, 8
	for i, v := range row {
		switch v := v.(type) {
		case int64:
			r.Values[i] = &storev1.BackupValue{Value: &storev1.BackupValue_Number{Number: v}}
			size += 12
		case string:
			r.Values[i] = &storev1.BackupValue{Value: &storev1.BackupValue_Text{Text: v}}
			size += 8 + len(v)
		case []byte:
			r.Values[i] = &storev1.BackupValue{Value: &storev1.BackupValue_Octets{Octets: v}}
			size += 8 + len(v)
		}
	}
	return r, size
}

// fromRow decodes what toRow made.
func fromRow(r *storev1.BackupRow) ([]any, error) {
	row := make([]any, len(r.GetValues()))
	for i, v := range r.GetValues() {
		switch v := v.GetValue().(type) {
		case *storev1.BackupValue_Number:
			row[i] = v.Number
		case *storev1.BackupValue_Text:
			row[i] = v.Text
		case *storev1.BackupValue_Octets:
			row[i] = v.Octets
		default:
			return nil, invalid("row with a value of no kind")
		}
	}
	return row, nil
}

// away tells, by no error, that an account may be put back: nobody uses it meanwhile, as the directory does not know it.
func (s *backups) away(ctx context.Context, id uint64) (mailbox.AccountID, error) {
	if id == 0 {
		return 0, nil // what belongs to no account
	}
	a, err := account(id)
	if err != nil {
		return a, err
	}
	p, err := s.Whole.Presence(ctx, a)
	switch {
	case err != nil:
		return a, toStatus(err)
	case p == whole.Absent:
		return a, nil
	case p == whole.Gone:
		return a, status.Errorf(codes.FailedPrecondition, "account %d was dropped here for good: its mail can come back to a new account", id)
	case p == whole.Lives:
		return a, lives(id)
	case s.Directory == nil:
		return a, nil
	}
	resp, err := s.Directory.Identify(ctx, &directoryv1.IdentifyRequest{Accounts: []uint64{id}})
	if err == nil && len(resp.GetByAccount()) == 1 && resp.GetByAccount()[0].GetAccount() != 0 {
		err = lives(id)
	}
	return a, err
}

func lives(id uint64) error {
	return status.Errorf(codes.FailedPrecondition, "account %d lives here: what it lacks can be added to it, but it is not replaced", id)
}

// Missing tells which emails of an account are still to be put back.
func (s *backups) Missing(ctx context.Context, req *storev1.MissingRequest) (*storev1.MissingResponse, error) {
	if len(req.GetEmails()) > maxBatch {
		return nil, invalid("%d emails, more than %d", len(req.GetEmails()), maxBatch)
	}
	a, err := s.away(ctx, req.GetAccount())
	if err != nil {
		return nil, err
	}
	ids := make([]mailbox.EmailID, len(req.GetEmails()))
	for i, e := range req.GetEmails() {
		ids[i] = mailbox.EmailID(e)
	}
	missing, err := s.Whole.Missing(ctx, a, ids)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.MissingResponse{}
	for _, e := range missing {
		resp.Emails = append(resp.Emails, uint64(e))
	}
	return resp, nil
}

// loadStatus is toStatus for what is put back.
func loadStatus(err error) error {
	switch {
	case errors.Is(err, whole.ErrUnknown):
		return invalid("%v", err)
	case errors.Is(err, whole.ErrTaken):
		return status.Error(codes.AlreadyExists, err.Error())
	case errors.Is(err, index.ErrCondemned), errors.Is(err, blob.ErrNotFound):
		return status.Error(codes.Aborted, err.Error())
	}
	return toStatus(err)
}
