package obs

import (
	"context"
	"log/slog"
	"slices"
)

// Late gives a logger that writes the same as log and keeps the attributes of its With as they are, until something is logged:
// a handler of the library keeps them written out, in a KiB or two, which is much for each of many connections that log little.
func Late(log *slog.Logger) *slog.Logger { return slog.New(late{Handler: log.Handler()}) }

// late is a handler with attributes that it has not told the one below.
type late struct {
	slog.Handler
	attrs []slog.Attr
}

func (h late) WithAttrs(attrs []slog.Attr) slog.Handler {
	return late{Handler: h.Handler, attrs: append(slices.Clip(h.attrs), attrs...)}
}

func (h late) WithGroup(name string) slog.Handler {
	if len(h.attrs) == 0 {
		return h.Handler.WithGroup(name)
	}
	return h.Handler.WithAttrs(h.attrs).WithGroup(name)
}

func (h late) Handle(ctx context.Context, r slog.Record) error {
	if len(h.attrs) == 0 {
		return h.Handler.Handle(ctx, r)
	}
	all := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	all.AddAttrs(h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		all.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, all)
}
