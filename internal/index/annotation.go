package index

import (
	"context"
	"errors"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Bounds of annotations. Each reader's own ones in an account, and the shared ones, are counted by themselves.
const (
	// MaxAnnotations is how many entries there may be.
	MaxAnnotations = 20_000
	// MaxAnnotationOctets bounds their values together, and MaxAnnotation one of them.
	MaxAnnotationOctets = 2 << 20
	MaxAnnotation       = 32 << 10
)

// ErrAnnotations is a change that would make more than MaxAnnotations, or more than MaxAnnotationOctets of them.
var ErrAnnotations = errors.New("too many annotations")

// Annotations keeps what people note about mailboxes and about their account (RFC 5464). Entries go with their mailbox, and
// come back with it; until it is forgotten they are kept as long as there is room.
type Annotations interface {
	// Annotations tells the entries of mailboxes, of which 0 is the account, that are shared (reader 0) or the reader's own:
	// by mailbox as asked, shared ones first, then by name.
	Annotations(ctx context.Context, account mailbox.AccountID, boxes []mailbox.ID, reader mailbox.AccountID) ([]Annotation, error)
	// SetAnnotations writes and removes entries of one mailbox, all or nothing, and raises its MODSEQ (RFC 7162 §3.2).
	// ErrNoMailbox, ErrAnnotations.
	SetAnnotations(ctx context.Context, account mailbox.AccountID, box mailbox.ID, entries []Annotation) error
}

// Annotation is one entry.
type Annotation struct {
	// Mailbox is not looked at by SetAnnotations.
	Mailbox mailbox.ID
	// Reader is whose own entry it is; 0: shared.
	Reader mailbox.AccountID
	Name   string
	// Value nil removes the entry.
	Value []byte
	// IfAbsent keeps a value that is there.
	IfAbsent bool
}
