package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/minio/minio-go/v7"
)

// checkConditions makes sure that the server honours conditional puts, and learns whether its ETags are MD5 sums. A server
// that does not honour them never does: one that let a put through once is asked again, since processes that begin together
// make and remove objects beside each other, which servers over a file system were seen to stumble over.
func (s *Store) checkConditions(ctx context.Context) (err error) {
	for range 3 {
		if err = s.checkCondition(ctx, probeKey()); !errors.Is(err, errConditions) {
			return err
		}
	}
	return err
}

func (s *Store) checkCondition(ctx context.Context, key string) error {
	b := s.bucket
	first, second := contentOf(record(probeMagic, 1, 0, 0)), contentOf(record(probeMagic, 2, 0, 0))
	var tag string
	err := b.retry(ctx, func(ctx context.Context) (err error) {
		tag, err = b.putOnce(ctx, key, first, true)
		if errors.Is(err, errExists) {
			tag, err = first.tag(), nil // by an attempt whose answer was lost
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("put an object: %w", err)
	}
	if tag != first.tag() {
		if err := b.verify(ctx, key, first, tag); err != nil {
			return err
		}
		b.oddTags.Store(true)
		s.opt.Log.Info("S3 server's ETags are no MD5: writes are verified by Content-MD5 and a HEAD request")
	}
	err = b.retry(ctx, func(ctx context.Context) error {
		_, err := b.putOnce(ctx, key, second, true)
		return err
	})
	switch {
	case err == nil:
		err = errConditions
	case errors.Is(err, errExists):
		err = nil
	case isFinal(err):
		err = fmt.Errorf("%w: %w", errConditions, err)
	}
	return errors.Join(err, b.remove(ctx, key))
}

func probeKey() string {
	var random [12]byte
	rand.Read(random[:])
	return "probe/" + hex.EncodeToString(random[:])
}

// Report is what a probe found: one step of it each.
type Report struct {
	Steps []ProbeStep
}

// ProbeStep is one thing that an S3 server was asked for.
type ProbeStep struct {
	Name string
	// Err is why the server cannot do it; nil where it can.
	Err error
}

// OK tells whether the server can do all that the store needs.
func (r Report) OK() bool {
	for _, s := range r.Steps {
		if s.Err != nil {
			return false
		}
	}
	return true
}

// String is one line: what the server cannot do, or that it can do all.
func (r Report) String() string {
	var can, cannot []string
	for _, s := range r.Steps {
		if s.Err != nil {
			cannot = append(cannot, fmt.Sprintf("%s (%v)", s.Name, s.Err))
		} else {
			can = append(can, s.Name)
		}
	}
	if len(cannot) == 0 {
		return "S3 server can do all that is needed: " + strings.Join(can, ", ")
	}
	return "S3 server cannot do: " + strings.Join(cannot, ", ")
}

// Probe asks the server of a configuration for everything that the store needs of one, and removes what it made. It needs
// no store; an error is one of the configuration.
func Probe(ctx context.Context, cfg Config) (Report, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	m, err := newMetrics(nil)
	if err != nil {
		return Report{}, err
	}
	b, err := newBucket(&cfg, m)
	if err != nil {
		return Report{}, err
	}
	defer b.closeIdle()
	return (&prober{b: b, key: probeKey(), partSize: cfg.PartSize}).run(ctx), nil
}

type prober struct {
	b        *bucket
	key      string
	partSize int64
}

func (p *prober) run(ctx context.Context) Report {
	var r Report
	for _, step := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"PUT", p.put}, {"GET", p.get}, {"range", p.ranged}, {"HEAD", p.head}, {"conditional put", p.conditional},
		{"Content-MD5", p.digest}, {"read after write", p.readAfterWrite}, {"list", p.list}, {"multipart", p.multipart},
		{"DELETE", p.remove},
	} {
		r.Steps = append(r.Steps, ProbeStep{Name: step.name, Err: step.do(ctx)})
	}
	return r
}

var probeText = []byte("mailfarm looks whether this server keeps what it is given")

