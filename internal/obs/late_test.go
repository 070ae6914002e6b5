package obs

import (
	"bytes"
	"log/slog"
	"testing"
)

// TestLate: what is written is the same, to the octet and in the same order, whatever is derived from the logger.
func TestLate(t *testing.T) {
	var got, want bytes.Buffer
	opts := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}}
	base := slog.New(slog.NewJSONHandler(&want, opts)).With("role", "imap")
	light := Late(slog.New(slog.NewJSONHandler(&got, opts)).With("role", "imap"))
	for _, derive := range []func(*slog.Logger) *slog.Logger{
		func(l *slog.Logger) *slog.Logger { return l },
		func(l *slog.Logger) *slog.Logger { return l.With("conn", 1, "client", "192.0.2.1") },
		func(l *slog.Logger) *slog.Logger { return l.With("conn", 2).With("user", "a@example.org").With() },
		func(l *slog.Logger) *slog.Logger { return l.With("conn", 3).WithGroup("g").With("x", "y") },
		func(l *slog.Logger) *slog.Logger {
			return l.WithGroup("g").With("x", slog.GroupValue(slog.Int("n", 1)))
		},
	} {
		for _, l := range []*slog.Logger{derive(base), derive(light)} {
			l.Info("logged in", "k", "v", slog.Group("h", "i", 2))
			l.Debug("not told")
			l.Warn("nothing more")
		}
	}
	if got.String() != want.String() || want.Len() == 0 {
		t.Errorf("got\n%swant\n%s", got.String(), want.String())
	}
	one := Late(slog.New(slog.DiscardHandler)).With("a", 1)
	b, c := one.With("b", 2), one.With("c", 3)
	if x, y := b.Handler().(late).attrs, c.Handler().(late).attrs; x[1].Key != "b" || y[1].Key != "c" {
		t.Errorf("loggers of one share %v and %v", x, y)
	}
}
