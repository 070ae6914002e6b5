package directory_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"
	"google.golang.org/grpc/codes"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/credential"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

func (f *farm) login(ctx context.Context, user, password, client string) (*directoryv1.LoginResponse, error) {
	return f.Login(ctx, &directoryv1.LoginRequest{User: user, Password: password, Client: client, Service: "imap"})
}

func TestLogin(t *testing.T) {
	f := start(t)
	id := f.account(t, "alice@example.org", "correct horse")
	f.alias(t, "sales@example.org", "alice@example.org")
	hashes := credential.NewArgon2id("argon password")
	if r := f.importAll(t, [][2]string{{"argon@example.org", hashes.String()}}); r.Added != 1 {
		t.Fatalf("import: %v", r)
	}
	for _, row := range []struct {
		name, user, password string
		want                 codes.Code
	}{
		{"right", "alice@example.org", "correct horse", codes.OK},
		{"right again", "alice@example.org", "correct horse", codes.OK},
		{"other case", "Alice@EXAMPLE.org", "correct horse", codes.OK},
		{"primary domain", "alice", "correct horse", codes.OK},
		{"argon2id", "argon@example.org", "argon password", codes.OK},
		{"wrong password", "alice@example.org", "correct horse ", codes.Unauthenticated},
		{"empty password", "alice@example.org", "", codes.Unauthenticated},
		{"password of another", "alice@example.org", "argon password", codes.Unauthenticated},
		{"unknown user", "nobody@example.org", "correct horse", codes.Unauthenticated},
		{"alias", "sales@example.org", "correct horse", codes.Unauthenticated},
		{"no address", "a b c", "correct horse", codes.Unauthenticated},
		{"other domain", "alice@example.net", "correct horse", codes.Unauthenticated},
		{"long user", strings.Repeat("x", 5000), "correct horse", codes.Unauthenticated},
		{"long password", "alice@example.org", strings.Repeat("x", 100_000), codes.Unauthenticated},
	} {
		t.Run(row.name, func(t *testing.T) {
			resp, err := f.login(t.Context(), row.user, row.password, "192.0.2.1")
			wantCode(t, "login", err, row.want)
			if err == nil && strings.HasPrefix(strings.ToLower(row.user), "alice") && (resp.Account != id || resp.Address != "alice@example.org") {
				t.Errorf("got %v, want account %d of alice@example.org", resp, id)
			}
		})
	}
}

