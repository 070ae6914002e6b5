package mailauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// MaxSignatures is how many DKIM signatures of a message are verified, the topmost ones.
const MaxSignatures = 8

// DKIMResult is what became of one signature.
type DKIMResult struct {
	// Value is Pass, Fail, Policy, TempError or PermError. Policy is a valid signature that covers only the beginning of the
	// body ("l" tag): anything may stand behind it.
	Value Value
	// Domain and Selector are the "d" and "s" tags as names in A-labels; empty where they are none.
	Domain, Selector string
	// Identity is the "i" tag, where it was given.
	Identity string
	// Algorithm is the "a" tag.
	Algorithm string
	// Signature is the first eight characters of the "b" tag, to tell signatures apart (RFC 6008).
	Signature string
	// Testing tells that the key says so ("t=y").
	Testing bool
	// Reason says why it is not Pass.
	Reason string
}

// DKIM verifies the signatures of one message: StartDKIM with the whole header, Write for the body, Finish.
type DKIM struct {
	header  *Header
	sigs    []*signature
	tooMany bool
	bodies  [2]*bodyCanon // simple, relaxed; nil where nobody asks
	lookups sync.WaitGroup
	byName  map[string][]Field
	buf     []byte
}

// signature is one that is being verified.
type signature struct {
	DKIMResult
	field   Field
	tags    tagList
	names   []string // the "h" tag, lower case
	relaxed bool     // header canonicalization
	body    *bodyHash
	sum     []byte // the "bh" tag
	sig     []byte // the "b" tag

	key    *dkimKey // set by the look-up
	keyErr error
}

// StartDKIM reads the signatures of a header that is Done and begins to look up their keys; the look-ups end with ctx.
// It returns nil for a message without a signature, which costs nothing further. h must stay as it is until Finish.
func StartDKIM(ctx context.Context, r Resolver, h *Header, now time.Time) *DKIM {
	var d *DKIM
	for f := range h.All("dkim-signature") {
		if d == nil {
			d = &DKIM{header: h}
		}
		if len(d.sigs) == MaxSignatures {
			d.tooMany = true
			break
		}
		s := &signature{field: f}
		d.sigs = append(d.sigs, s)
		if h.Truncated() {
			s.fail(PermError, "header is too long")
		} else {
			s.parse(string(h.Value(f)), now)
		}
	}
	if d == nil {
		return nil
	}
	for _, s := range d.sigs {
		if s.Value == "" {
			d.begin(ctx, r, s)
		}
	}
	return d
}

// begin sets a sound signature up for the body and looks up its key meanwhile.
func (d *DKIM) begin(ctx context.Context, r Resolver, s *signature) {
	canon, i := s.tags.solid("c"), 0
	if _, body, ok := strings.Cut(canon, "/"); ok && body == "relaxed" {
		i = 1
	}
	if d.bodies[i] == nil {
		d.bodies[i] = &bodyCanon{relaxed: i == 1}
	}
	limit := int64(-1)
	if l := s.tags.solid("l"); l != "" {
		limit, _ = strconv.ParseInt(l, 10, 64) // parse checked it
	}
	s.body = d.bodies[i].hash(limit)
	if s.lookUp(resolve.OnlyCached(ctx), r); errors.Is(s.keyErr, resolve.ErrNotCached) {
		d.lookups.Go(func() { s.lookUp(ctx, r) })
	}
}

func (s *signature) lookUp(ctx context.Context, r Resolver) {
	defer func() {
		if recover() != nil { // a hostile key must not end the process
			s.keyErr = &keyError{TempError, "internal fault"}
		}
	}()
	s.key, s.keyErr = lookupKey(ctx, r, s.Selector, s.Domain)
}

// Write takes the next octets of the body.
func (d *DKIM) Write(p []byte) {
	for _, c := range d.bodies {
		if c != nil {
			c.Write(p)
		}
	}
}

// TooMany tells of signatures beyond MaxSignatures, which were not looked at.
func (d *DKIM) TooMany() bool { return d.tooMany }

