package credential

import (
	"errors"
	"fmt"
	"strings"
)

// Scheme names a text form by the word in its braces.
type Scheme string

// Schemes that Parse reads.
const (
	SCRAMSHA256 Scheme = "SCRAM-SHA-256"
	Argon2id    Scheme = "ARGON2ID"
	Bcrypt      Scheme = "BLF-CRYPT"
	SHA512Crypt Scheme = "SHA512-CRYPT"
)

// MaxPasswordLen is the longest password that is looked at, octets: a longer one never matches.
const MaxPasswordLen = 1024

// maxTextLen bounds a text form.
const maxTextLen = 512

// ErrFormat is the error for text that is no credential in a scheme of ours.
var ErrFormat = errors.New("not a credential")

// Credential is one stored secret. The zero value matches no password.
type Credential struct {
	scheme Scheme
	keys   Keys       // of SCRAMSHA256
	argon  argon2Hash // of Argon2id
	crypt  string     // of Bcrypt and SHA512Crypt, without its braces
}

// Scheme is the credential's; empty for the zero value.
func (c Credential) Scheme() Scheme { return c.scheme }

// Looks tells whether text has the shape of a credential, "{SCHEME}…", rather than that of a password. A password that
// begins so can be given in every way but an import.
func Looks(text string) bool {
	if !strings.HasPrefix(text, "{") {
		return false
	}
	name, _, found := strings.Cut(text[1:], "}")
	if !found || name == "" {
		return false
	}
	for _, r := range name {
		if (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' {
			return false
		}
	}
	return true
}

// Parse reads the text form: "{SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey" with the last three in base64, as
// Dovecot writes it, "{ARGON2ID}$argon2id$v=19$m=…,t=…,p=…$salt$hash", "{BLF-CRYPT}$2y$…", "{SHA512-CRYPT}$6$…".
// The scheme's case does not count. The error wraps ErrFormat, names what is wrong, and never quotes the text.
func Parse(text string) (Credential, error) {
	if len(text) > maxTextLen {
		return Credential{}, fmt.Errorf("%w: longer than %d octets", ErrFormat, maxTextLen)
	}
	if !Looks(text) {
		return Credential{}, fmt.Errorf("%w: it must begin with its scheme, as in {SCRAM-SHA-256}", ErrFormat)
	}
	name, rest, _ := strings.Cut(text[1:], "}")
	c := Credential{scheme: Scheme(strings.ToUpper(name))}
	var err error
	switch c.scheme {
	case SCRAMSHA256:
		c.keys, err = parseKeys(rest)
	case Argon2id:
		c.argon, err = parseArgon2id(rest)
	case Bcrypt:
		c.crypt, err = rest, checkBcrypt(rest)
	case SHA512Crypt:
		c.crypt, err = rest, checkSHA512Crypt(rest)
	default:
		err = errors.New("unknown scheme: use SCRAM-SHA-256, ARGON2ID, BLF-CRYPT or SHA512-CRYPT, or give the password itself")
	}
	if err != nil {
		return Credential{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return c, nil
}

// String is the text form; it is as secret as a hash can be and does not belong in a log.
func (c Credential) String() string {
	switch c.scheme {
	case SCRAMSHA256:
		return "{SCRAM-SHA-256}" + c.keys.text()
	case Argon2id:
		return "{ARGON2ID}" + c.argon.text()
	case "":
		return ""
	default:
		return "{" + string(c.scheme) + "}" + c.crypt
	}
}

// Verify tells whether password is the right one. What it compares, it compares in constant time; it takes about as long
// for a wrong password as for the right one: milliseconds of one core, and for Argon2id its memory.
func (c Credential) Verify(password string) bool {
	if len(password) > MaxPasswordLen {
		return false
	}
	password = prepare(password)
	switch c.scheme {
	case SCRAMSHA256:
		return c.keys.verify(password)
	case Argon2id:
		return c.argon.verify(password)
	case Bcrypt:
		return verifyBcrypt(c.crypt, password)
	case SHA512Crypt:
		return verifySHA512Crypt(c.crypt, password)
	default:
		return false
	}
}

// Keys gives the SCRAM keys; ok is false where the account has given up SCRAM.
func (c Credential) Keys() (keys Keys, ok bool) { return c.keys, c.scheme == SCRAMSHA256 }
