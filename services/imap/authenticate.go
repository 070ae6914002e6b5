package imap

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// errCancelled is a client that answers "*" (RFC 9051 §6.2.2).
var errCancelled = errors.New("authentication cancelled")

// authenticate runs a SASL exchange (RFC 9051 §6.2.2, RFC 4959).
func (s *session) authenticate(l *wire.Lexer) (reply, error) {
	l.Space()
	mechanism := string(l.Word())
	var initial []byte
	given := false
	if l.Accept(' ') {
		given = true
		if raw := l.Rest(); !(len(raw) == 1 && raw[0] == '=') {
			var err error
			if initial, err = base64.StdEncoding.AppendDecode(nil, raw); err != nil {
				return bad("bad base64"), nil
			}
		}
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if !s.mayLogin() {
		return no("PRIVACYREQUIRED", "TLS is required to log in"), nil
	}
	x := &exchange{s: s, initial: initial, given: given}
	var r reply
	var err error
	switch mechanism {
	case "PLAIN":
		r, err = x.plain()
	case "LOGIN":
		r, err = x.login()
	case "SCRAM-SHA-256":
		r, err = x.scram(mechanism, s.channelBinding())
	case "SCRAM-SHA-256-PLUS":
		binding := s.channelBinding()
		if binding == nil {
			return no("", "no channel to bind to"), nil
		}
		r, err = x.scram(mechanism, binding)
	default:
		return no("", "unknown mechanism"), nil
	}
	switch {
	case err == errCancelled:
		return bad("cancelled"), nil
	case s.readErr != nil:
		return reply{silent: true}, nil
	}
	return r, err
}

// channelBinding is the tls-exporter value of RFC 9266, nil where there is none: it needs TLS 1.3 (or extended master
// secrets, which cannot be told).
func (s *session) channelBinding() []byte {
	tc, ok := s.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	if state.Version < tls.VersionTLS13 {
		return nil
	}
	b, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil
	}
	return b
}

// exchange is one SASL exchange.
type exchange struct {
	s       *session
	initial []byte
	given   bool
}

// ask sends a challenge and reads the response; the initial response answers the first, empty one.
func (x *exchange) ask(challenge []byte) ([]byte, error) {
	if x.given {
		x.given = false
		return x.initial, nil
	}
	return x.prompt(challenge)
}

// prompt is ask where the server speaks first.
func (x *exchange) prompt(challenge []byte) ([]byte, error) {
	b := append(x.s.out.Take(), "+ "...)
	b = base64.StdEncoding.AppendEncode(b, challenge)
	x.s.out.Give(append(b, "\r\n"...))
	line, err := x.s.in.Command(nil)
	if err == wire.ErrTooLong || err == wire.ErrRefused {
		return nil, bad("bad response")
	}
	if err != nil {
		x.s.readErr = err
		return nil, err
	}
	if len(line) == 1 && line[0] == '*' {
		return nil, errCancelled
	}
	if len(line) == 1 && line[0] == '=' {
		// QUIRK: go-imap writes an empty response as RFC 4959 has it for initial ones only.
		line = nil
	}
	response, err := base64.StdEncoding.AppendDecode(nil, line)
	if err != nil {
		return nil, bad("bad base64")
	}
	return response, nil
}

// plain is RFC 4616.
func (x *exchange) plain() (reply, error) {
	message, err := x.ask(nil)
	if err != nil {
		return reply{}, err
	}
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 {
		return bad("bad PLAIN message"), nil
	}
	if len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return no("AUTHORIZATIONFAILED", "cannot act for another"), nil
	}
	return x.s.passwordLogin("PLAIN", string(parts[1]), string(parts[2])), nil
}

// login is the LOGIN mechanism, which never had an RFC.
func (x *exchange) login() (reply, error) {
	user, err := x.ask([]byte("Username:"))
	if err != nil {
		return reply{}, err
	}
	password, err := x.prompt([]byte("Password:"))
	if err != nil {
		return reply{}, err
	}
	return x.s.passwordLogin("LOGIN", string(user), string(password)), nil
}

// scram passes RFC 5802 messages between client and directory, which alone knows the credentials.
func (x *exchange) scram(mechanism string, binding []byte) (reply, error) {
	ctx, cancel := context.WithTimeout(x.s.ctx, x.s.svc.cfg.LoginTimeout)
	defer cancel()
	stream, err := x.s.svc.deps.Directory.Authenticate(ctx)
	if err != nil {
		return x.s.loginFailed(mechanism, "", err), nil
	}
	data, err := x.ask(nil)
	if err != nil {
		return reply{}, err
	}
	req := &directoryv1.AuthenticateRequest{
		Mechanism: mechanism, Client: x.s.client.String(), Service: serviceName, Data: data, ChannelBinding: binding,
	}
	for {
		if err := stream.Send(req); err != nil && err != io.EOF {
			return x.s.loginFailed(mechanism, "", err), nil
		}
		resp, err := stream.Recv()
		if err != nil {
			return x.s.loginFailed(mechanism, "", err), nil
		}
		if resp.GetDone() && len(resp.GetChallenge()) == 0 {
			return x.s.loggedIn(mechanism, resp.GetAccount(), resp.GetAddress()), nil
		}
		// The server's last message is a challenge that the client answers with nothing (RFC 9051 §6.2.2).
		data, err := x.prompt(resp.GetChallenge())
		if err != nil {
			return reply{}, err
		}
		if resp.GetDone() {
			if len(data) > 0 {
				return bad("unexpected response"), nil
			}
			return x.s.loggedIn(mechanism, resp.GetAccount(), resp.GetAddress()), nil
		}
		req = &directoryv1.AuthenticateRequest{Data: data}
	}
}
