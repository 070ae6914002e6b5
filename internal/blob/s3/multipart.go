package s3

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
)

func (b *bucket) beginParts(ctx context.Context, key string) (id string, err error) {
	err = b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, 0)
		defer cancel()
		id, err = b.core.NewMultipartUpload(ctx, b.name, b.prefix+key, minio.PutObjectOptions{ContentType: "application/octet-stream"})
		return meaning(err)
	})
	return id, err
}

// putPart sends one part, and verifies it by its ETag.
func (b *bucket) putPart(ctx context.Context, key, id string, n int, c content) (minio.CompletePart, error) {
	var part minio.CompletePart
	err := b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, c.size)
		defer cancel()
		p, err := b.core.PutObjectPart(ctx, b.name, b.prefix+key, id, n, c.reader(), c.size,
			minio.PutObjectPartOptions{Md5Base64: c.digest(), DisableContentSha256: true})
		if err != nil {
			return meaning(err)
		}
		part = minio.CompletePart{PartNumber: n, ETag: p.ETag}
		if p.ETag != c.tag() && !b.oddTags.Load() {
			return &requestError{cause: fmt.Errorf("part %d: %w: ETag %s, want %s", n, errDiffers, p.ETag, c.tag())}
		}
		return nil
	})
	return part, err
}

// endParts makes the parts one object, and verifies it by length and, where that is comparable, its ETag.
func (b *bucket) endParts(ctx context.Context, key, id string, parts []minio.CompletePart, size int64) error {
	slices.SortFunc(parts, func(a, b minio.CompletePart) int { return a.PartNumber - b.PartNumber })
	err := b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, size)
		defer cancel()
		_, err := b.core.CompleteMultipartUpload(ctx, b.name, b.prefix+key, id, parts, minio.PutObjectOptions{})
		return meaning(err)
	})
	if err != nil && !errors.Is(err, errMissing) {
		return err
	}
	// An upload that is gone may have been completed by an attempt whose answer was lost.
	want := b.tagOfParts(parts)
	return b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, 0)
		defer cancel()
		info, err := b.core.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{})
		switch {
		case err != nil:
			return meaning(err)
		case info.Size != size:
			return &requestError{means: errRefused, cause: fmt.Errorf("%w: %d octets, want %d", errDiffers, info.Size, size)}
		case want != "" && strings.HasSuffix(info.ETag, fmt.Sprintf("-%d", len(parts))) && info.ETag != want:
			return &requestError{means: errRefused, cause: fmt.Errorf("%w: ETag %s, want %s", errDiffers, info.ETag, want)}
		}
		return nil
	})
}

// tagOfParts is the ETag that most servers give an object made of parts; "" where theirs is no MD5.
func (b *bucket) tagOfParts(parts []minio.CompletePart) string {
	h := md5.New()
	for _, p := range parts {
		sum, err := hex.DecodeString(p.ETag)
		if err != nil || b.oddTags.Load() {
			return ""
		}
		h.Write(sum)
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(parts))
}

func (b *bucket) abortParts(ctx context.Context, key, id string) error {
	err := b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, 0)
		defer cancel()
		return meaning(b.core.AbortMultipartUpload(ctx, b.name, b.prefix+key, id))
	})
	if errors.Is(err, errMissing) {
		return nil
	}
	return err
}

// upload is an object that was begun in parts and not ended.
type upload struct{ key, id string }

// uploads lists those of a folder.
func (b *bucket) uploads(ctx context.Context, folder string) ([]upload, error) {
	var all []upload
	ctx, cancel := context.WithTimeout(ctx, 10*b.timeout)
	defer cancel()
	keyMarker, idMarker := "", ""
	for {
		page, err := b.core.ListMultipartUploads(ctx, b.name, b.prefix+folder, keyMarker, idMarker, "", 1000)
		if err = meaning(err); errors.Is(err, errMissing) {
			return all, nil // QUIRK: gofakes3 says so where a bucket has none
		} else if err != nil {
			return nil, err
		}
		for _, u := range page.Uploads {
			if key, ok := strings.CutPrefix(u.Key, b.prefix); ok && strings.HasPrefix(key, folder) {
				all = append(all, upload{key: key, id: u.UploadID})
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == keyMarker && page.NextUploadIDMarker == idMarker {
			return all, nil
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}
