package pop3

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// SASL mechanisms.
const (
	mechPlain     = "PLAIN"
	mechLogin     = "LOGIN"
	mechSCRAM     = "SCRAM-SHA-256"
	mechSCRAMPlus = "SCRAM-SHA-256-PLUS"
)

// Errors of an exchange.
var (
	errCancelled = errors.New("authentication cancelled") // the client answered "*" (RFC 5034 §4)
	errResponse  = errors.New("malformed response")
)

// auth runs a SASL exchange (RFC 5034 §4). Without an argument it lists the mechanisms, as clients of before RFC 1734 expect.
func (c *session) auth(args []byte) result {
	if len(bytes.TrimSpace(args)) == 0 {
		b := append(c.out.take(), "+OK\r\n"...)
		for _, m := range c.mechanisms() {
			b = append(append(b, m...), "\r\n"...)
		}
		c.out.give(append(b, ".\r\n"...))
		return good
	}
	name, initial, given := bytes.Cut(args, []byte{' '})
	mechanism := strings.ToUpper(string(name))
	if !c.mayLogin() {
		return c.out.fail("", "TLS is needed to log in: STLS first")
	}
	if !slices.Contains(c.mechanisms(), mechanism) {
		return c.out.misused("unknown mechanism")
	}
	x := &exchange{session: c, mechanism: mechanism, given: given}
	if given && string(initial) != "=" {
		var err error
		if x.initial, err = base64.StdEncoding.AppendDecode(nil, initial); err != nil {
			return c.out.misused("bad base64")
		}
	}
	var r result
	var err error
	switch mechanism {
	case mechPlain:
		r, err = x.plain()
	case mechLogin:
		r, err = x.login()
	default:
		r, err = x.scram()
	}
	switch {
	case errors.Is(err, errCancelled):
		return c.out.misused("cancelled")
	case errors.Is(err, errResponse):
		return c.out.misused("malformed response")
	case err != nil:
		c.failed(err)
		return silent
	}
	return r
}

// exchange is one SASL exchange. Its steps return an error where the connection failed or the client gave up.
type exchange struct {
	*session
	mechanism string
	initial   []byte
	given     bool
	steps     int
}

// first is the initial response, or the answer to an empty challenge.
func (x *exchange) first() ([]byte, error) {
	if x.given {
		return x.initial, nil
	}
	return x.ask(nil)
}

// ask sends a challenge and reads the response.
func (x *exchange) ask(challenge []byte) ([]byte, error) {
	if x.steps++; x.steps > maxAuthSteps {
		return nil, errResponse
	}
	b := append(x.out.take(), "+ "...)
	b = base64.StdEncoding.AppendEncode(b, challenge)
	x.out.give(append(b, "\r\n"...))
	line, err := x.line(maxAuthLine)
	switch {
	case errors.Is(err, errLongLine):
		return nil, errResponse
	case err != nil:
		return nil, err
	case len(line) == 1 && line[0] == '*':
		return nil, errCancelled
	}
	response, err := base64.StdEncoding.AppendDecode(nil, line)
	if err != nil {
		return nil, errResponse
	}
	return response, nil
}

// plain is RFC 4616. Nobody acts for another, so an authorization identity must be the user's own name.
func (x *exchange) plain() (result, error) {
	message, err := x.first()
	if err != nil {
		return silent, err
	}
	fields := bytes.Split(message, []byte{0})
	if len(fields) != 3 || len(fields[1]) == 0 || len(fields[2]) == 0 {
		return silent, errResponse
	}
	if len(fields[0]) > 0 && !bytes.EqualFold(fields[0], fields[1]) {
		return x.out.fail("AUTH", "cannot act for another"), nil
	}
	return x.passwordLogin(x.mechanism, string(fields[1]), string(fields[2])), nil
}

// login is the mechanism that never had an RFC; an initial response is the user name.
func (x *exchange) login() (result, error) {
	user := x.initial
	var err error
	if !x.given {
		if user, err = x.ask([]byte("Username:")); err != nil {
			return silent, err
		}
	}
	password, err := x.ask([]byte("Password:"))
	if err != nil {
		return silent, err
	}
	return x.passwordLogin(x.mechanism, string(user), string(password)), nil
}

// scram carries RFC 5802 messages between the client and the directory, which alone knows the credentials.
func (x *exchange) scram() (result, error) {
	ctx, cancel := context.WithTimeout(x.ctx, x.svc.cfg.LoginTimeout)
	defer cancel()
	data, err := x.first()
	if err != nil {
		return silent, err
	}
	if len(data) == 0 {
		return silent, errResponse
	}
	stream, err := x.svc.deps.Directory.Authenticate(ctx)
	if err != nil {
		return x.loginFailed(x.mechanism, err), nil
	}
	req := &directoryv1.AuthenticateRequest{
		Mechanism: x.mechanism, Client: x.client.String(), Service: serviceName, Data: data, ChannelBinding: x.binding(),
	}
	for {
		// An error of Send is told by Recv.
		if err := stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
			return x.loginFailed(x.mechanism, err), nil
		}
		resp, err := stream.Recv()
		if err != nil {
			return x.loginFailed(x.mechanism, err), nil
		}
		if resp.GetDone() && len(resp.GetChallenge()) == 0 {
			return x.loggedIn(x.mechanism, resp.GetAccount(), resp.GetAddress(), ""), nil
		}
		if data, err = x.ask(resp.GetChallenge()); err != nil {
			return silent, err
		}
		if resp.GetDone() {
			// The server's signature is a challenge that is answered by nothing (RFC 5034 §4).
			if len(data) > 0 {
				return silent, errResponse
			}
			return x.loggedIn(x.mechanism, resp.GetAccount(), resp.GetAddress(), ""), nil
		}
		req = &directoryv1.AuthenticateRequest{Data: data}
	}
}
