package farm_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/config"
	"github.com/mailfarm/mailfarm/internal/farm"
)

// TestExamplesAreGood loads the examples that people start from, and reads back what `config print` writes of them.
func TestExamplesAreGood(t *testing.T) {
	for _, file := range []string{"single/mailfarm.yaml", "compose/mailfarm.yaml", "compose/mailfarm.small.yaml"} {
		t.Run(file, func(t *testing.T) {
			var cfg, base farm.Config
			if err := config.Load("../../deploy/"+file, &cfg); err != nil {
				t.Fatal(err)
			}
			cfg.Defaults()
			base.Defaults()
			if err := cfg.Validate(); err != nil {
				t.Error(err)
			}
			var printed bytes.Buffer
			if err := config.Print(&printed, cfg, base); err != nil {
				t.Fatal(err)
			}
			var again farm.Config
			if err := config.Read(bytes.NewReader(printed.Bytes()), &again); err != nil {
				t.Errorf("what is printed does not read back: %v\n%s", err, printed.String())
			}
			for _, line := range []string{"max_connections: 0", "idle_timeout: 0s"} {
				if bytes.Contains(printed.Bytes(), []byte(line)) {
					t.Errorf("a default is hidden: %q", line)
				}
			}
		})
	}
}

// TestRowsOutliveTheBus: rows that go before the bus forgets the message would let it be delivered again.
func TestRowsOutliveTheBus(t *testing.T) {
	for _, row := range []struct {
		keep, age time.Duration
		good      bool
	}{
		{0, 0, true}, {73*time.Hour + time.Second, 0, true}, {73 * time.Hour, 0, false}, {0, 720 * time.Hour, false},
		{2 * time.Hour, 30 * time.Minute, true},
	} {
		var cfg farm.Config
		cfg.Hostname = "mail.example.org"
		cfg.Ledger.PruneAfter, cfg.Bus.MaxAge = row.keep, row.age
		cfg.Defaults()
		err := cfg.Validate()
		if good := err == nil; good != row.good {
			t.Errorf("prune_after %v, max_age %v: got %v", row.keep, row.age, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "ledger.prune_after") || !strings.Contains(err.Error(), "bus.max_age")) {
			t.Errorf("the keys are not named: %v", err)
		}
	}
}
