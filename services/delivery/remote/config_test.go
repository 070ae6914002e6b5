package remote

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestDefaultsAreValid(t *testing.T) {
	c := Config{Hostname: hostname}
	c.Defaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// TestValidateNamesAllFaults, always in the same order.
func TestValidateNamesAllFaults(t *testing.T) {
	c := Config{
		Hostname: "two names", SmartHost: "nowhere", Port: 99999, Connections: -1, ConnectionsPerDestination: -1, MessagesPerConnection: -1,
		MaxRecipients: -1, MaxHosts: -1, Retry: []time.Duration{time.Minute, 0}, ClaimLease: 2 * time.Hour,
		Timeouts: Timeouts{Connect: 1, Command: 1, Data: 1, Final: 1, Attempt: 1},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, key := range []string{"hostname", "smart_host", "port", "connections", "connections_per_destination", "messages_per_connection",
		"max_recipients", "max_hosts", "retry[1]", "claim_lease", "timeouts.connect", "timeouts.command", "timeouts.data", "timeouts.final", "timeouts.attempt"} {
		if !strings.Contains("\n"+err.Error(), "\n"+key+": ") {
			t.Errorf("%s is not named in:\n%v", key, err)
		}
	}
	if again := c.Validate(); again.Error() != err.Error() {
		t.Errorf("another order:\n%v\n%v", err, again)
	}
	if _, err := New(c, Deps{Metrics: prometheus.NewRegistry()}); err == nil {
		t.Error("a role with this configuration")
	}
}

func TestWaits(t *testing.T) {
	c := Config{Retry: []time.Duration{1, 2, 3}}
	for attempts, want := range []time.Duration{1, 2, 3, 3, 3} {
		if got := c.wait(uint32(attempts)); got != want {
			t.Errorf("after %d attempts: got %v, want %v", attempts, got, want)
		}
	}
}
