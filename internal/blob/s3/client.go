package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// bucket speaks to the S3 server. Keys are relative to the prefix. Its methods answer with the errors of errors.go.
type bucket struct {
	core      *minio.Core
	transport *http.Transport
	name      string
	prefix    string
	timeout   time.Duration
	retryFor  time.Duration
	// oddTags tells that the server's ETags are no MD5: then writes are verified by Content-MD5 and a HEAD.
	oddTags atomic.Bool
}

func newBucket(cfg *Config, m *metrics) (*bucket, error) {
	endpoint, err := cfg.url()
	if err != nil {
		return nil, err
	}
	access, secret, err := cfg.keys()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: cfg.ConnectTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   cfg.ConnectTimeout,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: cfg.ConnectTimeout,
		DisableCompression:    true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: no certificate in %s", cfg.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	lookup := minio.BucketLookupPath
	if cfg.VirtualHost {
		lookup = minio.BucketLookupDNS
	}
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(access, secret, ""),
		Secure:       endpoint.Scheme == "https",
		Transport:    &counting{next: transport, metrics: m},
		Region:       cfg.Region,
		BucketLookup: lookup,
		MaxRetries:   1, // what may be tried again is decided here
	})
	if err != nil {
		return nil, err
	}
	return &bucket{
		core: core, transport: transport, name: cfg.Bucket, prefix: cfg.Prefix,
		timeout: cfg.RequestTimeout, retryFor: cfg.RetryFor,
	}, nil
}

func (b *bucket) closeIdle() { b.transport.CloseIdleConnections() }

// within bounds a request that moves n octets.
func (b *bucket) within(ctx context.Context, n int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.timeout+time.Duration(n>>20)*time.Second)
}

// retry does what until it succeeds, an answer is final, or RetryFor is over; then it returns the last error.
func (b *bucket) retry(ctx context.Context, what func(ctx context.Context) error) error {
	deadline := time.Now().Add(b.retryFor)
	wait := 50 * time.Millisecond
	for {
		err := what(ctx)
		if err == nil || isFinal(err) || ctx.Err() != nil {
			return err
		}
		pause := wait/2 + rand.N(wait)
		if time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		wait = min(2*wait, time.Second)
	}
}

// content is something to put: octets that can be read again and again.
type content struct {
	from io.ReaderAt
	off  int64
	size int64
	md5  [md5.Size]byte
}

func contentOf(b []byte) content {
	return content{from: bytes.NewReader(b), size: int64(len(b)), md5: md5.Sum(b)}
}

func (c *content) reader() io.Reader { return io.NewSectionReader(c.from, c.off, c.size) }
func (c *content) digest() string    { return base64.StdEncoding.EncodeToString(c.md5[:]) }
func (c *content) tag() string       { return hex.EncodeToString(c.md5[:]) }

// putOnce sends an object and returns its ETag. Where it must be new and is not: errExists.
func (b *bucket) putOnce(ctx context.Context, key string, c content, onlyNew bool) (string, error) {
	ctx, cancel := b.within(ctx, c.size)
	defer cancel()
	opts := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true}
	if onlyNew {
		opts.SetMatchETagExcept("*")
	}
	info, err := b.core.PutObject(ctx, b.name, b.prefix+key, c.reader(), c.size, c.digest(), "", opts)
	return info.ETag, meaning(err)
}

// put overwrites an object, and verifies it.
func (b *bucket) put(ctx context.Context, key string, data []byte) error {
	c := contentOf(data)
	return b.retry(ctx, func(ctx context.Context) error {
		tag, err := b.putOnce(ctx, key, c, false)
		if err != nil {
			return err
		}
		return b.verify(ctx, key, c, tag)
	})
}

// create stores an object under a key that is free, and verifies it; errExists where another's lies there. Attempts whose
// outcome is unknown are repeated. An error that is errRefused, blob.ErrFull or errExists says that nothing of it is
// stored, now or later; any other leaves that unknown.
func (b *bucket) create(ctx context.Context, key string, c content) error {
	doubt := false // an earlier attempt may have stored it, or yet store it
	return b.retry(ctx, func(ctx context.Context) error {
		tag, err := b.putOnce(ctx, key, c, true)
		switch {
		case err == nil:
			return b.verify(ctx, key, c, tag)
		case errors.Is(err, errExists):
			// Perhaps by an attempt of this loop. The answer's own ETag is no use: compare what is there.
			return b.same(ctx, key, c)
		case errors.Is(err, errRefused) && doubt:
			return &requestError{cause: fmt.Errorf("%w, after a try with an unknown outcome", err.(*requestError).cause)}
		case !isFinal(err):
			doubt = true
		}
		return err
	})
}

