package fault

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// view is what a client was told of bob's INBOX since it selected it.
type view struct {
	t    *testing.T
	name string
	c    *imapclient.Client
	// waits has the client wait in IDLE; else it asks by NOOP.
	waits bool

	mu     sync.Mutex
	exists uint32      // guarded by mu
	flags  []imap.Flag // guarded by mu: all flags told of
	gone   []uint32    // guarded by mu: the numbers of messages told to be expunged
}

// openView opens a view through an imap process.
func openView(t *testing.T, w *parts, name, addr string, waits bool) *view {
	t.Helper()
	v := &view{t: t, name: name, waits: waits}
	c, err := imapclient.DialTLS(addr, &imapclient.Options{TLSConfig: w.TLS(), UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				v.hear(func() { v.exists = *data.NumMessages })
			}
		},
		Fetch: func(m *imapclient.FetchMessageData) {
			if got, err := m.Collect(); err == nil {
				v.hear(func() { v.flags = append(v.flags, got.Flags...) })
			}
		},
		Expunge: func(n uint32) { v.hear(func() { v.gone, v.exists = append(v.gone, n), v.exists-1 }) },
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	v.c = c
	if err := c.Login(bob, harness.DevPassword).Wait(); err != nil {
		t.Fatal(err)
	}
	data, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	v.hear(func() { v.exists = data.NumMessages })
	if waits {
		if _, err := c.Idle(); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func (v *view) hear(what func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	what()
}

// await waits until ok holds of what the client was told, which ok may read.
func (v *view) await(what string, ok func() bool) {
	v.t.Helper()
	start := time.Now()
	harness.Eventually(v.t, v.name+": "+what, func() bool { return v.told(ok) })
	v.t.Logf("%s: %s after %v", v.name, what, time.Since(start).Round(time.Millisecond))
}

// told asks where the client has to, and whether ok holds then.
func (v *view) told(ok func() bool) bool {
	v.t.Helper()
	if !v.waits {
		if err := v.c.Noop().Wait(); err != nil {
			v.t.Fatalf("%s: %v", v.name, err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return ok()
}

// heard tells whether the client was told of a message with a flag.
func (v *view) heard(f imap.Flag) bool {
	return v.told(func() bool { return slices.Contains(v.flags, f) })
}

func (v *view) awaitExists(n uint32) {
	v.t.Helper()
	v.await(fmt.Sprintf("%d messages", n), func() bool { return v.exists == n })
}

// newWatched is a farm with two imap and two store processes that compare counters so often, and nothing else to do.
func newWatched(t *testing.T, compareEvery time.Duration) *parts {
	t.Helper()
	config := harness.ConfigFile(t, fmt.Sprintf("imap: {compare_every: %v}\ndelivery_local: {retry: [1s]}\nbus: {ack_wait: 1s}\nledger: {sweep_every: 200ms, sweep_again: 1s}\n", compareEvery))
	return &parts{world: &world{Farm: harness.Parts(t, harness.Layout{Processes: map[string]int{"imap": 2, "store": 2}}, "--config", config)}}
}

// toBob hands in a letter to bob.
func (w *parts) toBob(t *testing.T, name string) {
	t.Helper()
	if err := harness.Send(w.SMTP(), "carol@sender.example", []string{bob}, harness.Letter(name, "carol@sender.example", bob)); err != nil {
		t.Fatal(err)
	}
}

// editor is a client of the first imap process that changes bob's INBOX.
func (w *parts) editor(t *testing.T) *imapclient.Client {
	t.Helper()
	c, err := w.login(w.IMAPS(), bob)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

func flag(t *testing.T, c *imapclient.Client, number uint32, f imap.Flag) {
	t.Helper()
	if err := c.Noop().Wait(); err != nil { // so that it knows of the message
		t.Fatal(err)
	}
	change(t, c, number, imap.StoreFlagsAdd, f)
}

func change(t *testing.T, c *imapclient.Client, number uint32, op imap.StoreFlagsOp, f imap.Flag) {
	t.Helper()
	if err := c.Store(imap.SeqSetNum(number), &imap.StoreFlags{Op: op, Flags: []imap.Flag{f}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNotices: who waits in IDLE, or asks by NOOP, at one imap process hears at once of what is delivered, flagged and
// expunged through others, also after NATS was away. Counters are compared too seldom here to be how they hear of it.
func TestNotices(t *testing.T) {
	w := newWatched(t, time.Hour)
	w.Start()
	second := w.At(w.IMAPS(), 1)
	views := []*view{openView(t, w, "IDLE", second, true), openView(t, w, "NOOP", second, false)}
	c := w.editor(t)
	all := func(do func(v *view)) {
		for _, v := range views {
			do(v)
		}
	}
	for i := range uint32(3) {
		w.toBob(t, fmt.Sprint("notice-", i))
		all(func(v *view) { v.awaitExists(i + 1) })
	}
	flag(t, c, 2, imap.FlagFlagged)
	all(func(v *view) { v.awaitFlag(imap.FlagFlagged) })
	flag(t, c, 1, imap.FlagDeleted)
	all(func(v *view) { v.awaitFlag(imap.FlagDeleted) })
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	all(func(v *view) {
		v.await("message 1 is gone", func() bool { return slices.Equal(v.gone, []uint32{1}) && v.exists == 2 })
	})

	w.Servers.Bus.Kill(0)
	w.Servers.Bus.Start(0)
	for _, p := range w.Processes() {
		p.WaitReady()
	}
	// A notice that was sent before a process is back at NATS is lost to it, so there are changes until all have heard of one.
	harness.Eventually(t, "notices after NATS was away", func() bool {
		change(t, c, 1, imap.StoreFlagsDel, imap.FlagAnswered)
		flag(t, c, 1, imap.FlagAnswered)
		return !slices.ContainsFunc(views, func(v *view) bool { return !v.heard(imap.FlagAnswered) })
	})
	w.toBob(t, "after NATS was away")
	all(func(v *view) { v.awaitExists(3) })
}

// awaitFlag waits until the client was told of a message with a flag.
func (v *view) awaitFlag(f imap.Flag) {
	v.t.Helper()
	v.await("the flag "+string(f), func() bool { return slices.Contains(v.flags, f) })
}

// TestLostNotices: what was changed while no notice could be sent, because the store died between commit and notice or
// because NATS was away, is told by the next comparison of counters. It comes every second here; every 30 by default.
func TestLostNotices(t *testing.T) {
	w := newWatched(t, time.Second)
	w.Start()
	dying := w.Process("store")
	views := []*view{openView(t, w, "first imap", w.IMAPS(), true), openView(t, w, "second imap", w.At(w.IMAPS(), 1), true)}
	c := w.editor(t)

	dying.Kill()
	dying.Start("MAILFARM_CRASH_AT=store.before-deliver-notify")
	var n uint32
	for ; dying.Running(); n++ {
		if n == 200 {
			t.Fatal("no delivery of 200 came to the first store")
		}
		w.toBob(t, fmt.Sprint("unnoticed-", n))
		for _, v := range views {
			v.awaitExists(n + 1)
		}
	}
	if !dying.Ended(harness.Limit) {
		t.Fatal("the store lives")
	}
	dying.Start()

	w.Servers.Bus.Kill(0)
	flag(t, c, 1, imap.FlagFlagged)
	for _, v := range views {
		v.awaitFlag(imap.FlagFlagged)
	}
	w.Servers.Bus.Start(0)
	for _, p := range w.Processes() {
		p.WaitReady()
	}
	w.toBob(t, "after NATS was away")
	for _, v := range views {
		v.awaitExists(n + 1)
	}
}
