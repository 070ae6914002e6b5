package submission

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// scramExchange hands the messages of RFC 5802 on to the directory, which alone knows the keys.
type scramExchange struct {
	s         *session
	ctx       context.Context
	mechanism string
	cancel    context.CancelFunc
	stream    grpc.BidiStreamingClient[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse]
}

// Next sends one message of the client. The server's last one comes with done.
func (x *scramExchange) Next(response []byte) ([]byte, bool, error) {
	if len(response) == 0 && x.stream == nil {
		return nil, false, nil // The client speaks first.
	}
	answer, err := x.step(response)
	if err != nil {
		return nil, false, authError(err)
	}
	if answer.GetDone() {
		if err := x.s.loggedIn(x.ctx, answer.GetAccount(), answer.GetAddress(), x.mechanism); err != nil {
			return nil, false, err
		}
	}
	return answer.GetChallenge(), answer.GetDone(), nil
}

func (x *scramExchange) step(response []byte) (*directoryv1.AuthenticateResponse, error) {
	req := &directoryv1.AuthenticateRequest{Data: response}
	if x.stream == nil {
		// The engine ends x.ctx with the exchange, and so the stream; a step that takes too long ends it before.
		var calling context.Context
		calling, x.cancel = context.WithCancel(x.ctx)
		stream, err := x.s.s.deps.Directory.Authenticate(calling)
		if err != nil {
			return nil, err
		}
		x.stream = stream
		req.Mechanism, req.Client, req.Service = x.mechanism, x.s.conn.Client(), authService
		// Also without -PLUS: it tells that -PLUS was offered, and a client that thinks otherwise was deceived.
		req.ChannelBinding = x.s.channelBinding()
	}
	if err := x.stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	timer := time.AfterFunc(authTimeout, x.cancel)
	defer timer.Stop()
	return x.stream.Recv()
}
