package fault

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// gapPoint is passed once behind an upgrade.
const gapPoint = "reclaim.before-gap-closed"

// storageSettings have dead writers found in seconds, and large bodies sent in the smallest parts.
const storageSettings = `
limits: {connections: {smtp: -1, submission: -1}, account: {messages_per_hour: -1, messages_per_day: -1, recipients_per_hour: -1, recipients_per_day: -1, connections: -1}}
blob: {s3: {heartbeat: 500ms, dead_after: 1500ms, retry_for: 5s, request_timeout: 2s, part_size: 5242880}}
`

// ofStorage are the folders whose points differ where mail lies in PostgreSQL and on an S3 server.
var ofStorage = []string{"internal/blob/s3", "internal/reclaim", "internal/index/unit", "internal/index/postgres"}

// TestCrashPointsOfAFarm lets the process of a farm that passes it die at each point that has to do with PostgreSQL and the
// S3 server, starts it again, and looks as TestCrashPoints does.
func TestCrashPointsOfAFarm(t *testing.T) {
	t.Parallel() // most of the time is waiting
	points, err := Points("../..")
	if err != nil {
		t.Fatal(err)
	}
	w := newStorage(t)
	w.Start()
	w.prepare()
	w.fill()
	w.handAll()
	w.check(t)
	for _, point := range points {
		if isOffThePath(point) {
			continue
		}
		if !slices.ContainsFunc(ofStorage, point.in) {
			if !inOneProcess(point) {
				t.Errorf("nothing tries the point %s", point.Name)
			}
			continue
		}
		if !t.Run(point.Name, func(t *testing.T) { w.crashPart(t, point.Name) }) {
			return // what follows would tell of the same
		}
	}
	w.gaveBack(t)
	w.check(t)
}

func newStorage(t *testing.T) *world {
	t.Helper()
	peer := harness.NewPeer(t, "127.0.0.1:0")
	dns := dnstest.Start(t, peer.Zone("remote.example"))
	config := harness.ConfigFile(t, strings.Replace(fmt.Sprintf(settings+roomSettings, harness.Port(peer.Addr), 50), "ledger: {", "ledger: {lease: 1s, ", 1)+
		storageSettings)
	w := &world{peer: peer}
	w.Farm = harness.Parts(t, harness.Layout{}, "--config", config, "--dns", dns.Addr())
	return w
}

// crashPart lets the process that passes a point die there, and looks whether all is well afterwards.
func (w *world) crashPart(t *testing.T, point string) {
	w.forget(t)
	p := w.Process(partOf(point))
	if point == gapPoint {
		w.Servers.Database.Admin(t, "INSERT INTO unnoted (incarnation) SELECT min(incarnation) FROM checkpoint")
	}
	if err := p.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	p.Launch("MAILFARM_CRASH_AT=" + point)
	if !w.passes(point, p) {
		t.Fatalf("the point %s was never passed: is it on the path?", point)
	}
	p.Start()
	w.fill()
	w.handAll() // life goes on
	w.check(t)
}

// partOf is the process that passes a point.
func partOf(point string) string {
	switch point {
	case "s3.before-put", "s3.after-put", "s3.parts-sent", "s3.body-stored", "s3.claimed":
		return "ingress"
	}
	return "store"
}

// passes has the farm do what leads a process through a point, and tells whether it died.
func (w *world) passes(point string, p *harness.Process) bool {
	if !p.ReadyOrEnded() {
		return true
	}
	switch {
	case point == "s3.sealed" || point == "s3.ended":
		// A writer that falls silent is sealed by whoever looks for frames without a row.
		other := w.Process("ingress")
		other.Kill()
		other.Start()
		return p.Ended(harness.Limit)
	case point == "s3.parts-sent":
		w.hand(huge)
		return p.Ended(5 * time.Second)
	case ofRoom(point) || strings.HasPrefix(point, "s3.copies-") || point == "s3.before-remove":
		return w.makeRoomUntil(p.Ended)
	}
	for range rounds {
		w.handAll()
		w.hand(goingLarge)
		if p.Ended(300 * time.Millisecond) {
			return true
		}
	}
	return p.Ended(5 * time.Second)
}
