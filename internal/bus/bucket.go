package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Errors of a Bucket.
var (
	// ErrChanged is a write on a revision that is not the last one.
	ErrChanged = errors.New("bucket entry was changed by another")
	// ErrLost ends a Watch that may have missed something: whoever watches begins again.
	ErrLost = errors.New("bucket has to be read again")
)

const (
	// bucketCheck is how often a watcher asks whether the bucket is the one that it watches, and has told it all.
	bucketCheck = 2 * time.Second
	// bucketBytes bounds a bucket, and bucketValue one of its values.
	bucketBytes = 256 << 20
	bucketValue = 64 << 10
)

// Bucket is a small table on the bus that all processes hold a copy of: they watch it. Like all of the bus it may be wiped
// at any time, so whoever writes to it remembers what it wrote.
type Bucket struct {
	c    *Conn
	name string
}

// BucketEntry is the last value of a key.
type BucketEntry struct {
	// Key is letters, digits, dots and dashes.
	Key string
	// Value is nil where the key was removed.
	Value    []byte
	Revision uint64
}

// Bucket is the bucket of a name; it is made when it is first used.
func (c *Conn) Bucket(name string) *Bucket { return &Bucket{c, name} }

// bucket is a bucket as it should be.
func (c *Conn) bucket(name string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: name, Replicas: c.cfg.Replicas, MaxBytes: bucketBytes, MaxValueSize: bucketValue}
}

// open finds the bucket, or makes it: without a store process there are bans all the same.
func (b *Bucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := b.c.js.KeyValue(ctx, b.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = b.c.js.CreateKeyValue(ctx, b.c.bucket(b.name))
	}
	if err != nil {
		return nil, away(fmt.Errorf("open bucket %s: %w", b.name, err))
	}
	return kv, nil
}

// Put writes a value over the revision that the writer knows, 0 for a key that it knows none of, and returns the new one.
// ErrChanged: another was faster.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	kv, err := b.open(ctx)
	if err != nil {
		return 0, err
	}
	var next uint64
	if revision == 0 {
		next, err = kv.Create(ctx, key, value)
	} else {
		next, err = kv.Update(ctx, key, value, revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return 0, fmt.Errorf("put %s into bucket %s: %w", key, b.name, ErrChanged)
	case err != nil:
		return 0, away(fmt.Errorf("put %s into bucket %s: %w", key, b.name, err))
	}
	return next, nil
}

// Get reads the last value of a key; a nil Value and Revision 0 where there is none.
func (b *Bucket) Get(ctx context.Context, key string) (BucketEntry, error) {
	kv, err := b.open(ctx)
	if err != nil {
		return BucketEntry{}, err
	}
	e, err := kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return BucketEntry{Key: key}, nil
	case err != nil:
		return BucketEntry{}, away(fmt.Errorf("get %s of bucket %s: %w", key, b.name, err))
	}
	return BucketEntry{Key: key, Value: e.Value(), Revision: e.Revision()}, nil
}

// Forget drops what is known of a key up to a revision, without a trace: those who watch are not told.
func (b *Bucket) Forget(ctx context.Context, key string, revision uint64) error {
	st, err := b.c.js.Stream(ctx, "KV_"+b.name)
	if err == nil {
		err = st.Purge(ctx, jetstream.WithPurgeSubject("$KV."+b.name+"."+key), jetstream.WithPurgeSequence(revision+1))
	}
	if err != nil {
		return away(fmt.Errorf("forget %s of bucket %s: %w", key, b.name, err))
	}
	return nil
}

// Watch calls changed for the last value of every key, then loaded, then changed for each change, all from one goroutine,
// until ctx ends (nil) or something may be missed: ErrLost where the bucket was away or is another one by now, ErrAway
// where it cannot be reached.
func (b *Bucket) Watch(ctx context.Context, changed func(BucketEntry), loaded func()) error {
	kv, err := b.open(ctx)
	if err != nil {
		return err
	}
	began, err := b.state(ctx)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return away(fmt.Errorf("watch bucket %s: %w", b.name, err))
	}
	defer w.Stop()
	check := time.NewTicker(bucketCheck)
	defer check.Stop()
	seen, due := began.last, began.last
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return ErrLost
			case e == nil:
				loaded()
			default:
				seen = max(seen, e.Revision())
				changed(entryOf(e))
			}
		case <-check.C:
			now, err := b.state(ctx)
			if ctx.Err() != nil {
				return nil
			}
			// What the bucket held at the last look has had time to arrive.
			if err != nil || !now.made.Equal(began.made) || seen < due {
				return ErrLost
			}
			due = now.last
		}
	}
}

func entryOf(e jetstream.KeyValueEntry) BucketEntry {
	x := BucketEntry{Key: e.Key(), Revision: e.Revision()}
	if e.Operation() == jetstream.KeyValuePut {
		x.Value = e.Value()
	}
	return x
}

// bucketState tells one life of a bucket from another, and how far it got.
type bucketState struct {
	made time.Time
	last uint64
}

func (b *Bucket) state(ctx context.Context) (bucketState, error) {
	ctx, cancel := context.WithTimeout(ctx, bucketCheck)
	defer cancel()
	st, err := b.c.js.Stream(ctx, "KV_"+b.name)
	if err != nil {
		return bucketState{}, away(fmt.Errorf("look up bucket %s: %w", b.name, err))
	}
	i := st.CachedInfo()
	return bucketState{made: i.Created, last: i.State.LastSeq}, nil
}
