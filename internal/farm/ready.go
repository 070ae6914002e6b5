package farm

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/mailfarm/mailfarm/internal/health"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// checks are what readiness asks: whether this process could serve a message or a login now. What it can do without for a
// while is not asked: ingress accepts mail while the bus or the filter is away.
func (f *Farm) checks() []health.Check {
	var all []health.Check
	add := func(when bool, name string, ask func(ctx context.Context) error) {
		if when {
			all = append(all, health.Check{Name: name, Ask: ask})
		}
	}
	c := f.peers.clients()
	add(f.shape.any(func(r role) bool { return r.fronts }), "listeners", func(context.Context) error {
		if want := f.listeners(); f.listening.Load() < int64(want) {
			return fmt.Errorf("%d of %d are open", f.listening.Load(), want)
		}
		return nil
	})
	working := f.shape.has("filter") || f.shape.has("router") || f.shape.has("delivery-local") || f.shape.has("delivery-remote")
	add(working || f.shape.alone(), "bus", func(context.Context) error { return f.infra.Bus.Ready() })
	add(f.shape.has("store") || f.shape.calls("store"), "store", func(ctx context.Context) error {
		_, err := c.mailboxes.Counters(ctx, &storev1.CountersRequest{Accounts: []uint64{1}})
		return err
	})
	// A database may read and not write: its disk is full, or its synchronous standby is gone.
	add(f.shape.has("store"), "database", func(ctx context.Context) error {
		_, err := f.infra.Leases.Acquire(ctx, "ready", f.name, time.Millisecond)
		return err
	})
	add(f.shape.has("directory") || f.shape.calls("directory"), "directory", func(ctx context.Context) error {
		_, err := c.directory.Resolve(ctx, &directoryv1.ResolveRequest{Addresses: []string{"postmaster"}})
		return err
	})
	if b, ok := f.infra.Blobs.(interface{ Ready() error }); ok {
		add(true, "blobs", func(context.Context) error { return b.Ready() })
	}
	return all
}

// listeners is how many this process's fronts have.
func (f *Farm) listeners() (n int) {
	for name, l := range map[string]int{
		"ingress": len(f.cfg.Ingress.Listeners) + len(f.cfg.Ingress.LMTP), "submission": len(f.cfg.Submission.Listeners),
		"imap": len(f.cfg.IMAP.Listeners), "pop3": len(f.cfg.POP3.Listeners),
	} {
		if f.shape.has(name) {
			n += l
		}
	}
	return n
}

// status is what this process tells of itself.
func (f *Farm) status(version string) func(context.Context) *adminv1.Process {
	host, _ := os.Hostname()
	return func(ctx context.Context) *adminv1.Process {
		p := &adminv1.Process{
			Name: f.instance, Host: host, Version: version, Roles: f.shape.roles, StartedNs: f.started.UnixNano(), Ready: true,
			Sessions: map[string]uint32{},
		}
		if f.health != nil {
			p.Ready, p.Parts = f.health.Report(ctx)
			p.Draining = f.health.Draining()
		}
		for role, n := range f.Sessions() {
			p.Sessions[role] = uint32(n)
		}
		return p
	}
}
