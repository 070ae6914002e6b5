package backup

import (
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
)

// ErrDamaged is a body that the repository does not have, or not whole.
var ErrDamaged = errors.New("the backup has no whole body of a message")

// damaged is which one it is.
type damaged struct {
	email uint64
	cause error
}

func (d *damaged) Error() string {
	return fmt.Sprintf("%v: email %d: %v", ErrDamaged, d.email, d.cause)
}

func (d *damaged) Unwrap() []error { return []error{ErrDamaged, d.cause} }

// bodyError tells that a body failed in the repository from what failed elsewhere.
func bodyError(email uint64, err error) error {
	if errors.Is(err, repo.ErrCorrupt) || errors.Is(err, repo.ErrNotFound) {
		return &damaged{email, err}
	}
	return err
}

// skips tells whether an error is a damaged body in whose place a word may be filed, and of which email.
func (r *restore) skips(err error) (email uint64, reason string, ok bool) {
	var d *damaged
	if !r.SkipDamaged || !errors.As(err, &d) {
		return 0, "", false
	}
	return d.email, d.cause.Error(), true
}
