package credential

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Iteration counts. RFC 7677 §4 wants at least 4,096; 10,000 are about 2 ms of one core; more than MaxIterations would
// make one login a way to stop a server.
const (
	MinIterations     = 4096
	DefaultIterations = 10_000
	MaxIterations     = 2_000_000
)

// saltLen is the length of salts that are made here, octets.
const saltLen = 16

// Keys are what SCRAM-SHA-256 keeps of a password (RFC 5802 §3).
type Keys struct {
	Iterations int
	Salt       []byte
	// StoredKey is H(ClientKey); ServerKey signs the server's last message.
	StoredKey, ServerKey [sha256.Size]byte
}

// NewSCRAM makes SCRAM-SHA-256 keys with a random salt.
func NewSCRAM(password string, iterations int) (Credential, error) {
	if err := checkIterations(iterations); err != nil {
		return Credential{}, err
	}
	salt := make([]byte, saltLen)
	rand.Read(salt)
	keys := Keys{Iterations: iterations, Salt: salt}
	keys.StoredKey, keys.ServerKey = derive(prepare(password), salt, iterations)
	return Credential{scheme: SCRAMSHA256, keys: keys}, nil
}

// Fake is the credential of a user who does not exist: no password matches it, verifying one costs what it costs for a
// real user, and the same user always has the same salt, so that asking twice tells nothing (RFC 5802 §9 leaves that to
// the server). secret is the farm's own and never changes.
func Fake(secret []byte, user string, iterations int) Credential {
	salt := mac(secret, "salt\x00"+user)
	keys := Keys{Iterations: iterations, Salt: salt[:saltLen]}
	// The stored key is a random-looking value whose preimage nobody knows.
	keys.StoredKey = mac(secret, "stored key\x00"+user)
	keys.ServerKey = mac(secret, "server key\x00"+user)
	return Credential{scheme: SCRAMSHA256, keys: keys}
}

func checkIterations(n int) error {
	if n < MinIterations || n > MaxIterations {
		return fmt.Errorf("%d iterations: must be %d to %d", n, MinIterations, MaxIterations)
	}
	return nil
}

func mac(key []byte, text string) [sha256.Size]byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return [sha256.Size]byte(h.Sum(nil))
}

// derive is StoredKey and ServerKey of RFC 5802 §3.
func derive(password string, salt []byte, iterations int) (stored, server [sha256.Size]byte) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		// Only a key length out of range or FIPS mode with a short salt can do this.
		panic("credential: pbkdf2: " + err.Error())
	}
	client := mac(salted, "Client Key")
	return sha256.Sum256(client[:]), mac(salted, "Server Key")
}

func (k Keys) verify(password string) bool {
	stored, _ := derive(password, k.Salt, k.Iterations)
	return subtle.ConstantTimeCompare(stored[:], k.StoredKey[:]) == 1
}

func (k Keys) text() string {
	enc := base64.StdEncoding
	b := make([]byte, 0, 128)
	b = strconv.AppendInt(b, int64(k.Iterations), 10)
	for _, field := range [][]byte{k.Salt, k.StoredKey[:], k.ServerKey[:]} {
		b = append(b, ',')
		b = enc.AppendEncode(b, field)
	}
	return string(b)
}

func parseKeys(text string) (Keys, error) {
	fields := strings.Split(text, ",")
	if len(fields) != 4 {
		return Keys{}, errors.New("SCRAM keys are iterations,salt,StoredKey,ServerKey")
	}
	iterations, err := strconv.Atoi(fields[0])
	if err != nil {
		return Keys{}, errors.New("the iteration count is not a number")
	}
	if err := checkIterations(iterations); err != nil {
		return Keys{}, err
	}
	keys := Keys{Iterations: iterations}
	if keys.Salt, err = base64.StdEncoding.Strict().DecodeString(fields[1]); err != nil || len(keys.Salt) < 8 || len(keys.Salt) > 64 {
		return Keys{}, errors.New("the salt is not 8 to 64 octets in base64")
	}
	for i, key := range []*[sha256.Size]byte{&keys.StoredKey, &keys.ServerKey} {
		b, err := base64.StdEncoding.Strict().DecodeString(fields[2+i])
		if err != nil || len(b) != sha256.Size {
			return Keys{}, errors.New("a key is not 32 octets in base64")
		}
		*key = [sha256.Size]byte(b)
	}
	return keys, nil
}
