package farm

import (
	"context"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/internal/run"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// buildPresence makes what tells operators of clients, and ends their sessions. Every process has it: whichever door an operator
// knocks at, all fronts are asked.
func (f *Farm) buildPresence() {
	f.desk = presence.NewDesk(f.instance)
	var alone *presence.Desk
	if f.infra.EmbeddedBus != nil {
		alone = f.desk
	}
	service := presence.New(f.infra.Bus, alone, f.log)
	f.operators = append(f.operators, func(r *grpc.Server) { service.Register(r) })
	f.parts.base = append(f.parts.base, run.Part{Name: "presence", Run: func(ctx context.Context) error {
		return f.desk.Run(ctx, f.infra.Bus)
	}})
	if accounts := f.peers.clients().removed; accounts != nil {
		f.parts.base = append(f.parts.base, run.Part{Name: "presence watch", Run: func(ctx context.Context) error {
			return f.desk.Watch(ctx, accounts)
		}})
	}
}

// sessionEnder lets the directory end sessions of accounts that changed.
type sessionEnder struct{ bus presence.Asker }

func (e sessionEnder) Removed(accounts ...mailbox.AccountID) error {
	return e.end(accounts, adminv1.EndReason_END_REASON_REMOVED)
}

func (e sessionEnder) PasswordChanged(accounts ...mailbox.AccountID) error {
	return e.end(accounts, adminv1.EndReason_END_REASON_PASSWORD)
}

func (e sessionEnder) end(accounts []mailbox.AccountID, reason adminv1.EndReason) error {
	ids := make([]uint64, len(accounts))
	for i, id := range accounts {
		ids[i] = uint64(id)
	}
	return presence.End(e.bus, ids, reason)
}
