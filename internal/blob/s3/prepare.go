package s3

import (
	"context"
	"fmt"

	"github.com/minio/minio-go/v7"
)

// Prepare makes the bucket of a configuration where it is not there. ErrAway.
func Prepare(ctx context.Context, cfg Config) error {
	cfg.Defaults()
	m, err := newMetrics(nil)
	if err != nil {
		return err
	}
	b, err := newBucket(&cfg, m)
	if err != nil {
		return err
	}
	defer b.closeIdle()
	there, err := b.core.BucketExists(ctx, cfg.Bucket)
	if err == nil && !there {
		err = b.core.MakeBucket(ctx, cfg.Bucket, minio.MakeBucketOptions{Region: cfg.Region})
		if code := minio.ToErrorResponse(err).Code; code == "BucketAlreadyOwnedByYou" || code == "BucketAlreadyExists" {
			err = nil
		}
	}
	if err = meaning(err); err != nil && !isFinal(err) {
		err = fmt.Errorf("%w: %w", ErrAway, err)
	}
	if err != nil {
		return fmt.Errorf("bucket %s at %s: %w", cfg.Bucket, cfg.Endpoint, err)
	}
	return nil
}
