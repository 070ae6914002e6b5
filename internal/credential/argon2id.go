package credential

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Bounds of what one verification may cost.
const (
	maxArgonMemory  = 256 << 10 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
)

// argon2Hash is a hash with its parameters (RFC 9106).
type argon2Hash struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
	salt    []byte
	hash    []byte
}

// NewArgon2id makes an Argon2id hash with the second recommended option of RFC 9106 §4, at one lane: 64 MiB, three passes.
// The account cannot use SCRAM then.
func NewArgon2id(password string) Credential {
	a := argon2Hash{memory: 64 << 10, time: 3, threads: 1, salt: make([]byte, saltLen)}
	rand.Read(a.salt)
	a.hash = argon2.IDKey([]byte(prepare(password)), a.salt, a.time, a.memory, a.threads, 32)
	return Credential{scheme: Argon2id, argon: a}
}

func (a argon2Hash) verify(password string) bool {
	hash := argon2.IDKey([]byte(password), a.salt, a.time, a.memory, a.threads, uint32(len(a.hash)))
	return subtle.ConstantTimeCompare(hash, a.hash) == 1
}

func (a argon2Hash) text() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.memory, a.time, a.threads,
		enc.EncodeToString(a.salt), enc.EncodeToString(a.hash))
}

func parseArgon2id(text string) (argon2Hash, error) {
	fields := strings.Split(text, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" {
		return argon2Hash{}, errors.New("an Argon2id hash is $argon2id$v=19$m=…,t=…,p=…$salt$hash")
	}
	if fields[2] != "v=19" {
		return argon2Hash{}, errors.New("only version 19 of Argon2id is known")
	}
	var a argon2Hash
	params := strings.Split(fields[3], ",")
	if len(params) != 3 {
		return argon2Hash{}, errors.New("the parameters of Argon2id are m=…,t=…,p=…")
	}
	for i, p := range []struct {
		prefix string
		bound  uint64
		set    func(uint64)
	}{
		{"m=", maxArgonMemory, func(n uint64) { a.memory = uint32(n) }},
		{"t=", maxArgonTime, func(n uint64) { a.time = uint32(n) }},
		{"p=", maxArgonThreads, func(n uint64) { a.threads = uint8(n) }},
	} {
		value, found := strings.CutPrefix(params[i], p.prefix)
		n, err := strconv.ParseUint(value, 10, 32)
		if !found || err != nil || n == 0 || n > p.bound {
			return argon2Hash{}, fmt.Errorf("the Argon2id parameter %s must be 1 to %d", strings.TrimSuffix(p.prefix, "="), p.bound)
		}
		p.set(n)
	}
	var err error
	if a.salt, err = base64.RawStdEncoding.Strict().DecodeString(fields[4]); err != nil || len(a.salt) < 8 || len(a.salt) > 64 {
		return argon2Hash{}, errors.New("the salt is not 8 to 64 octets in base64 without padding")
	}
	if a.hash, err = base64.RawStdEncoding.Strict().DecodeString(fields[5]); err != nil || len(a.hash) < 16 || len(a.hash) > 64 {
		return argon2Hash{}, errors.New("the hash is not 16 to 64 octets in base64 without padding")
	}
	return a, nil
}
