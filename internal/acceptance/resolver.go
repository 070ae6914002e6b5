package acceptance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/envelope"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

const (
	// resolveTTL is how long an answer about an address holds: long enough for a burst of mail to it.
	resolveTTL = 2 * time.Second
	// resolveTimeout is how long the directory may take; then the recipient is deferred.
	resolveTimeout = 5 * time.Second
	// maxResolved bounds what is remembered.
	maxResolved = 8192
)

// Directory tells what addresses are; directoryv1.DirectoryClient does.
type Directory interface {
	Resolve(ctx context.Context, in *directoryv1.ResolveRequest, opts ...grpc.CallOption) (*directoryv1.ResolveResponse, error)
}

// Resolver asks the directory about recipients, in one call for all that were pipelined, and remembers for a moment who has
// a place here. Refusals are not remembered, so that a new account gets mail at once.
type Resolver struct {
	directory Directory
	now       func() time.Time

	mu    sync.Mutex
	known map[envelope.ForwardPath]resolved // guarded by mu
}

type resolved struct {
	kind directoryv1.Kind
	// account is set where the address is one's.
	account uint64
	until   time.Time
}

// NewResolver makes a Resolver.
func NewResolver(d Directory, now func() time.Time) *Resolver {
	return &Resolver{directory: d, now: now, known: map[envelope.ForwardPath]resolved{}}
}

// Kinds appends what the addresses are to dst, in their order. An error holds for all.
func (r *Resolver) Kinds(ctx context.Context, dst []directoryv1.Kind, addresses []envelope.ForwardPath) ([]directoryv1.Kind, error) {
	start := len(dst)
	var missing []string
	now := r.now()
	r.mu.Lock()
	for _, a := range addresses {
		k, ok := r.known[a]
		if !ok || !now.Before(k.until) {
			missing = append(missing, string(a))
			k.kind = directoryv1.Kind_KIND_UNSPECIFIED
		}
		dst = append(dst, k.kind)
	}
	r.mu.Unlock()
	if len(missing) == 0 {
		return dst, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	answer, err := r.directory.Resolve(ctx, &directoryv1.ResolveRequest{Addresses: missing})
	switch {
	case err != nil:
		return dst[:start], fmt.Errorf("resolve %d addresses: %w", len(missing), err)
	case len(answer.GetResolutions()) != len(missing):
		return dst[:start], fmt.Errorf("resolve %d addresses: %d answers", len(missing), len(answer.GetResolutions()))
	}
	r.remember(missing, answer.GetResolutions())
	next := 0
	for i := start; i < len(dst); i++ {
		if dst[i] == directoryv1.Kind_KIND_UNSPECIFIED {
			dst[i] = answer.GetResolutions()[next].GetKind()
			next++
		}
	}
	return dst, nil
}

// Account is the account of an address that Kinds was asked about a moment ago; 0 for any other.
func (r *Resolver) Account(a envelope.ForwardPath) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[a].account
}

func (r *Resolver) remember(addresses []string, answers []*directoryv1.Resolution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known)+len(addresses) > maxResolved {
		clear(r.known)
	}
	until := r.now().Add(resolveTTL)
	for i, a := range addresses {
		switch kind := answers[i].GetKind(); kind {
		case directoryv1.Kind_KIND_ACCOUNT, directoryv1.Kind_KIND_ALIAS:
			r.known[envelope.ForwardPath(a)] = resolved{kind, answers[i].GetAccount(), until}
		}
	}
}
