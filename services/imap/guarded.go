package imap

import (
	"context"

	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// guarded sends what somebody asks of another's mailboxes where only stores answer that look at his rights.
type guarded struct {
	Mailboxes
	foreign Mailboxes
}

// withOwner is what every request about mailboxes tells.
type withOwner interface {
	GetAccount() uint64
	GetActor() uint64
}

func (g guarded) of(in withOwner) Mailboxes {
	if in.GetActor() != 0 && in.GetActor() != in.GetAccount() {
		return g.foreign
	}
	return g.Mailboxes
}

func (g guarded) List(ctx context.Context, in *storev1.ListRequest, opts ...grpc.CallOption) (*storev1.ListResponse, error) {
	return g.of(in).List(ctx, in, opts...)
}

func (g guarded) Find(ctx context.Context, in *storev1.FindRequest, opts ...grpc.CallOption) (*storev1.FindResponse, error) {
	return g.of(in).Find(ctx, in, opts...)
}

func (g guarded) Create(ctx context.Context, in *storev1.CreateRequest, opts ...grpc.CallOption) (*storev1.CreateResponse, error) {
	return g.of(in).Create(ctx, in, opts...)
}

func (g guarded) Delete(ctx context.Context, in *storev1.DeleteRequest, opts ...grpc.CallOption) (*storev1.DeleteResponse, error) {
	return g.of(in).Delete(ctx, in, opts...)
}

func (g guarded) Rename(ctx context.Context, in *storev1.RenameRequest, opts ...grpc.CallOption) (*storev1.RenameResponse, error) {
	return g.of(in).Rename(ctx, in, opts...)
}

func (g guarded) Subscribe(ctx context.Context, in *storev1.SubscribeRequest, opts ...grpc.CallOption) (*storev1.SubscribeResponse, error) {
	return g.of(in).Subscribe(ctx, in, opts...)
}

func (g guarded) Snapshot(ctx context.Context, in *storev1.SnapshotRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	return g.of(in).Snapshot(ctx, in, opts...)
}

func (g guarded) Emails(ctx context.Context, in *storev1.EmailsRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.EmailsResponse], error) {
	return g.of(in).Emails(ctx, in, opts...)
}

func (g guarded) Flag(ctx context.Context, in *storev1.FlagRequest, opts ...grpc.CallOption) (*storev1.FlagResponse, error) {
	return g.of(in).Flag(ctx, in, opts...)
}

func (g guarded) Copy(ctx context.Context, in *storev1.CopyRequest, opts ...grpc.CallOption) (*storev1.CopyResponse, error) {
	return g.of(in).Copy(ctx, in, opts...)
}

func (g guarded) Move(ctx context.Context, in *storev1.MoveRequest, opts ...grpc.CallOption) (*storev1.MoveResponse, error) {
	return g.of(in).Move(ctx, in, opts...)
}

func (g guarded) Expunge(ctx context.Context, in *storev1.ExpungeRequest, opts ...grpc.CallOption) (*storev1.ExpungeResponse, error) {
	return g.of(in).Expunge(ctx, in, opts...)
}