func (p *prober) put(ctx context.Context) error { return p.b.put(ctx, p.key, probeText) }

func (p *prober) get(ctx context.Context) error { return p.want(ctx, 0, -1, probeText) }

func (p *prober) ranged(ctx context.Context) error {
	if err := p.want(ctx, 9, 5, probeText[9:14]); err != nil {
		return err
	}
	n := int64(len(probeText))
	if err := p.want(ctx, n-3, 10, probeText[n-3:]); err != nil {
		return fmt.Errorf("beyond the end: %w", err)
	}
	if _, err := p.b.get(ctx, p.key, n+1, 1); !errors.Is(err, errRange) {
		return fmt.Errorf("behind the end: %v, want status 416", err)
	}
	return nil
}

func (p *prober) want(ctx context.Context, off, n int64, want []byte) error {
	got, err := p.b.get(ctx, p.key, off, n)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%d octets differ from the %d that were stored", len(got), len(want))
	}
	return err
}

func (p *prober) head(ctx context.Context) error {
	n, err := p.b.stat(ctx, p.key)
	if err == nil && n != int64(len(probeText)) {
		err = fmt.Errorf("%d octets, want %d", n, len(probeText))
	}
	return err
}

func (p *prober) conditional(ctx context.Context) error {
	if _, err := p.b.putOnce(ctx, p.key, contentOf([]byte("another")), true); !errors.Is(err, errExists) {
		return fmt.Errorf("If-None-Match: * on an object that exists: %v, want status 412", err)
	}
	return p.want(ctx, 0, -1, probeText)
}

// digest sends octets with the digest of others.
func (p *prober) digest(ctx context.Context) error {
	c := contentOf([]byte("sent"))
	c.md5 = contentOf([]byte("meant")).md5
	if _, err := p.b.putOnce(ctx, p.key+"-digest", c, false); err == nil {
		return errors.Join(errors.New("octets are stored that do not match it"), p.b.remove(ctx, p.key+"-digest"))
	}
	return nil
}

func (p *prober) readAfterWrite(ctx context.Context) error {
	key := p.key + "-again"
	defer p.b.remove(ctx, key)
	for i := range 8 {
		rec := record(probeMagic, uint64(i), 0, 0)
		if err := p.b.put(ctx, key, rec); err != nil {
			return err
		}
		if got, err := p.b.get(ctx, key, 0, -1); err != nil || !bytes.Equal(got, rec) {
			return fmt.Errorf("what was read is not what was written just before: %w", err)
		}
	}
	return nil
}

func (p *prober) list(ctx context.Context) error {
	found := false
	err := p.b.list(ctx, "probe/", "", func(o listed) error {
		found = found || o.key == p.key
		return nil
	})
	if err == nil && !found {
		err = errors.New("an object that was just written is not listed")
	}
	return err
}

func (p *prober) multipart(ctx context.Context) error {
	key := p.key + "-parts"
	id, err := p.b.beginParts(ctx, key)
	if err != nil {
		return err
	}
	defer p.b.remove(ctx, key)
	first := bytes.Repeat([]byte("mailfarm"), minPartSize/8)
	var parts []minio.CompletePart
	for i, octets := range [][]byte{first, probeText} {
		part, err := p.b.putPart(ctx, key, id, i+1, contentOf(octets))
		if err != nil {
			return errors.Join(err, p.b.abortParts(ctx, key, id))
		}
		parts = append(parts, part)
	}
	if err := p.b.endParts(ctx, key, id, parts, int64(len(first)+len(probeText))); err != nil {
		return err
	}
	got, err := p.b.get(ctx, key, int64(len(first))-8, 12)
	if err == nil && string(got) != "mailfarmmail" {
		err = errors.New("the object made of parts is not their concatenation")
	}
	return err
}

func (p *prober) remove(ctx context.Context) error {
	if err := p.b.remove(ctx, p.key); err != nil {
		return err
	}
	if _, err := p.b.get(ctx, p.key, 0, -1); !errors.Is(err, errMissing) {
		return fmt.Errorf("a removed object is still there: %v", err)
	}
	return nil
}
