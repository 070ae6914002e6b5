package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/xdg-go/scram"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// maxSASLData is the longest response of a client, octets: as RFC 4954 §4 bounds a line.
const maxSASLData = 12 << 10

// SASL mechanisms of Authenticate.
const (
	mechPlain     = "PLAIN"
	mechSCRAM     = "SCRAM-SHA-256"
	mechSCRAMPlus = "SCRAM-SHA-256-PLUS"
)

// errMalformed is the answer to a response that is not of the mechanism's form.
var errMalformed = status.Error(codes.InvalidArgument, "malformed SASL response")

// Authenticate runs one exchange: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-256-PLUS. An empty first response is answered by an
// empty challenge. The last answer has done set and may carry a challenge still (the server's signature), which the client
// answers by an empty response; the front-end deals with that alone.
//
// channel_binding in the first request tells that -PLUS was offered: with the plain SCRAM a client that supports binding and
// believes that we do not is refused then (RFC 5802 §6). Errors are Login's, and INVALID_ARGUMENT for an unknown mechanism or
// a malformed response.
func (s *Service) Authenticate(stream grpc.BidiStreamingServer[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	x := &exchange{Service: s, stream: stream, client: first.Client, service: first.Service}
	mechanism := strings.ToUpper(first.Mechanism)
	switch mechanism {
	case mechPlain, mechSCRAM, mechSCRAMPlus:
	default:
		return status.Error(codes.InvalidArgument, "unsupported SASL mechanism: use SCRAM-SHA-256-PLUS, SCRAM-SHA-256 or PLAIN")
	}
	if mechanism == mechSCRAMPlus && len(first.ChannelBinding) == 0 {
		return status.Error(codes.InvalidArgument, "SCRAM-SHA-256-PLUS needs TLS")
	}
	data := first.Data
	if len(data) == 0 {
		if data, err = x.ask(nil); err != nil {
			return err
		}
	}
	if len(data) > maxSASLData {
		return errMalformed
	}
	var a *account.Account
	var last []byte
	if mechanism == mechPlain {
		a, err = x.plain(stream.Context(), data)
	} else {
		a, last, err = x.scram(stream.Context(), data, first.ChannelBinding, mechanism == mechSCRAMPlus)
	}
	if err != nil {
		return err
	}
	return stream.Send(&directoryv1.AuthenticateResponse{Challenge: last, Done: true, Account: uint64(a.ID), Address: a.Address})
}

// exchange is one run of Authenticate.
type exchange struct {
	*Service
	stream          grpc.BidiStreamingServer[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse]
	client, service string
}

// ask sends a challenge and waits for the client's response.
func (x *exchange) ask(challenge []byte) ([]byte, error) {
	if err := x.stream.Send(&directoryv1.AuthenticateResponse{Challenge: challenge}); err != nil {
		return nil, err
	}
	req, err := x.stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, status.Error(codes.Canceled, "the client gave up")
	}
	if err != nil {
		return nil, err
	}
	if len(req.Data) > maxSASLData {
		return nil, errMalformed
	}
	return req.Data, nil
}

// plain is RFC 4616: [authzid] NUL authcid NUL passwd.
func (x *exchange) plain(ctx context.Context, data []byte) (*account.Account, error) {
	fields := bytes.Split(data, []byte{0})
	if len(fields) != 3 || len(fields[1]) == 0 || len(fields[2]) == 0 {
		return nil, errMalformed
	}
	a, err := x.login(ctx, string(fields[1]), string(fields[2]), x.client, x.service)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(fields[0], fields[1]) && !actsForItself(a, string(fields[0])) {
		return nil, x.failed(ctx, string(fields[1]), x.client, x.service, errCredentials)
	}
	return a, nil
}

// actsForItself tells whether an authorization identity names the account that authenticated: nobody acts for others yet.
func actsForItself(a *account.Account, authzid string) bool {
	if authzid == "" {
		return true
	}
	addr, err := account.ParseAddress(authzid)
	return err == nil && addr.String() == a.Address
}

// scram is RFC 5802 with SHA-256 (RFC 7677). last is the server's signature.
func (x *exchange) scram(ctx context.Context, data, binding []byte, plus bool) (a *account.Account, last []byte, err error) {
	var user, name string
	var usable bool
	var trouble error // of ours, not the client's
	server, err := scram.SHA256.NewServer(func(u string) (scram.StoredCredentials, error) {
		user = u
		var creds scram.StoredCredentials
		a, name, creds, usable, trouble = x.scramCredentials(ctx, u)
		return creds, trouble
	})
	if err != nil {
		return nil, nil, fmt.Errorf("begin SCRAM: %w", err)
	}
	cb := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: binding}
	var conv *scram.ServerConversation
	switch {
	case plus:
		conv = server.NewConversationWithChannelBindingRequired(cb)
	case len(binding) > 0:
		conv = server.NewConversationWithChannelBinding(cb)
	default:
		conv = server.NewConversation()
	}
	challenge, err := conv.Step(string(data))
	switch {
	case trouble != nil:
		return nil, nil, x.failed(ctx, user, x.client, x.service, trouble)
	case err != nil && challenge == "":
		return nil, nil, errMalformed
	case err != nil:
		return nil, nil, x.failed(ctx, user, x.client, x.service, errCredentials)
	}
	if data, err = x.ask([]byte(challenge)); err != nil {
		return nil, nil, err
	}
	attempt, err := x.throttle.begin(ctx, name, clientNetwork(x.client))
	if err != nil {
		return nil, nil, x.failed(ctx, user, x.client, x.service, err)
	}
	good := false
	defer func() { attempt.end(good) }()
	signature, err := conv.Step(string(data))
	good = err == nil && conv.Valid() && usable && actsForItself(a, conv.AuthzID())
	if !good {
		x.guessedUnseen(name, x.client)
		return nil, nil, x.failed(ctx, user, x.client, x.service, errCredentials)
	}
	x.succeeded(ctx, a, x.client, x.service)
	return a, []byte(signature), nil
}

// scramCredentials is what the conversation compares with. A user who does not exist, may not log in, or has given up SCRAM
// gets made-up keys, always the same, so that the challenge tells nothing.
func (x *exchange) scramCredentials(ctx context.Context, user string) (a *account.Account, name string, creds scram.StoredCredentials, usable bool, err error) {
	a, name, err = x.userAccount(ctx, user)
	if err != nil {
		return nil, name, creds, false, err
	}
	c, usable, err := x.credentialOf(ctx, a, name)
	if err != nil {
		return nil, name, creds, false, err
	}
	keys, ok := c.Keys()
	if !ok {
		usable = false
		if c, err = x.fake(ctx, name); err != nil {
			return nil, name, creds, false, err
		}
		keys, _ = c.Keys()
	}
	creds = scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(keys.Salt), Iters: keys.Iterations},
		StoredKey:  keys.StoredKey[:], ServerKey: keys.ServerKey[:],
	}
	return a, name, creds, usable, nil
}
