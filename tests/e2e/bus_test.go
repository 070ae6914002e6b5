package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestBusShowsTraces listens on the embedded server as `nats sub 'trace.>'` does.
func TestBusShowsTraces(t *testing.T) {
	listen := harness.FreeAddr(t)
	f := harness.StartDev(t, "--bus-listen", listen)
	nc := connectBus(t, listen)
	sub, err := nc.SubscribeSync("trace.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter("traced", carol, alice)); err != nil {
		t.Fatal(err)
	}
	want := []string{"smtp accepted", "filter judged", "router routed", "local delivered"}
	events := map[string]string{} // stage and event to queue id
	for len(events) < len(want) { // in any order: the next stage may be told of first
		m, err := sub.NextMsg(harness.Limit)
		if err != nil {
			t.Fatalf("%v; so far: %v", err, events)
		}
		batch := &mailv1.TraceBatch{}
		if err := proto.Unmarshal(m.Data, batch); err != nil {
			t.Fatal(err)
		}
		for _, ev := range batch.Events {
			if m.Subject != "trace."+ev.Stage {
				t.Errorf("an event of stage %s came on %s", ev.Stage, m.Subject)
			}
			events[ev.Stage+" "+ev.Event] = fmt.Sprintf("%x", ev.QueueId)
		}
	}
	id := events["local delivered"]
	for _, name := range want {
		if events[name] != id || id == "" {
			t.Errorf("no event %q of the message: %v", name, events)
		}
	}
}

// TestBusListensOnLoopbackOnly refuses to show the bus, which has no passwords, to others.
func TestBusListensOnLoopbackOnly(t *testing.T) {
	f := harness.Dev(t, "--bus-listen", "0.0.0.0:0")
	f.Launch()
	if !f.Ended(harness.Limit) {
		t.Error("the bus listens on all addresses")
	}
}

func connectBus(t *testing.T, addr string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// poison is what no subject's work looks like: noise, messages cut off, ids of a wrong length, fields of another type.
func poison(t *testing.T) [][]byte {
	t.Helper()
	id := bytes.Repeat([]byte{7}, 16)
	var all [][]byte
	for _, m := range []proto.Message{
		&mailv1.Accepted{QueueId: id[:5], BlobId: id, Envelope: &mailv1.Envelope{QueueId: id, ReversePath: carol}},
		&mailv1.LocalWork{QueueId: id[:3], Number: 1},
		&mailv1.RemoteWork{QueueId: id[:15], Group: "far.example"},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b, b[:len(b)-1])
	}
	noise := make([]byte, 100_000)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	return append(all, nil, []byte("no protobuf at all"), noise, bytes.Repeat([]byte{0xff}, 30))
}

// TestPoison puts on the bus what nobody can read: it becomes a dead letter, is listed, can be retried, and blocks nothing.
func TestPoison(t *testing.T) {
	listen := harness.FreeAddr(t)
	f := harness.StartDev(t, "--bus-listen", listen, "--config", harness.ConfigFile(t, "bus: {poison_limit: 3, poison_delay: 50ms}\n"))
	js, err := jetstream.New(connectBus(t, listen))
	if err != nil {
		t.Fatal(err)
	}
	subjects := []string{"mail.accepted", "mail.filtered", "mail.local", "mail.remote"}
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit)
	defer cancel()
	payloads := poison(t)
	for _, s := range subjects {
		for _, payload := range payloads {
			if _, err := js.Publish(ctx, s+".0", payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What can be decoded and stands for nothing the ledger could keep.
	id := bytes.Repeat([]byte{8}, 16)
	hollow, err := proto.Marshal(&mailv1.Accepted{QueueId: id, BlobId: []byte("short"), Envelope: &mailv1.Envelope{QueueId: id, ReversePath: carol}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects[:2] {
		if _, err := js.Publish(ctx, s+".0", hollow); err != nil {
			t.Fatal(err)
		}
	}
	if err := harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter("behind poison", carol, alice)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	harness.Eventually(t, "mail goes on", func() bool { return len(f.Mailbox(alice, "INBOX")) == 1 })
	t.Logf("mail behind poison was delivered in %v", time.Since(began))

	type dead struct {
		Number          uint64
		Subject, Reason string
		Tries           int
	}
	list := func() []dead { return fromJSON[[]dead](t, f, "queue", "list", "--dead") }
	var letters []dead
	harness.Eventually(t, "all are dead letters", func() bool {
		letters = list()
		return len(letters) == len(payloads)*len(subjects)+2
	})
	for i, s := range subjects {
		want := len(payloads)
		if i < 2 {
			want++
		}
		if n := len(slices.DeleteFunc(slices.Clone(letters), func(d dead) bool { return d.Subject != s || d.Tries != 3 || d.Reason == "" })); n != want {
			t.Errorf("%d dead letters of %s after 3 tries with a reason, want %d: %+v", n, s, want, letters)
		}
	}
	if out := f.CLI("queue", "list", "--dead"); len(out) == 0 || out[:6] != "NUMBER" {
		t.Errorf("queue list --dead:\n%s", out)
	}
	if got := fromJSON[struct{ Retried int }](t, f, "queue", "retry", "--dead"); got.Retried != len(letters) {
		t.Errorf("queue retry --dead tells of %d, want %d", got.Retried, len(letters))
	}
	harness.Eventually(t, "they are dead again, under new numbers", func() bool {
		again := list()
		return len(again) == len(letters) && again[0].Number > letters[len(letters)-1].Number
	})
	f.Settle()
}