// TestPasswdEndsTheCachedLogin: what was right a moment ago is wrong right after the change, also for another process.
func TestPasswdEndsTheCachedLogin(t *testing.T) {
	store := openStore(t)
	f := serve(t, cheap, store)
	cfg := cheap
	cfg.CacheCheck = time.Nanosecond
	other := serve(t, cfg, store)
	f.domain(t, "example.org")
	f.account(t, "alice@example.org", "first password")
	for _, d := range []*farm{f, other, f, other} {
		if _, err := d.login(t.Context(), "alice@example.org", "first password", ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.SetPassword(t.Context(), &directoryv1.SetPasswordRequest{Address: "alice@example.org", Password: "second password"}); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*farm{"same process": f, "other process": other} {
		_, err := d.login(t.Context(), "alice@example.org", "first password", "")
		wantCode(t, name+": old password", err, codes.Unauthenticated)
		_, err = d.login(t.Context(), "alice@example.org", "second password", "")
		wantCode(t, name+": new password", err, codes.OK)
	}
	if _, err := f.RemoveAccount(t.Context(), &directoryv1.RemoveAccountRequest{Address: "alice@example.org"}); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*farm{"same process": f, "other process": other} {
		_, err := d.login(t.Context(), "alice@example.org", "second password", "")
		wantCode(t, name+": removed account", err, codes.Unauthenticated)
	}
	// The same address and password again is another account.
	f.account(t, "alice@example.org", "second password")
	_, err := other.login(t.Context(), "alice@example.org", "second password", "")
	wantCode(t, "account made again", err, codes.OK)
}

func TestDisabledAccount(t *testing.T) {
	f := start(t)
	c, err := credential.NewSCRAM("correct horse", credential.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.PutAccounts(t.Context(), []account.Change{{Account: account.Account{ID: 7, Address: "alice@example.org", Credential: c.String(), Disabled: true}}}); err != nil {
		t.Fatal(err)
	}
	_, err = f.login(t.Context(), "alice@example.org", "correct horse", "")
	wantCode(t, "login of a disabled account", err, codes.Unauthenticated)
	_, err = f.scram(t.Context(), "SCRAM-SHA-256", nil, newClient(t, "alice@example.org", "correct horse", "").NewConversation())
	wantCode(t, "SCRAM of a disabled account", err, codes.Unauthenticated)
	resp, err := f.Owns(t.Context(), &directoryv1.OwnsRequest{Account: 7, Addresses: []string{"alice@example.org"}})
	if err != nil || resp.Owns[0] {
		t.Errorf("a disabled account owns its address: %v, %v", resp, err)
	}
}

func newClient(t testing.TB, user, password, authzid string) *scram.Client {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, authzid)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// scram plays a client's conversation to its end.
func (f *farm) scram(ctx context.Context, mechanism string, binding []byte, conv *scram.ClientConversation) (*directoryv1.AuthenticateResponse, error) {
	stream, err := f.Authenticate(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.CloseSend()
	first, err := conv.Step("")
	if err != nil {
		return nil, err
	}
	req := &directoryv1.AuthenticateRequest{Mechanism: mechanism, Client: "192.0.2.1", Service: "imap", ChannelBinding: binding, Data: []byte(first)}
	for {
		if err := stream.Send(req); err != nil {
			_, err := stream.Recv() // tells why
			return nil, err
		}
		resp, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		answer, err := conv.Step(string(resp.Challenge))
		if err != nil {
			return nil, fmt.Errorf("the client does not accept %q: %w", resp.Challenge, err)
		}
		if resp.Done {
			if !conv.Valid() {
				return nil, fmt.Errorf("done, but the client is not satisfied")
			}
			return resp, nil
		}
		req = &directoryv1.AuthenticateRequest{Data: []byte(answer)}
	}
}

func TestSCRAM(t *testing.T) {
	f := start(t)
	id := f.account(t, "alice@example.org", "correct horse")
	f.account(t, "bob@example.org", "correct horse")
	f.account(t, "ärger@example.org", "pässwörd und so")
	if r := f.importAll(t, [][2]string{{"argon@example.org", credential.NewArgon2id("argon password").String()}}); r.Added != 1 {
		t.Fatalf("import: %v", r)
	}
	good := []byte("0123456789abcdef0123456789abcdef")
	exporter := func(data []byte) scram.ChannelBinding {
		return scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: data}
	}
	alice := func() *scram.Client { return newClient(t, "alice@example.org", "correct horse", "") }
	for _, row := range []struct {
		name, mechanism string
		binding         []byte // the server's
		conv            *scram.ClientConversation
		want            codes.Code
	}{
		{"plain scram", "SCRAM-SHA-256", nil, alice().NewConversation(), codes.OK},
		{"plain scram over TLS", "scram-sha-256", good, alice().NewConversation(), codes.OK},
		{"client saw no -PLUS and there is none", "SCRAM-SHA-256", nil, alice().NewConversationAdvertisingChannelBinding(), codes.OK},
		{"client saw no -PLUS but there is", "SCRAM-SHA-256", good, alice().NewConversationAdvertisingChannelBinding(), codes.Unauthenticated},
		{"plus", "SCRAM-SHA-256-PLUS", good, alice().NewConversationWithChannelBinding(exporter(good)), codes.OK},
		{"plus through a middleman", "SCRAM-SHA-256-PLUS", good, alice().NewConversationWithChannelBinding(exporter([]byte("another connection's value......"))), codes.Unauthenticated},
		{"plus without binding", "SCRAM-SHA-256-PLUS", good, alice().NewConversation(), codes.Unauthenticated},
		{"plus with another type", "SCRAM-SHA-256-PLUS", good, alice().NewConversationWithChannelBinding(scram.NewTLSUniqueBinding(good)), codes.Unauthenticated},
		{"plus without TLS", "SCRAM-SHA-256-PLUS", nil, alice().NewConversationWithChannelBinding(exporter(good)), codes.InvalidArgument},
		{"own authzid", "SCRAM-SHA-256", nil, newClient(t, "alice@example.org", "correct horse", "Alice@Example.org").NewConversation(), codes.OK},
		{"another's authzid", "SCRAM-SHA-256", nil, newClient(t, "alice@example.org", "correct horse", "bob@example.org").NewConversation(), codes.Unauthenticated},
		{"beyond ASCII", "SCRAM-SHA-256", nil, newClient(t, "ärger@example.org", "pässwörd und so", "").NewConversation(), codes.OK},
		{"wrong password", "SCRAM-SHA-256", nil, newClient(t, "alice@example.org", "wrong", "").NewConversation(), codes.Unauthenticated},
		{"unknown user", "SCRAM-SHA-256", nil, newClient(t, "nobody@example.org", "wrong", "").NewConversation(), codes.Unauthenticated},
		{"user without keys", "SCRAM-SHA-256", nil, newClient(t, "argon@example.org", "argon password", "").NewConversation(), codes.Unauthenticated},
		{"other mechanism", "CRAM-MD5", nil, alice().NewConversation(), codes.InvalidArgument},
	} {
		t.Run(row.name, func(t *testing.T) {
			resp, err := f.scram(t.Context(), row.mechanism, row.binding, row.conv)
			wantCode(t, "exchange", err, row.want)
			if err == nil && strings.HasPrefix(resp.Address, "alice") && resp.Account != id {
				t.Errorf("got account %d, want %d", resp.Account, id)
			}
		})
	}
}

// TestSCRAMTellsNothing: the challenge for a user who does not exist looks like one for a user who does, each time the same
// salt, and the same again after a restart.
func TestSCRAMTellsNothing(t *testing.T) {
	store := openStore(t)
	salt := func(f *farm, user string) string {
		stream, err := f.Authenticate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&directoryv1.AuthenticateRequest{Mechanism: "SCRAM-SHA-256", Data: []byte("n,,n=" + user + ",r=abcdefgh")}); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Split(string(resp.Challenge), ",")
		if len(fields) != 3 || fields[2] != "i=4096" {
			t.Fatalf("challenge for %s: %q", user, resp.Challenge)
		}
		b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fields[1], "s="))
		if err != nil || len(b) != 16 {
			t.Fatalf("salt for %s: %q", user, fields[1])
		}
		return fields[1]
	}
	f := serve(t, cheap, store)
	f.domain(t, "example.org")
	f.account(t, "alice@example.org", "correct horse")
	seen := map[string]string{}
	for _, user := range []string{"alice@example.org", "nobody@example.org", "nobody2@example.org", "x@example.net"} {
		s := salt(f, user)
		if again := salt(f, user); again != s {
			t.Errorf("%s: the salt changed from question to question", user)
		}
		if again := salt(serve(t, cheap, store), user); again != s {
			t.Errorf("%s: the salt changed with a restart", user)
		}
		if other, taken := seen[s]; taken {
			t.Errorf("%s and %s share a salt", user, other)
		}
		seen[s] = user
	}
}

