package imap

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &session{tag: []byte(`a]"`), conn: conn{svc: &Service{deps: Deps{Now: time.Now}}}}
		s.out = wire.NewWriter(&out)
		p := s.newProgress(100)
		for done := range uint32(101) { // a message a second
			p.at(done)
			time.Sleep(time.Second)
		}
		want := ""
		for _, n := range []string{"10", "20", "30", "40", "50", "60", "70", "80", "90"} {
			want += `* OK [INPROGRESS ("a]\"" ` + n + " 100)] still working\r\n"
		}
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out.String(), want)
		}
	})
}

// TestWorking: a call about many messages is told of every ten seconds, and one that panics ends.
func TestWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &session{tag: []byte("a"), ctx: t.Context(), log: slog.New(slog.DiscardHandler)}
		s.svc = &Service{cfg: Config{CallTimeout: time.Minute}}
		s.out = wire.NewWriter(&out)
		slow := func(context.Context) error { time.Sleep(25 * time.Second); return nil }
		if err := s.working(workingFrom-1, slow); err != nil || out.Len() > 0 {
			t.Errorf("few messages: %v, %q", err, out.String())
		}
		const line = "* OK [INPROGRESS (\"a\" NIL NIL)] still working\r\n"
		if err := s.working(workingFrom, slow); err != nil || out.String() != line+line {
			t.Errorf("many messages: %v, %q; want two lines", err, out.String())
		}
		if err := s.working(workingFrom, func(context.Context) error { panic("boom") }); s.replyFor(err).code != "SERVERBUG" {
			t.Errorf("a panic: %v", err)
		}
	})
}
