package resolve

import (
	"errors"
	"fmt"
)

// Errors that callers branch on with errors.Is.
var (
	// ErrNotFound is ErrNoDomain or ErrNoData.
	ErrNotFound = errors.New("not found in the DNS")
	// ErrNoDomain is a name that does not exist (NXDOMAIN).
	ErrNoDomain = errors.New("no such domain")
	// ErrNoData is a name that exists without records of the type asked for.
	ErrNoData = errors.New("no records of this type")
	// ErrTemporary is a question that nobody answered: a timeout, SERVFAIL, a refusal. Ask again later.
	ErrTemporary = errors.New("temporary DNS failure")
	// ErrNullMX is a domain that takes no mail (RFC 7505).
	ErrNullMX = errors.New("domain takes no mail (null MX)")
	// ErrName is text that cannot be a domain name.
	ErrName = errors.New("not a domain name")
	// ErrNotCached is a question under OnlyCached whose answer is not in the cache.
	ErrNotCached = errors.New("not in the cache")
	// ErrClosed is a resolver that was closed.
	ErrClosed = errors.New("resolver is closed")
)

// Error is a look-up that found nothing.
type Error struct {
	// Name and Type are what was asked for: "example.org", "MX".
	Name, Type string
	// Kind is one of the errors above but ErrNotFound.
	Kind error
	// Detail says more, for the log: which server, what it answered.
	Detail string
}

// Error reads "look up MX of example.org: no such domain".
func (e *Error) Error() string {
	s := fmt.Sprintf("look up %s of %q: %v", e.Type, e.Name, e.Kind)
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

// Is lets ErrNotFound match both ways of not being there.
func (e *Error) Is(target error) bool {
	return target == ErrNotFound && (e.Kind == ErrNoDomain || e.Kind == ErrNoData)
}

// Timeout and Temporary make it a net.Error, for libraries that ask for one.
func (e *Error) Timeout() bool   { return false }
func (e *Error) Temporary() bool { return e.Kind == ErrTemporary }