func TestAuthenticatePlain(t *testing.T) {
	f := start(t)
	id := f.account(t, "alice@example.org", "correct horse")
	for _, row := range []struct {
		name, data string
		want       codes.Code
	}{
		{"right", "\x00alice@example.org\x00correct horse", codes.OK},
		{"own authzid", "alice@example.org\x00alice@example.org\x00correct horse", codes.OK},
		{"authzid as authcid", "alice\x00alice\x00correct horse", codes.OK},
		{"another's authzid", "bob@example.org\x00alice@example.org\x00correct horse", codes.Unauthenticated},
		{"wrong", "\x00alice@example.org\x00wrong", codes.Unauthenticated},
		{"two fields", "alice@example.org\x00correct horse", codes.InvalidArgument},
		{"four fields", "\x00alice@example.org\x00correct\x00horse", codes.InvalidArgument},
		{"no password", "\x00alice@example.org\x00", codes.InvalidArgument},
		{"too long", strings.Repeat("x", 13<<10), codes.InvalidArgument},
	} {
		for _, initial := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, initial response %v", row.name, initial), func(t *testing.T) {
				stream, err := f.Authenticate(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				req := &directoryv1.AuthenticateRequest{Mechanism: "PLAIN"}
				if !initial {
					if err := stream.Send(req); err != nil {
						t.Fatal(err)
					}
					if resp, err := stream.Recv(); err != nil || len(resp.Challenge) > 0 || resp.Done {
						t.Fatalf("first answer: %v, %v; want an empty challenge", resp, err)
					}
					req = &directoryv1.AuthenticateRequest{}
				}
				req.Data = []byte(row.data)
				if err := stream.Send(req); err != nil {
					t.Fatal(err)
				}
				resp, err := stream.Recv()
				wantCode(t, "last answer", err, row.want)
				if err == nil && (!resp.Done || resp.Account != id || resp.Address != "alice@example.org") {
					t.Errorf("got %v, want alice's account %d", resp, id)
				}
			})
		}
	}
}