// Finish says that the body has ended, waits for the keys and verifies: one result per signature, topmost first.
func (d *DKIM) Finish() []DKIMResult {
	for _, c := range d.bodies {
		if c != nil {
			c.Close()
		}
	}
	d.lookups.Wait()
	results := make([]DKIMResult, len(d.sigs))
	for i, s := range d.sigs {
		if s.Value == "" {
			d.verify(s)
		}
		results[i] = s.DKIMResult
	}
	return results
}

// Wait waits for the look-ups of a verification that is given up; end its context first.
func (d *DKIM) Wait() { d.lookups.Wait() }

// verify decides over a signature whose tags were sound.
func (d *DKIM) verify(s *signature) {
	if s.keyErr != nil {
		v := PermError
		if e, ok := s.keyErr.(*keyError); ok {
			v = e.value
		}
		s.fail(v, s.keyErr.Error())
		return
	}
	s.Testing = s.key.tags.flagged("t", "y")
	switch {
	case s.key.algorithm()+"-sha256" != s.Algorithm:
		s.fail(PermError, "key is for another algorithm")
	case !s.key.tags.allows("h", "sha256"):
		s.fail(PermError, "key does not allow SHA-256")
	case !s.key.tags.allows("s", "email"):
		s.fail(PermError, "key is not for mail")
	case s.key.tags.flagged("t", "s") && s.identityDomain() != s.Domain:
		s.fail(PermError, "key does not allow a subdomain as identity")
	case s.body.limit > s.body.size:
		s.fail(PermError, "body is shorter than its signed length")
	case subtle.ConstantTimeCompare(s.body.sum.Sum(nil), s.sum) != 1:
		s.fail(Fail, "body hash did not verify")
	case !s.key.verify(d.headerSum(s), s.sig):
		s.fail(Fail, "signature did not verify")
	case s.body.limit >= 0 && s.body.limit < s.body.size:
		s.fail(Policy, "body is signed in part only")
	default:
		s.Value = Pass
	}
}

func (s *signature) fail(v Value, reason string) { s.Value, s.Reason = v, reason }

// headerSum hashes the fields that a signature names, each name taking the lowest field not taken yet, and the signature
// itself without its value (RFC 6376 §3.7, §5.4.2).
func (d *DKIM) headerSum(s *signature) []byte {
	if d.byName == nil {
		d.byName = map[string][]Field{}
		for _, f := range d.header.fields {
			name := strings.ToLower(string(d.header.Name(f)))
			d.byName[name] = append(d.byName[name], f)
		}
	}
	taken := make(map[string]int, len(s.names))
	h := sha256.New()
	for _, name := range s.names {
		fields := d.byName[name]
		i := len(fields) - 1 - taken[name]
		if i < 0 {
			continue // signed as absent
		}
		taken[name]++
		raw := d.header.Raw(fields[i])
		if s.relaxed {
			d.buf = relaxedField(d.buf[:0], raw)
			raw = d.buf
		}
		h.Write(raw)
	}
	raw := d.withoutValue(s)
	if s.relaxed {
		d.buf = relaxedField(d.buf[:0], raw)
		raw = d.buf
	}
	h.Write(bytes.TrimRight(raw, "\r\n"))
	return h.Sum(nil)
}

// withoutValue is the signature's own field with an empty "b" tag.
func (d *DKIM) withoutValue(s *signature) []byte {
	b, _ := s.tags.find("b")
	raw, value := d.header.Raw(s.field), d.header.Value(s.field)
	before := len(raw) - len(value) + b.valueStart
	out := make([]byte, 0, len(raw))
	out = append(out, raw[:before]...)
	return append(out, value[b.valueEnd:]...)
}

// firstEight are the characters that name a signature in Authentication-Results.
func firstEight(sig []byte) string {
	s := base64.StdEncoding.EncodeToString(sig[:min(len(sig), 6)])
	return s[:min(len(s), 8)]
}
