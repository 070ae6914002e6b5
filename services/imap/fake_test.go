package imap

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// fakeStore keeps one account in memory. It is the least that a session needs, so that a whole connection can be fuzzed
// without a database.
type fakeStore struct {
	mu     sync.Mutex
	boxes  []*fakeBox
	bodies map[uint64][]byte
	emails map[uint64]*storev1.Email
	modSeq mailbox.ModSeq
	nextID uint64
	// broken are emails by the place of the first octet of their body that cannot be read; -1 is a body that is not there.
	broken map[uint64]int64
	// fail, where it is set, is asked before every call.
	fail func(call string) error
	// counters, where it is set, answers Counters.
	counters func(accounts []uint64) ([]uint64, error)
}

type fakeBox struct {
	meta    *storev1.Mailbox
	entries []mailbox.Entry
}

func newFakeStore(messages ...string) *fakeStore {
	f := &fakeStore{bodies: map[uint64][]byte{}, emails: map[uint64]*storev1.Email{}, nextID: 100, modSeq: 1}
	inbox := f.add("INBOX")
	f.add("Archive")
	for _, m := range messages {
		f.file(inbox, f.email([]byte(m)), 0)
	}
	return f
}

func (f *fakeStore) add(name string) *fakeBox {
	f.nextID++
	b := &fakeBox{meta: &storev1.Mailbox{Id: f.nextID, Name: name, UidValidity: 1, UidNext: 1, Exists: true, RecentUid: 1, HighestModSeq: 1}}
	f.boxes = append(f.boxes, b)
	return b
}

func (f *fakeStore) email(body []byte) uint64 {
	f.nextID++
	var x message.Indexer
	x.Write(body)
	ix, _ := x.Finish()
	f.bodies[f.nextID] = body
	f.emails[f.nextID] = &storev1.Email{
		Id: f.nextID, BlobId: []byte{byte(f.nextID >> 8), byte(f.nextID)}, Size: int64(len(body)), PartIndex: ix.Encode(nil),
		Overlay: &mailv1.Overlay{Prefix: []byte("Return-Path: <x@example.net>\r\n")},
	}
	return f.nextID
}

func (f *fakeStore) file(b *fakeBox, email uint64, flags mailbox.Flags) uint32 {
	f.modSeq++
	e := f.emails[email]
	uid := b.meta.UidNext
	b.meta.UidNext++
	b.meta.HighestModSeq = uint64(f.modSeq)
	b.entries = append(b.entries, mailbox.Entry{UID: mailbox.UID(uid), Flags: flags, ModSeq: f.modSeq, Email: mailbox.EmailID(email),
		Size: e.Size + int64(len(e.Overlay.Prefix)), Received: 1_000_000})
	return uid
}

