package s3

import (
	"errors"
	"net/http"
	"slices"

	"github.com/minio/minio-go/v7"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// What requests fail with, beside what has no name: then the outcome is unknown.
var (
	errMissing = errors.New("no such object")
	errExists  = errors.New("object exists")
	errRange   = errors.New("range behind the object's end")
	// errRefused is an answer that says that nothing was stored.
	errRefused = errors.New("refused by the S3 server")
	// errSealed is an incarnation that another process took for dead.
	errSealed = errors.New("incarnation was sealed")
	// errDiffers is an object that holds something else than what was put.
	errDiffers = errors.New("stored object differs from what was sent")
	// ErrAway is an S3 server that does not answer.
	ErrAway = errors.New("S3 server is away")
)

// requestError is a request's error with what it means.
type requestError struct {
	means error // nil: outcome unknown
	cause error
}

func (e *requestError) Error() string { return e.cause.Error() }

func (e *requestError) Unwrap() []error {
	if e.means == nil {
		return []error{e.cause}
	}
	return []error{e.means, e.cause}
}

// Is makes a refusal for lack of room both.
func (e *requestError) Is(target error) bool {
	return target == errRefused && e.means == blob.ErrFull
}

// fullCodes are what servers call a lack of room.
var fullCodes = []string{
	"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "InsufficientCapacity",
	"EntityStorageQuotaExceeded",
}

// meaning tells what an answer means.
func meaning(err error) error {
	if err == nil {
		return nil
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		return &requestError{cause: err}
	}
	e := &requestError{cause: err}
	switch {
	case slices.Contains(fullCodes, r.Code) || r.StatusCode == http.StatusInsufficientStorage:
		e.means = blob.ErrFull
	case r.Code == "NoSuchKey" || r.Code == "NoSuchUpload" || r.StatusCode == http.StatusNotFound && r.Code != "NoSuchBucket":
		e.means = errMissing
	case r.Code == "PreconditionFailed" || r.StatusCode == http.StatusPreconditionFailed:
		e.means = errExists
	case r.Code == "InvalidRange" || r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		e.means = errRange
	case passing(r):
		// Worth another try.
	case r.StatusCode >= 400 && r.StatusCode < 500:
		e.means = errRefused
	}
	return e
}

// passing tells of answers below 500 that another try may change: the octets were damaged on the way, or too many came.
func passing(r minio.ErrorResponse) bool {
	switch r.Code {
	case "BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout", "SlowDown", "ConditionalRequestConflict",
		"OperationAborted":
		return true
	}
	return r.StatusCode == http.StatusRequestTimeout || r.StatusCode == http.StatusTooManyRequests ||
		r.StatusCode == http.StatusConflict
}

// isFinal tells whether another try is no use.
func isFinal(err error) bool {
	return errors.Is(err, errMissing) || errors.Is(err, errExists) || errors.Is(err, errRange) || errors.Is(err, errRefused)
}
