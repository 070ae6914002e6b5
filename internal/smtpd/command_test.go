package smtpd

import (
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/front"
)

// nobody is a session that is never reached by the parsers.
type nobody struct{}

func (nobody) AuthMechanisms() []string                                            { return []string{"PLAIN"} }
func (nobody) Auth(context.Context, string) (Mechanism, error)                     { return nil, io.EOF }
func (nobody) Mail(context.Context, envelope.ReversePath, *smtp.MailOptions) error { return nil }
func (nobody) Rcpt(context.Context, []Rcpt)                                        {}
func (nobody) Data(context.Context) (Message, error)                               { return nil, io.EOF }
func (nobody) Reset()                                                              {}
func (nobody) Close()                                                              {}
func (nobody) NewSession(context.Context, *Conn) (Session, error)                  { return nobody{}, nil }

// FuzzCommand: what the parsers of arguments accept is within bounds and has no control octets.
func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		"FROM:<a@b> SIZE=10 BODY=8BITMIME", "FROM:<> RET=HDRS ENVID=a+2Bb SMTPUTF8", "FROM:<a@b> AUTH=<>", "from : <\"x y\"@b>",
		"TO:<postmaster> NOTIFY=NEVER", "TO:<@a,@b:c@d> ORCPT=rfc822;x+40y", "TO:<ü@b> ORCPT=utf-8;\\x{FC}", "86 LAST", "0", "-1", "1 LAST x",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	s, err := New(Config{Hostname: "mx"}, nobody{}, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, args string, flag bool) {
		c := &Conn{server: s, session: nobody{}, esmtp: true, utf8: flag}
		clean := func(what, text string) {
			if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
				t.Errorf("%q: control octet in %s %q", args, what, text)
			}
		}
		if from, opts, r := c.parseMail(args); r == nil {
			clean("path", string(from))
			clean("envid", opts.EnvelopeID)
			if opts.Size < 0 || len(from) > envelope.MaxPath {
				t.Errorf("%q: size %d, path of %d", args, opts.Size, len(from))
			}
			if !opts.UTF8 && strings.IndexFunc(string(from), func(r rune) bool { return r > 0x7f }) >= 0 {
				t.Errorf("%q: %q without SMTPUTF8", args, from)
			}
		} else if r.Code < 500 || r.Code > 599 {
			t.Errorf("%q: %v", args, r)
		}
		if rcpt, r := c.parseRcpt(args); r == nil {
			clean("path", string(rcpt.To))
			clean("orcpt", rcpt.Options.OriginalRecipient)
			if rcpt.To == "" || len(rcpt.To) > envelope.MaxPath {
				t.Errorf("%q: path %q", args, rcpt.To)
			}
		}
		if size, _, ok := parseBdat(args); ok && size < 0 {
			t.Errorf("%q: chunk of %d", args, size)
		}
		line := append([]byte(args), "\r\n"...)
		if text, ok := trimLine(line); ok {
			clean("line", string(text))
		}
	})
}

// BenchmarkIdle reports what one connection costs that has said EHLO and is silent since.
func BenchmarkIdle(b *testing.B) {
	const conns = 500
	s, err := New(Config{Hostname: "mx", Limits: Limits{Connections: 2 * conns, ConnectionsPerAddress: 2 * conns}}, nobody{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(b.Context())
	go func() { served <- s.Run(ctx, []front.Socket{{Listener: l}}) }()
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		before := used()
		open := make([]net.Conn, conns)
		buf := make([]byte, 4096)
		for i := range open {
			if open[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
				b.Fatal(err)
			}
			open[i].Read(buf)
			open[i].Write([]byte("EHLO c\r\n"))
			open[i].Read(buf)
		}
		b.ReportMetric(float64(used()-before)/conns/1024, "KiB/conn")
		for _, c := range open {
			c.Close()
		}
	}
	cancel()
	if err := <-served; err != nil {
		b.Error(err)
	}
}
