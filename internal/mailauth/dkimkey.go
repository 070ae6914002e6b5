package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Bounds of RSA keys: shorter ones prove nothing (RFC 8301 §3.2), longer ones cost too much.
const (
	minRSABits = 1024
	maxRSABits = 4096
)

// dkimKey is a key record (RFC 6376 §3.6.1).
type dkimKey struct {
	public crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	tags   tagList
}

// keyError is a key that cannot be had; value tells for how long.
type keyError struct {
	value  Value
	reason string
}

func (e *keyError) Error() string { return e.reason }

func keyFault(format string, args ...any) error {
	return &keyError{PermError, fmt.Sprintf(format, args...)}
}

// lookupKey finds the one key record of a selector.
func lookupKey(ctx context.Context, r Resolver, selector, domain string) (*dkimKey, error) {
	txts, err := r.LookupTXT(ctx, selector+"._domainkey."+domain)
	switch {
	case errors.Is(err, resolve.ErrNotFound), errors.Is(err, resolve.ErrName):
		return nil, keyFault("no key for signature")
	case errors.Is(err, resolve.ErrNotCached):
		return nil, err
	case err != nil:
		return nil, &keyError{TempError, "key unavailable"}
	}
	var key *dkimKey
	for _, txt := range txts.Records {
		k, e := parseKey(txt)
		if e != nil {
			err = e // kept for the case that no record is a key
			continue
		}
		if key != nil {
			return nil, keyFault("several key records") // RFC 6376 §3.6.2.2
		}
		key = k
	}
	if key == nil {
		return nil, err
	}
	return key, nil
}

func parseKey(txt string) (*dkimKey, error) {
	tags, err := parseTags(txt)
	if err != nil {
		return nil, keyFault("key record: %v", err)
	}
	if tags.has("v") && (tags[0].name != "v" || tags[0].value != "DKIM1") {
		return nil, keyFault("key record of another version")
	}
	if !tags.has("p") {
		return nil, keyFault("key record without key")
	}
	p, err := base64.StdEncoding.DecodeString(tags.solid("p"))
	if err != nil {
		return nil, keyFault("key is not base64")
	}
	if len(p) == 0 {
		return nil, keyFault("key revoked")
	}
	key := &dkimKey{tags: tags}
	switch alg := tags.get("k", "rsa"); alg {
	case "rsa":
		key.public, err = parseRSA(p)
	case "ed25519":
		if len(p) != ed25519.PublicKeySize { // RFC 8463 §4
			err = keyFault("Ed25519 key of %d octets", len(p))
		}
		key.public = ed25519.PublicKey(p)
	default:
		err = keyFault("unknown key type")
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

func parseRSA(der []byte) (*rsa.PublicKey, error) {
	if len(der) > maxRSABits/8+128 {
		return nil, keyFault("RSA key is too long")
	}
	var pub *rsa.PublicKey
	if any, err := x509.ParsePKIXPublicKey(der); err == nil {
		pub, _ = any.(*rsa.PublicKey)
	} else {
		// RFC 6376 names RSAPublicKey in one place and its examples hold SubjectPublicKeyInfo: erratum 3017 takes both.
		pub, _ = x509.ParsePKCS1PublicKey(der)
	}
	if pub == nil {
		return nil, keyFault("not an RSA key")
	}
	switch bits := pub.N.BitLen(); {
	case bits < minRSABits:
		return nil, keyFault("RSA key of %d bits is too short", bits)
	case bits > maxRSABits:
		return nil, keyFault("RSA key of %d bits is too long", bits)
	}
	return pub, nil
}

// verify checks a signature over the SHA-256 digest of the signed header fields.
func (k *dkimKey) verify(digest, sig []byte) bool {
	switch pub := k.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(pub, digest, sig) // RFC 8463 §3: the digest is what is signed
	}
	return false
}

// algorithm is the first half of the signature's "a" tag.
func (k *dkimKey) algorithm() string {
	if _, ok := k.public.(ed25519.PublicKey); ok {
		return "ed25519"
	}
	return "rsa"
}