func TestMalformedSCRAM(t *testing.T) {
	f := start(t)
	f.account(t, "alice@example.org", "correct horse")
	for _, steps := range [][]string{
		{"x"}, {"n,,"}, {"n,,n=alice@example.org"}, {"p=,,n=a,r=b"}, {"n,,m=x,n=a,r=b"}, {strings.Repeat(",", 5000)},
		{"n,,n=a=b@example.org,r=x"},
		{"n,,n=alice@example.org,r=x", "x"},
		{"n,,n=alice@example.org,r=x", "c=biws,r=x,p="},
		{"n,,n=alice@example.org,r=x", "c=biws,r=x,p=AAAA"},
		{"n,,n=alice@example.org,r=x", ""},
	} {
		stream, err := f.Authenticate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req := &directoryv1.AuthenticateRequest{Mechanism: "SCRAM-SHA-256"}
		var resp *directoryv1.AuthenticateResponse
		for _, s := range steps {
			req.Data = []byte(s)
			if err := stream.Send(req); err != nil {
				t.Fatal(err)
			}
			if resp, err = stream.Recv(); err != nil {
				break
			}
		}
		if err == nil {
			t.Errorf("%q: got %v, want an error", steps, resp)
		}
	}
}

// TestManyLoginsAtOnce is for the race detector: logins, changes and look-ups of the same accounts.
func TestManyLoginsAtOnce(t *testing.T) {
	f := start(t)
	for i := range 4 {
		f.account(t, fmt.Sprintf("u%d@example.org", i), "correct horse")
	}
	for w := range 8 {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			user := fmt.Sprintf("u%d@example.org", w%4)
			for i := range 10 {
				if _, err := f.login(t.Context(), user, "correct horse", fmt.Sprintf("192.0.2.%d", w)); err != nil {
					t.Errorf("%s: %v", user, err)
				}
				if w == 0 && i%3 == 0 {
					f.alias(t, fmt.Sprintf("a%d@example.org", i), user)
				}
				f.resolve(t, user, "a0@example.org", "postmaster")
			}
		})
	}
}
