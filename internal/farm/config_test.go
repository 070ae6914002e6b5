package farm_test

import (
	"bytes"
	"testing"

	"github.com/mailfarm/mailfarm/internal/config"
	"github.com/mailfarm/mailfarm/internal/farm"
)

// TestExampleIsGood loads the example that people start from, and reads back what `config print` writes of it.
func TestExampleIsGood(t *testing.T) {
	var cfg, base farm.Config
	if err := config.Load("../../deploy/compose/mailfarm.yaml", &cfg); err != nil {
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
}
