package rpc

import (
	"context"
	"strings"

	"google.golang.org/grpc"
)

// GuardedMailboxes is mailfarm.store.v1.Mailboxes as it is served by stores that look at the rights of who asks. Those of
// before pass over the actor of a request and take it for the owner's, so what somebody asks of another's mailboxes goes by
// this name: of an older store it gets UNIMPLEMENTED, whichever process a call comes to.
const GuardedMailboxes = "mailfarm.store.v1.GuardedMailboxes"

// Renamed is a service under another name.
func Renamed(desc *grpc.ServiceDesc, name string) *grpc.ServiceDesc {
	renamed := *desc
	renamed.ServiceName = name
	return &renamed
}

// RenamedConn calls a service by another name than its generated client does.
type RenamedConn struct {
	grpc.ClientConnInterface
	Name string
}

// Invoke is grpc.ClientConnInterface's.
func (c RenamedConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConnInterface.Invoke(ctx, c.method(method), args, reply, opts...)
}

// NewStream is grpc.ClientConnInterface's.
func (c RenamedConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConnInterface.NewStream(ctx, desc, c.method(method), opts...)
}

func (c RenamedConn) method(full string) string {
	return "/" + c.Name + full[strings.LastIndexByte(full, '/'):]
}
