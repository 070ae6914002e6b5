package unit

import "github.com/mailfarm/mailfarm/internal/index"

// DropState is how far an account is on its way out; the numbers are the database's.
type DropState int64

// The states. An account without a row that tells one is Noted as little as it is anything else: it is written to.
const (
	// Noted is to be dropped.
	Noted DropState = 0
	// Forgotten is one that the directory does not know any more: its rows go.
	Forgotten DropState = 1
	// Forgetting is one that the directory is being told to forget. It may turn out to have been brought back.
	Forgetting DropState = 2
	// Gone has no rows left. It stays so for ever: ids are never given again, and whoever still has this one, a letter
	// on its way or a session that was open, must not make an account of it that nobody owns.
	Gone DropState = 3
)

// Err is what a write to such an account fails with.
func (s DropState) Err() error {
	switch s {
	case Noted:
		return nil
	case Forgetting:
		return index.ErrDropping
	}
	return index.ErrDropped
}
