package credential

import (
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// maxBcryptCost is about a second of one core.
const maxBcryptCost = 14

func checkBcrypt(text string) error {
	if len(text) != 60 {
		return errors.New("a bcrypt hash has 60 characters, as in $2y$10$…")
	}
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil {
		return errors.New("a bcrypt hash begins with $2a$, $2b$ or $2y$ and its cost")
	}
	if cost > maxBcryptCost {
		return fmt.Errorf("bcrypt cost %d: at most %d", cost, maxBcryptCost)
	}
	return nil
}

func verifyBcrypt(text, password string) bool {
	// Others cut what is longer than 72 octets; the hash was made by one of them.
	if len(password) > 72 {
		password = password[:72]
	}
	return bcrypt.CompareHashAndPassword([]byte(text), []byte(password)) == nil
}

// Rounds of SHA-512 crypt: its default where the hash names none, and the most that is read.
const (
	sha512CryptRounds    = 5000
	maxSHA512CryptRounds = 1_000_000
)

// cryptAlphabet is the order of the digits of crypt's own base64.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// splitSHA512Crypt reads "$6$[rounds=N$]salt$hash".
func splitSHA512Crypt(text string) (rounds int, salt, hash string, err error) {
	rest, found := strings.CutPrefix(text, "$6$")
	if !found {
		return 0, "", "", errors.New("a SHA-512 crypt hash begins with $6$")
	}
	rounds = sha512CryptRounds
	if spec, more, found := strings.Cut(rest, "$"); found && strings.HasPrefix(spec, "rounds=") {
		n, err := strconv.Atoi(spec[len("rounds="):])
		if err != nil || n < 1000 || n > maxSHA512CryptRounds {
			return 0, "", "", fmt.Errorf("the rounds of SHA-512 crypt must be 1000 to %d", maxSHA512CryptRounds)
		}
		rounds, rest = n, more
	}
	salt, hash, found = strings.Cut(rest, "$")
	if !found || len(salt) > 16 || len(hash) != 86 || strings.Trim(hash, cryptAlphabet) != "" {
		return 0, "", "", errors.New("a SHA-512 crypt hash is $6$salt$hash with 86 characters of hash")
	}
	return rounds, salt, hash, nil
}

func checkSHA512Crypt(text string) error {
	_, _, _, err := splitSHA512Crypt(text)
	return err
}

func verifySHA512Crypt(text, password string) bool {
	rounds, salt, hash, err := splitSHA512Crypt(text)
	if err != nil {
		return false
	}
	made := sha512Crypt([]byte(password), []byte(salt), rounds)
	return subtle.ConstantTimeCompare(made, []byte(hash)) == 1
}

// sha512Crypt follows the steps of the specification "Unix crypt using SHA-256 and SHA-512" (Drepper, 2007).
func sha512Crypt(password, salt []byte, rounds int) []byte {
	// Steps 4 to 8: B = H(password, salt, password).
	h := sha512.New()
	h.Write(password)
	h.Write(salt)
	h.Write(password)
	b := h.Sum(nil)

	// Steps 1 to 3 and 9 to 12: A mixes B by the length of the password and by its bits.
	h.Reset()
	h.Write(password)
	h.Write(salt)
	h.Write(stretch(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)

	// Steps 13 to 16: P, as long as the password.
	h.Reset()
	for range len(password) {
		h.Write(password)
	}
	p := stretch(h.Sum(nil), len(password))

	// Steps 17 to 20: S, as long as the salt.
	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	s := stretch(h.Sum(nil), len(salt))

	// Step 21: the rounds.
	c := a
	for i := range rounds {
		h.Reset()
		if i&1 != 0 {
			h.Write(p)
		} else {
			h.Write(c)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i&1 != 0 {
			h.Write(c)
		} else {
			h.Write(p)
		}
		c = h.Sum(c[:0])
	}

	// Step 22: groups of three octets 21 apart, turning by one each time; four digits each, the last octet two.
	out := make([]byte, 0, 86)
	x, y, z := 0, 21, 42
	for range 21 {
		v := uint(c[x])<<16 | uint(c[y])<<8 | uint(c[z])
		for range 4 {
			out = append(out, cryptAlphabet[v&63])
			v >>= 6
		}
		x, y, z = y+1, z+1, x+1
	}
	return append(out, cryptAlphabet[c[63]&63], cryptAlphabet[c[63]>>6])
}

// stretch repeats b up to n octets.
func stretch(b []byte, n int) []byte {
	out := make([]byte, 0, n)
	for len(out) < n {
		out = append(out, b[:min(len(b), n-len(out))]...)
	}
	return out
}
