package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Config says where a bucket is.
type S3Config struct {
	// Endpoint is "https://s3.example.org"; without a scheme it is https.
	Endpoint, Region, Bucket string
	// Prefix is put before all names; empty or with a slash at its end.
	Prefix               string
	AccessKey, SecretKey string
	// CAFile is PEM; empty: the system's authorities.
	CAFile string
}

// S3 is a repository in a bucket.
type S3 struct {
	client         *minio.Client
	bucket, prefix string
	now            func() time.Time
}

// OpenS3 takes a bucket, which must be there.
func OpenS3(ctx context.Context, cfg S3Config) (*S3, error) {
	endpoint := cfg.Endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not an S3 server's address: write it as https://s3.example.org", cfg.Endpoint)
	}
	opts := &minio.Options{Creds: credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""), Secure: u.Scheme == "https", Region: cfg.Region}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", cfg.CAFile)
		}
		opts.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment}
	}
	client, err := minio.New(u.Host, opts)
	if err != nil {
		return nil, err
	}
	there, err := client.BucketExists(ctx, cfg.Bucket)
	if err != nil {
		return nil, fmt.Errorf("look for bucket %s: %w", cfg.Bucket, err)
	}
	if !there {
		return nil, fmt.Errorf("there is no bucket %s at %s: make it first", cfg.Bucket, u.Host)
	}
	return &S3{client: client, bucket: cfg.Bucket, prefix: cfg.Prefix, now: time.Now}, nil
}

// String is the bucket as people write it.
func (s *S3) String() string { return "s3://" + s.bucket + "/" + strings.TrimSuffix(s.prefix, "/") }

// partSize bounds the memory of an upload.
const partSize = 16 << 20

// Put writes an object; the server tells that it has all of it.
func (s *S3) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+name, body, size, minio.PutObjectOptions{PartSize: partSize})
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Get reads a range of an object.
func (s *S3) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	var opts minio.GetObjectOptions
	switch {
	case length == 0:
		return io.NopCloser(bytes.NewReader(nil)), nil
	case length > 0:
		if err := opts.SetRange(offset, offset+length-1); err != nil {
			return nil, err
		}
	case offset > 0:
		if err := opts.SetRange(offset, 0); err != nil {
			return nil, err
		}
	}
	body, _, _, err := (&minio.Core{Client: s.client}).GetObject(ctx, s.bucket, s.prefix+name, opts)
	if isAbsent(err) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return body, nil
}

func isAbsent(err error) bool {
	return err != nil && minio.ToErrorResponse(err).Code == "NoSuchKey"
}

// List lists what is directly in a folder.
func (s *S3) List(ctx context.Context, folder string) (list []File, err error) {
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + folder + "/"}) {
		if o.Err != nil {
			return nil, fmt.Errorf("list %s: %w", folder, o.Err)
		}
		if !strings.HasSuffix(o.Key, "/") {
			list = append(list, File{strings.TrimPrefix(o.Key, s.prefix), o.Size})
		}
	}
	return list, nil
}

// Remove removes an object.
func (s *S3) Remove(ctx context.Context, name string) error {
	if err := s.client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}); err != nil && !isAbsent(err) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// A lock in a bucket is an object that its holder writes again and again; one that was not for lockAge is nobody's.
const (
	lockName  = "lock"
	lockEvery = 20 * time.Second
	lockAge   = 90 * time.Second
)

type lockNote struct {
	Holder string    `json:"holder"`
	Host   string    `json:"host"`
	At     time.Time `json:"at"`
}

// Lock writes a note where there is none, or an old one. Two that find an old one at the same moment see each other when they
// look again; clocks that differ by a minute or more are none to lock by.
func (s *S3) Lock(ctx context.Context) (func() error, error) {
	host, _ := os.Hostname()
	me := lockNote{Holder: rand.Text(), Host: host}
	held, err := s.note(ctx)
	if err != nil {
		return nil, err
	}
	if held.Holder != "" && s.now().Sub(held.At) < lockAge {
		return nil, fmt.Errorf("%w: %s since %s at the latest; it is free %v after that process ended", ErrLocked, held.Host, held.At.Format(time.RFC3339), lockAge)
	}
	if err := s.write(ctx, me, held.Holder == ""); err != nil {
		return nil, err
	}
	if held, err = s.note(ctx); err != nil {
		return nil, err
	}
	if held.Holder != me.Holder {
		return nil, fmt.Errorf("%w: %s", ErrLocked, held.Host)
	}
	again, stop := context.WithCancel(context.WithoutCancel(ctx))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(lockEvery)
		defer tick.Stop()
		for {
			select {
			case <-again.Done():
				return
			case <-tick.C:
				_ = s.write(again, me, false) // the next one may do; others wait for lockAge
			}
		}
	}()
	return func() error {
		stop()
		<-gone
		return s.Remove(context.WithoutCancel(ctx), lockName)
	}, nil
}

func (s *S3) note(ctx context.Context) (n lockNote, err error) {
	r, err := s.Get(ctx, lockName, 0, -1)
	if errors.Is(err, ErrNotFound) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return n, err
	}
	if json.Unmarshal(b, &n) != nil {
		return lockNote{}, nil
	}
	return n, nil
}

func (s *S3) write(ctx context.Context, n lockNote, first bool) error {
	n.At = s.now().UTC()
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	var opts minio.PutObjectOptions
	if first {
		opts.SetMatchETagExcept("*")
	}
	_, err = s.client.PutObject(ctx, s.bucket, s.prefix+lockName, bytes.NewReader(b), int64(len(b)), opts)
	if err != nil && minio.ToErrorResponse(err).Code == "PreconditionFailed" {
		return fmt.Errorf("%w: it began at the same moment", ErrLocked)
	}
	return err
}
