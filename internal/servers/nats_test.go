package servers_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestNATS(t *testing.T) {
	b := servers.NATS(t, 3)
	nc, err := nats.Connect(b.URLs()[1], nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream(nats.MaxWait(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	b.Kill(0)
	b.Start(0)
	b.Wipe()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err = js.StreamInfo("S"); err == nats.ErrStreamNotFound {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a wipe: %v, want no such stream", err)
		}
		<-time.After(50 * time.Millisecond)
	}
}
