package front

import (
	"context"
	"log/slog"
	"net/netip"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	// Client is the client's address, as ClientOf tells it or a trusted proxy does; the zero Addr where there is none.
	Client netip.Addr
	// Local tells that a trusted proxy itself is there, to see whether the service lives: nobody's client.
	Local bool
	// ImplicitTLS begins with a handshake.
	ImplicitTLS bool
}

// Log is log for who is a client; what is said of a proxy that looks whether the service lives goes there as Debug, but for
// warnings and errors.
func (p Peer) Log(log *slog.Logger) *slog.Logger {
	if !p.Local {
		return log
	}
	return slog.New(hushed{log.Handler()})
}

// hushed is a handler for which Info is Debug.
type hushed struct{ slog.Handler }

func (h hushed) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, hush(level))
}

func (h hushed) Handle(ctx context.Context, r slog.Record) error {
	r.Level = hush(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h hushed) WithAttrs(attrs []slog.Attr) slog.Handler { return hushed{h.Handler.WithAttrs(attrs)} }
func (h hushed) WithGroup(name string) slog.Handler       { return hushed{h.Handler.WithGroup(name)} }

func hush(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}
