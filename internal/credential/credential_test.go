package credential_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/xdg-go/scram"
)

// foreign are hashes that other programs made: the example of RFC 7677 §3, the specification of SHA-512 crypt, openssl
// and libcrypt.
var foreign = []struct {
	name, password, text string
}{
	{"scram of RFC 7677", "pencil",
		"{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="},
	{"sha512-crypt of the specification", "Hello world!",
		"{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
	{"sha512-crypt with rounds", "Hello world!",
		"{SHA512-CRYPT}$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."},
	{"sha512-crypt of a long password", "pässwörd and a very long one that goes on for more than sixty-four octets, so that stretch runs twice",
		"{SHA512-CRYPT}$6$x$ct92SOngryJ0aXgeNEedEtLn4kAVo0uXoOZ6muewn9qzqcCcxERhAux4SiyrLt2qeGy4FulNDfVx3cER5V/xQ1"},
	{"bcrypt", "secret pass", "{BLF-CRYPT}$2b$05$abcdefghijklmnopqrstuuFzejfplTChgPyZNQOF2kNcZhBC.ObAS"},
}

func TestVerifyForeign(t *testing.T) {
	for _, row := range foreign {
		t.Run(row.name, func(t *testing.T) {
			c, err := credential.Parse(row.text)
			if err != nil {
				t.Fatalf("Parse(%q): %v", row.text, err)
			}
			if !c.Verify(row.password) {
				t.Errorf("Verify(%q) with %s: got false, want true", row.password, row.text)
			}
			if c.Verify(row.password+"x") || c.Verify("") {
				t.Errorf("%s: a wrong password matched", row.text)
			}
			if got := c.String(); got != row.text {
				t.Errorf("String() = %q, want %q", got, row.text)
			}
		})
	}
}

// TestMadeHereIsReadHere makes credentials, writes and reads them, and verifies.
func TestMadeHereIsReadHere(t *testing.T) {
	for i, password := range []string{"mailfarm-dev", "pässwörd", "", "a\u00adb\u00a0c", "🐟🐟🐟🐟", "\xff\xfe", strings.Repeat("x", 200)} {
		made, err := credential.NewSCRAM(password, credential.MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		all := []credential.Credential{made}
		if i < 2 { // they are dear
			all = append(all, credential.NewArgon2id(password))
		}
		for _, c := range all {
			again, err := credential.Parse(c.String())
			if err != nil {
				t.Fatalf("Parse(%q): %v", c.String(), err)
			}
			if !again.Verify(password) {
				t.Errorf("%s: Verify(%q) = false, want true", c.Scheme(), password)
			}
			if again.Verify(password + "!") {
				t.Errorf("%s: Verify(%q) = true, want false", c.Scheme(), password+"!")
			}
		}
	}
}

// TestPasswordsArePrepared: SASLprep maps the soft hyphen to nothing and every space to U+0020 (RFC 4013 §2.1).
func TestPasswordsArePrepared(t *testing.T) {
	c, err := credential.NewSCRAM("I\u00adX\u00a0ﬁ", credential.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Verify("IX fi") {
		t.Error(`Verify("IX fi") of a password that SASLprep makes the same: got false, want true`)
	}
}

// TestKeysAreThoseOfSCRAM compares with another implementation.
func TestKeysAreThoseOfSCRAM(t *testing.T) {
	for _, password := range []string{"pencil", "pässwörd", "I\u00adX"} {
		c, err := credential.NewSCRAM(password, 5000)
		if err != nil {
			t.Fatal(err)
		}
		keys, ok := c.Keys()
		if !ok {
			t.Fatal("Keys of a SCRAM credential: not there")
		}
		client, err := scram.SHA256.NewClient("user", password, "")
		if err != nil {
			t.Fatal(err)
		}
		want, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(keys.Salt), Iters: 5000})
		if err != nil {
			t.Fatal(err)
		}
		if string(keys.StoredKey[:]) != string(want.StoredKey) || string(keys.ServerKey[:]) != string(want.ServerKey) {
			t.Errorf("keys of %q differ from those that xdg-go/scram makes", password)
		}
	}
}

func TestFakeIsSteadyAndMatchesNothing(t *testing.T) {
	a := credential.Fake([]byte("secret"), "nobody@example.org", credential.MinIterations)
	b := credential.Fake([]byte("secret"), "nobody@example.org", credential.MinIterations)
	other := credential.Fake([]byte("secret"), "someone@example.org", credential.MinIterations)
	elsewhere := credential.Fake([]byte("another"), "nobody@example.org", credential.MinIterations)
	if a.String() != b.String() {
		t.Error("two questions about the same user got different salts")
	}
	keys, _ := a.Keys()
	for _, c := range []credential.Credential{other, elsewhere} {
		if k, _ := c.Keys(); string(k.Salt) == string(keys.Salt) {
			t.Error("another user or farm has the same salt")
		}
	}
	real, err := credential.NewSCRAM("x", credential.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	if k, _ := real.Keys(); len(k.Salt) != len(keys.Salt) {
		t.Errorf("a made-up salt has %d octets, a real one %d: they must not be told apart", len(keys.Salt), len(k.Salt))
	}
	if a.Verify("") || a.Verify("nobody@example.org") {
		t.Error("a password matched a user who does not exist")
	}
}

func TestZeroMatchesNothing(t *testing.T) {
	if (credential.Credential{}).Verify("") {
		t.Error("the zero credential matched the empty password")
	}
}

func TestParseRefuses(t *testing.T) {
	key := "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
	rows := map[string]string{
		"nothing":                "",
		"a password":             "hello",
		"open brace":             "{hello",
		"empty scheme":           "{}hello",
		"plain":                  "{PLAIN}hello",
		"too few fields":         "{SCRAM-SHA-256}4096,c2FsdHNhbHQ=," + key,
		"too few iterations":     "{SCRAM-SHA-256}1,c2FsdHNhbHQ=," + key + "," + key,
		"too many iterations":    "{SCRAM-SHA-256}2000001,c2FsdHNhbHQ=," + key + "," + key,
		"iterations no number":   "{SCRAM-SHA-256}many,c2FsdHNhbHQ=," + key + "," + key,
		"short salt":             "{SCRAM-SHA-256}4096,YQ==," + key + "," + key,
		"short key":              "{SCRAM-SHA-256}4096,c2FsdHNhbHQ=," + key + ",YQ==",
		"key not base64":         "{SCRAM-SHA-256}4096,c2FsdHNhbHQ=," + key + ",%%%",
		"argon2i":                "{ARGON2ID}$argon2i$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA",
		"argon2id huge memory":   "{ARGON2ID}$argon2id$v=19$m=4294967295,t=3,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA",
		"argon2id no passes":     "{ARGON2ID}$argon2id$v=19$m=65536,t=0,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA",
		"argon2id old version":   "{ARGON2ID}$argon2id$v=16$m=65536,t=3,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA",
		"argon2id short hash":    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$YQ",
		"bcrypt cut":             "{BLF-CRYPT}$2b$05$abc",
		"bcrypt too dear":        "{BLF-CRYPT}$2b$31$abcdefghijklmnopqrstuuFzejfplTChgPyZNQOF2kNcZhBC.ObAS",
		"sha512-crypt too dear":  "{SHA512-CRYPT}$6$rounds=999999999$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
		"sha512-crypt cut":       "{SHA512-CRYPT}$6$saltstring$svn8",
		"sha512-crypt bad digit": "{SHA512-CRYPT}$6$saltstring$!vn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
		"far too long":           "{SCRAM-SHA-256}4096," + strings.Repeat("A", 600),
	}
	for name, text := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := credential.Parse(text)
			if !errors.Is(err, credential.ErrFormat) {
				t.Fatalf("Parse(%q): got %v, want ErrFormat", text, err)
			}
			if i := strings.LastIndex(text, "$"); i > 0 && len(text[i:]) > 10 && strings.Contains(err.Error(), text[i:]) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
}

func TestLooks(t *testing.T) {
	for text, want := range map[string]bool{
		"{SCRAM-SHA-256}x": true, "{plain}x": true, "hello": false, "{": false, "{}": false, "{no good}x": false, "": false,
	} {
		if got := credential.Looks(text); got != want {
			t.Errorf("Looks(%q) = %v, want %v", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, row := range foreign {
		f.Add(row.text)
	}
	f.Add(credential.NewArgon2id("x").String())
	f.Fuzz(func(t *testing.T, text string) {
		c, err := credential.Parse(text)
		if err != nil {
			if !errors.Is(err, credential.ErrFormat) {
				t.Fatalf("Parse(%q): %v does not wrap ErrFormat", text, err)
			}
			return
		}
		again, err := credential.Parse(c.String())
		if err != nil {
			t.Fatalf("Parse(%q) is fine, but not what String makes of it, %q: %v", text, c.String(), err)
		}
		if again.String() != c.String() {
			t.Fatalf("String of %q does not settle: %q, then %q", text, c.String(), again.String())
		}
	})
}

func BenchmarkVerifySCRAM(b *testing.B) {
	c, err := credential.NewSCRAM("mailfarm-dev", credential.DefaultIterations)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !c.Verify("mailfarm-dev") {
			b.Fatal("got false, want true")
		}
	}
}