// enter locks the store for one call.
func (f *fakeStore) enter(call string) (func(), error) {
	if f.fail != nil {
		if err := f.fail(call); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	return f.mu.Unlock, nil
}

func (f *fakeStore) named(name string) *fakeBox {
	for _, b := range f.boxes {
		if b.meta.Name == name {
			return b
		}
	}
	return nil
}

func (f *fakeStore) byID(id uint64) (*fakeBox, error) {
	for _, b := range f.boxes {
		if b.meta.Id == id {
			return b, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such mailbox")
}

func (f *fakeStore) List(context.Context, *storev1.ListRequest, ...grpc.CallOption) (*storev1.ListResponse, error) {
	leave, err := f.enter("List")
	if err != nil {
		return nil, err
	}
	defer leave()
	resp := &storev1.ListResponse{}
	for _, b := range f.boxes {
		m := b.clone()
		m.Messages = uint32(len(b.entries))
		resp.Mailboxes = append(resp.Mailboxes, m)
	}
	return resp, nil
}

func (f *fakeStore) Find(_ context.Context, in *storev1.FindRequest, _ ...grpc.CallOption) (*storev1.FindResponse, error) {
	leave, err := f.enter("Find")
	if err != nil {
		return nil, err
	}
	defer leave()
	resp := &storev1.FindResponse{}
	for _, name := range in.Names {
		found := &storev1.FoundMailbox{}
		if b := f.named(name); b != nil {
			found.Mailbox = b.clone()
			found.Mailbox.Messages = uint32(len(b.entries))
		}
		resp.Found = append(resp.Found, found)
	}
	for _, id := range in.Ids {
		found := &storev1.FoundMailbox{}
		if b, err := f.byID(id); err == nil {
			found.Mailbox = b.clone()
			found.Mailbox.Messages = uint32(len(b.entries))
		}
		resp.Found = append(resp.Found, found)
	}
	return resp, nil
}

func (b *fakeBox) clone() *storev1.Mailbox {
	m := b.meta
	return &storev1.Mailbox{Id: m.Id, Name: m.Name, UidValidity: m.UidValidity, UidNext: m.UidNext, Exists: true, RecentUid: m.RecentUid,
		HighestModSeq: m.HighestModSeq, Keywords: slices.Clone(m.Keywords), Subscribed: m.Subscribed}
}

func (f *fakeStore) Create(_ context.Context, in *storev1.CreateRequest, _ ...grpc.CallOption) (*storev1.CreateResponse, error) {
	leave, err := f.enter("Create")
	if err != nil {
		return nil, err
	}
	defer leave()
	if f.named(in.Name) != nil {
		return nil, status.Error(codes.AlreadyExists, "exists")
	}
	if len(f.boxes) > 20 {
		return nil, status.Error(codes.ResourceExhausted, "enough")
	}
	return &storev1.CreateResponse{Mailbox: f.add(in.Name).clone()}, nil
}

func (f *fakeStore) Delete(_ context.Context, in *storev1.DeleteRequest, _ ...grpc.CallOption) (*storev1.DeleteResponse, error) {
	leave, err := f.enter("Delete")
	if err != nil {
		return nil, err
	}
	defer leave()
	b := f.named(in.Name)
	if b == nil {
		return nil, status.Error(codes.NotFound, "no such mailbox")
	}
	f.boxes = slices.DeleteFunc(f.boxes, func(x *fakeBox) bool { return x == b })
	return &storev1.DeleteResponse{}, nil
}

func (f *fakeStore) Rename(_ context.Context, in *storev1.RenameRequest, _ ...grpc.CallOption) (*storev1.RenameResponse, error) {
	leave, err := f.enter("Rename")
	if err != nil {
		return nil, err
	}
	defer leave()
	b := f.named(in.From)
	if b == nil || f.named(in.To) != nil {
		return nil, status.Error(codes.NotFound, "no such mailbox")
	}
	b.meta.Name = in.To
	return &storev1.RenameResponse{}, nil
}

func (f *fakeStore) Subscribe(_ context.Context, in *storev1.SubscribeRequest, _ ...grpc.CallOption) (*storev1.SubscribeResponse, error) {
	leave, err := f.enter("Subscribe")
	if err != nil {
		return nil, err
	}
	defer leave()
	if b := f.named(in.Name); b != nil {
		b.meta.Subscribed = in.Subscribed
	}
	return &storev1.SubscribeResponse{}, nil
}

// fakeStream gives messages that are there already.
type fakeStream[T any] struct {
	grpc.ClientStream
	list []*T
	err  error // behind them; nil is io.EOF
}

func (s *fakeStream[T]) Recv() (*T, error) {
	if len(s.list) == 0 {
		if s.err != nil {
			return nil, s.err
		}
		return nil, io.EOF
	}
	m := s.list[0]
	s.list = s.list[1:]
	return m, nil
}

func (f *fakeStore) Snapshot(_ context.Context, in *storev1.SnapshotRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	leave, err := f.enter("Snapshot")
	if err != nil {
		return nil, err
	}
	defer leave()
	b, err := f.byID(in.Mailbox)
	if err != nil {
		return nil, err
	}
	page := &storev1.SnapshotResponse{Mailbox: b.clone(), Done: true, Complete: true}
	if in.TakeRecent {
		b.meta.RecentUid = b.meta.UidNext
	}
	for i := 0; i < len(b.entries); {
		first := (b.entries[i].UID-1)/16*16 + 1
		c := mailbox.Chunk{FirstUID: first}
		for ; i < len(b.entries) && b.entries[i].UID < first+16; i++ {
			c.Add(b.entries[i])
		}
		p := c.Pack()
		page.Chunks = append(page.Chunks, &storev1.Chunk{FirstUid: uint32(p.FirstUID), MaxModSeq: uint64(p.MaxModSeq), Uids: p.UIDs,
			Flags: p.Flags, ModSeqs: p.ModSeqs, Emails: p.Emails, Sizes: p.Sizes, Received: p.Received, Saved: p.Saved})
	}
	return &fakeStream[storev1.SnapshotResponse]{list: []*storev1.SnapshotResponse{page}}, nil
}

func (f *fakeStore) Emails(_ context.Context, in *storev1.EmailsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.EmailsResponse], error) {
	leave, err := f.enter("Emails")
	if err != nil {
		return nil, err
	}
	defer leave()
	resp := &storev1.EmailsResponse{}
	for _, id := range in.Emails {
		if e := f.emails[id]; e != nil {
			resp.Emails = append(resp.Emails, e)
		}
	}
	return &fakeStream[storev1.EmailsResponse]{list: []*storev1.EmailsResponse{resp}}, nil
}

// Open is Bodies'.
func (f *fakeStore) Open(_ context.Context, in *storev1.OpenRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.OpenResponse], error) {
	leave, err := f.enter("Open")
	if err != nil {
		return nil, err
	}
	defer leave()
	s := &fakeStream[storev1.OpenResponse]{}
	for i, r := range in.Ranges {
		id := uint64(r.BlobId[0])<<8 | uint64(r.BlobId[1])
		body := f.bodies[id]
		if at, ok := f.broken[id]; ok && at < r.Offset+r.Length {
			s.err = status.Error(codes.DataLoss, "secret detail")
			if at < 0 {
				s.err = status.Error(codes.NotFound, "secret detail")
			}
			if at > r.Offset {
				s.list = append(s.list, &storev1.OpenResponse{Range: uint32(i), Data: body[r.Offset:at]})
			}
			return s, nil
		}
		for piece := range slices.Chunk(body[r.Offset:r.Offset+r.Length], 100) {
			s.list = append(s.list, &storev1.OpenResponse{Range: uint32(i), Data: piece})
		}
	}
	return s, nil
}

// each calls do with the entries of a packed set.
func (b *fakeBox) each(uids []byte, do func(*mailbox.Entry)) {
	set, _ := mailbox.DecodeUIDSet(uids)
	for i := range b.entries {
		if len(uids) == 0 || set.Contains(b.entries[i].UID) {
			do(&b.entries[i])
		}
	}
}

func (f *fakeStore) Flag(_ context.Context, in *storev1.FlagRequest, _ ...grpc.CallOption) (*storev1.FlagResponse, error) {
	leave, err := f.enter("Flag")
	if err != nil {
		return nil, err
	}
	defer leave()
	b, err := f.byID(in.Mailbox)
	if err != nil {
		return nil, err
	}
	bits, err := b.bits(in.Flags)
	if err != nil {
		return nil, err
	}
	f.modSeq++
	b.meta.HighestModSeq = uint64(f.modSeq)
	var modified mailbox.UIDSet
	b.each(in.Uids, func(e *mailbox.Entry) {
		if in.HasUnchangedSince && uint64(e.ModSeq) > in.UnchangedSince {
			modified = modified.Add(e.UID)
			return
		}
		e.ModSeq = f.modSeq
		switch in.Mode {
		case storev1.FlagMode_FLAG_MODE_ADD:
			e.Flags |= bits
		case storev1.FlagMode_FLAG_MODE_REMOVE:
			e.Flags &^= bits
		default:
			e.Flags = bits
		}
	})
	return &storev1.FlagResponse{ModSeq: uint64(f.modSeq), Modified: mailbox.AppendUIDSet(nil, modified)}, nil
}

func (b *fakeBox) bits(names []string) (mailbox.Flags, error) {
	var bits mailbox.Flags
	for _, n := range names {
		bit, ok := mailbox.FindFlag(n, b.meta.Keywords)
		if !ok {
			if len(b.meta.Keywords) == mailbox.MaxKeywords {
				return 0, status.Error(codes.FailedPrecondition, "keywords")
			}
			bit = mailbox.KeywordFlag(len(b.meta.Keywords))
			b.meta.Keywords = append(slices.Clone(b.meta.Keywords), n)
		}
		bits |= bit
	}
	return bits, nil
}

func (f *fakeStore) copyTo(in *storev1.CopyRequest) (src, dst *fakeBox, from, to mailbox.UIDSet, err error) {
	if src, err = f.byID(in.Mailbox); err != nil {
		return
	}
	if dst = f.named(in.Target); dst == nil {
		err = status.Error(codes.NotFound, "no such mailbox")
		return
	}
	if len(dst.entries) > 500 {
		err = status.Error(codes.ResourceExhausted, "enough")
		return
	}
	var list []mailbox.Entry
	src.each(in.Uids, func(e *mailbox.Entry) { list = append(list, *e) })
	for _, e := range list {
		from = from.Add(e.UID)
		to = to.Add(mailbox.UID(f.file(dst, uint64(e.Email), e.Flags&31)))
	}
	return
}

func (f *fakeStore) Copy(_ context.Context, in *storev1.CopyRequest, _ ...grpc.CallOption) (*storev1.CopyResponse, error) {
	leave, err := f.enter("Copy")
	if err != nil {
		return nil, err
	}
	defer leave()
	_, _, from, to, err := f.copyTo(in)
	return &storev1.CopyResponse{UidValidity: 1, SourceUids: mailbox.AppendUIDSet(nil, from), TargetUids: mailbox.AppendUIDSet(nil, to)}, err
}

func (f *fakeStore) Move(_ context.Context, in *storev1.MoveRequest, _ ...grpc.CallOption) (*storev1.MoveResponse, error) {
	leave, err := f.enter("Move")
	if err != nil {
		return nil, err
	}
	defer leave()
	src, _, from, to, err := f.copyTo(&storev1.CopyRequest{Mailbox: in.Mailbox, Uids: in.Uids, Target: in.Target})
	if err != nil {
		return nil, err
	}
	src.remove(f, func(e *mailbox.Entry) bool { return from.Contains(e.UID) })
	return &storev1.MoveResponse{UidValidity: 1, SourceUids: mailbox.AppendUIDSet(nil, from), TargetUids: mailbox.AppendUIDSet(nil, to)}, nil
}

func (b *fakeBox) remove(f *fakeStore, gone func(*mailbox.Entry) bool) {
	b.entries = slices.DeleteFunc(slices.Clone(b.entries), func(e mailbox.Entry) bool { return gone(&e) })
	f.modSeq++
	b.meta.HighestModSeq = uint64(f.modSeq)
}

func (f *fakeStore) Expunge(_ context.Context, in *storev1.ExpungeRequest, _ ...grpc.CallOption) (*storev1.ExpungeResponse, error) {
	leave, err := f.enter("Expunge")
	if err != nil {
		return nil, err
	}
	defer leave()
	b, err := f.byID(in.Mailbox)
	if err != nil {
		return nil, err
	}
	var gone mailbox.UIDSet
	b.each(in.Uids, func(e *mailbox.Entry) {
		if e.Flags&mailbox.Deleted != 0 {
			gone = gone.Add(e.UID)
		}
	})
	b.remove(f, func(e *mailbox.Entry) bool { return gone.Contains(e.UID) })
	return &storev1.ExpungeResponse{Expunged: mailbox.AppendUIDSet(nil, gone), ModSeq: uint64(f.modSeq)}, nil
}

// fakeAppend takes an APPEND.
type fakeAppend struct {
	grpc.ClientStream
	f      *fakeStore
	start  *storev1.AppendStart
	data   []byte
	bodies [][]byte
}

func (a *fakeAppend) Send(r *storev1.AppendRequest) error {
	switch p := r.Part.(type) {
	case *storev1.AppendRequest_Start:
		a.start, a.data = p.Start, nil
	case *storev1.AppendRequest_Data:
		a.data = append(a.data, p.Data...)
	default:
		a.bodies = append(a.bodies, a.data)
	}
	return nil
}

func (a *fakeAppend) CloseAndRecv() (*storev1.AppendResponse, error) {
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	b := a.f.named(a.start.Mailbox)
	if b == nil {
		return nil, status.Error(codes.NotFound, "no such mailbox")
	}
	resp := &storev1.AppendResponse{UidValidity: 1, Mailbox: b.meta.Id}
	for _, body := range a.bodies {
		resp.Uids = append(resp.Uids, a.f.file(b, a.f.email(body), 0))
	}
	return resp, nil
}

func (f *fakeStore) Append(context.Context, ...grpc.CallOption) (grpc.ClientStreamingClient[storev1.AppendRequest, storev1.AppendResponse], error) {
	leave, err := f.enter("Append")
	if err != nil {
		return nil, err
	}
	defer leave()
	return &fakeAppend{f: f}, nil
}

func (f *fakeStore) Counters(_ context.Context, in *storev1.CountersRequest, _ ...grpc.CallOption) (*storev1.CountersResponse, error) {
	if f.counters == nil {
		return &storev1.CountersResponse{ModSeqs: make([]uint64, len(in.Accounts))}, nil
	}
	seqs, err := f.counters(in.Accounts)
	return &storev1.CountersResponse{ModSeqs: seqs}, err
}

// fakeQuotas has one root.
type fakeQuotas struct{}

func (fakeQuotas) GetQuota(context.Context, *storev1.GetQuotaRequest, ...grpc.CallOption) (*storev1.GetQuotaResponse, error) {
	return &storev1.GetQuotaResponse{Roots: []*storev1.QuotaRoot{{Limits: &storev1.QuotaLimits{Size: 1 << 20}}}}, nil
}

// fakeDirectory lets everybody in.
type fakeDirectory struct{ Directory }

func (fakeDirectory) Login(context.Context, *directoryv1.LoginRequest, ...grpc.CallOption) (*directoryv1.LoginResponse, error) {
	return &directoryv1.LoginResponse{Account: 1, Address: "a@example.org"}, nil
}

func (fakeDirectory) Authenticate(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse], error) {
	return nil, status.Error(codes.Unavailable, "none")
}

type fakeNotices struct{}

func (fakeNotices) Subscribe(uint64, func(*mailv1.MailboxChanged)) func() { return func() {} }

// memConn is a connection whose peer says what it has to say at once.
type memConn struct {
	net.Conn
	in  *bytes.Reader
	mu  sync.Mutex
	out bytes.Buffer
}

func (c *memConn) Read(p []byte) (int, error) { return c.in.Read(p) }
func (c *memConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}
func (c *memConn) Close() error                     { return nil }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// fakeService is a role over fakes.
func fakeService(t testing.TB, store *fakeStore) *Service {
	t.Helper()
	svc, err := New(Config{PlaintextNetworks: []string{"127.0.0.0/8"}, MaxAppend: 1 << 20}, Deps{
		Mailboxes: store, Bodies: store, Quotas: fakeQuotas{}, Directory: fakeDirectory{}, Notices: fakeNotices{}, Log: slog.New(slog.DiscardHandler),
		Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// converse runs a whole connection and returns what the server said.
func converse(svc *Service, text string) string {
	c := &memConn{in: bytes.NewReader([]byte(text))}
	newSession(svc, c, front.Peer{Client: front.ClientOf(c)}).Serve()
	svc.pushes.Wait()
	return c.out.String()
}