// verify compares the ETag that a put was answered with; where it is not the MD5, what is stored.
func (b *bucket) verify(ctx context.Context, key string, c content, tag string) error {
	if tag == c.tag() {
		return nil
	}
	if b.oddTags.Load() {
		size, err := b.stat(ctx, key)
		if err == nil && size != c.size {
			err = &requestError{cause: fmt.Errorf("%w: %d octets, want %d", errDiffers, size, c.size)}
		}
		return doubtful(err)
	}
	if err := b.same(ctx, key, c); errors.Is(err, errExists) {
		return &requestError{cause: errDiffers}
	} else if err != nil {
		return doubtful(err)
	}
	return nil
}

// doubtful makes an error one that leaves the outcome unknown, since it came behind a put that was answered well.
func doubtful(err error) error {
	if err == nil {
		return nil
	}
	return &requestError{cause: errors.New("verify: " + err.Error())}
}

// same reads an object and compares: errExists where it differs.
func (b *bucket) same(ctx context.Context, key string, c content) error {
	ctx, cancel := b.within(ctx, c.size)
	defer cancel()
	r, _, _, err := b.core.GetObject(ctx, b.name, b.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		return doubtful(meaning(err))
	}
	defer r.Close()
	h := md5.New()
	n, err := io.Copy(h, io.LimitReader(r, c.size+1))
	if err != nil {
		return doubtful(err)
	}
	if n != c.size || !bytes.Equal(h.Sum(nil), c.md5[:]) {
		return &requestError{means: errExists, cause: errors.New("the key holds something else")}
	}
	return nil
}

// get reads n octets from off on; fewer where the object ends; n < 0: all. errMissing, errRange.
func (b *bucket) get(ctx context.Context, key string, off, n int64) (data []byte, err error) {
	err = b.retry(ctx, func(ctx context.Context) error {
		data, err = b.getOnce(ctx, key, off, n)
		return err
	})
	return data, err
}

func (b *bucket) getOnce(ctx context.Context, key string, off, n int64) ([]byte, error) {
	ctx, cancel := b.within(ctx, max(n, 0))
	defer cancel()
	var opts minio.GetObjectOptions
	if n >= 0 {
		if err := opts.SetRange(off, off+n-1); err != nil {
			return nil, err
		}
	}
	r, info, header, err := b.core.GetObject(ctx, b.name, b.prefix+key, opts)
	if err != nil {
		return nil, meaning(err)
	}
	defer r.Close()
	if n >= 0 && header.Get("Content-Range") == "" && (off > 0 || info.Size > n) {
		return nil, &requestError{means: errRefused, cause: errors.New("the S3 server ignores ranges")}
	}
	size := info.Size // of what comes
	if n >= 0 {
		size = min(size, n)
	}
	if size < 0 || size > maxObject {
		return nil, &requestError{means: errRefused, cause: fmt.Errorf("object of %d octets", size)}
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, &requestError{cause: err}
	}
	return data, nil
}

// maxObject is the longest that get returns: a segment with the longest frame.
const maxObject = 2*maxSegmentBytes + 32<<20

// stat returns an object's length.
func (b *bucket) stat(ctx context.Context, key string) (size int64, err error) {
	err = b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, 0)
		defer cancel()
		info, err := b.core.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{})
		size = info.Size
		return meaning(err)
	})
	return size, err
}

// remove removes an object; one that is not there is no error.
func (b *bucket) remove(ctx context.Context, key string) error {
	err := b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, 0)
		defer cancel()
		return meaning(b.core.RemoveObject(ctx, b.name, b.prefix+key, minio.RemoveObjectOptions{}))
	})
	if errors.Is(err, errMissing) {
		return nil
	}
	return err
}

// listed is an object that list met.
type listed struct {
	key     string
	tag     string
	size    int64
	changed time.Time // by the server's clock
}

// list calls each with the objects of a folder whose keys come behind after, in order.
func (b *bucket) list(ctx context.Context, folder, after string, each func(listed) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*b.timeout)
	defer cancel()
	no := false
	opts := minio.ListObjectsOptions{Prefix: b.prefix + folder, Recursive: true, FetchOwner: &no}
	if after != "" {
		opts.StartAfter = b.prefix + after
	}
	objects := b.core.Client.ListObjects(ctx, b.name, opts)
	defer func() {
		cancel()
		for range objects {
		}
	}()
	for o := range objects {
		if o.Err != nil {
			return meaning(o.Err)
		}
		key := o.Key[min(len(b.prefix), len(o.Key)):]
		if key <= after { // a server that does not know start-after
			continue
		}
		if err := each(listed{key: key, tag: o.ETag, size: o.Size, changed: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// isFull tells whether an error is a lack of room that is certain to have kept nothing.
func isFull(err error) bool { return errors.Is(err, blob.ErrFull) }
