package farm

import (
	"context"
	"sync"
	"time"
)

// frontDrain is how long sessions of imap and pop3 may take to end before they are cut: as long as ingress and submission
// give theirs, and so much below frontGrace that a role whose sessions were cut still ends in time.
const frontDrain = 4 * time.Second

// drains is a role that ends when its sessions have, or when they are cut by Close.
type drains interface {
	Run(ctx context.Context) error
	Close()
}

// draining runs the role and cuts what is left of its sessions a while after ctx has ended, so that a client that does not
// read cannot hold the process.
func draining(role drains) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		ended := make(chan struct{})
		var cutter sync.WaitGroup
		cutter.Go(func() {
			select {
			case <-ctx.Done():
			case <-ended:
				return
			}
			patience := time.NewTimer(frontDrain)
			defer patience.Stop()
			select {
			case <-patience.C:
				role.Close()
			case <-ended:
			}
		})
		defer cutter.Wait()
		defer close(ended)
		return role.Run(ctx)
	}
}
