package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// fromJSON runs a verb with --json and reads what it prints.
func fromJSON[T any](t *testing.T, f *harness.Farm, args ...string) T {
	t.Helper()
	out := f.CLI(append(args, "--json")...)
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("mailfarm %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// refused runs a verb that must end with status 2 and say each of the words.
func refused(t *testing.T, f *harness.Farm, args []string, words ...string) {
	t.Helper()
	out, code := f.CLIStatus(args...)
	if code != 2 || !strings.HasPrefix(out, "mailfarm: ") {
		t.Errorf("mailfarm %s: exit status %d, want 2\n%s", strings.Join(args, " "), code, out)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("mailfarm %s does not say %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
}

// TestVerbsElsewhere are those that need no farm, and what the others say without one.
func TestVerbsElsewhere(t *testing.T) {
	out, code := verb(t, "version", "--json")
	var v struct{ Version, Go string }
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Version == "" || v.Go == "" {
		t.Errorf("version --json: exit status %d, %v\n%s", code, err, out)
	}
	if out, code := verb(t, "version"); code != 0 || !strings.HasPrefix(out, "mailfarm ") {
		t.Errorf("version: exit status %d\n%s", code, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, code := verb(t, "completion", shell); code != 0 || !strings.Contains(out, "mailfarm") {
			t.Errorf("completion %s: exit status %d\n%.200s", shell, code, out)
		}
	}
	script, _ := verb(t, "completion", "bash")
	p := harness.NewProgram(t)
	p.Stdin = []byte(script)
	p.Run("bash", "-n")

	empty := t.TempDir()
	for _, args := range [][]string{{"queue", "list"}, {"audit"}, {"trace", "--since", "1h"}, {"account", "list"}} {
		out, code := verb(t, append(args, "--data", empty)...)
		if code != 2 || !strings.Contains(out, "mailfarm dev") || !strings.Contains(out, "--admin") {
			t.Errorf("mailfarm %v without a farm: exit status %d\n%s", args, code, out)
		}
	}
	out, code = verb(t, "queue", "list", "--admin", harness.FreeAddr(t))
	if code != 2 || !strings.Contains(out, "--cert") {
		t.Errorf("the admin port without a certificate: exit status %d\n%s", code, out)
	}
	for _, args := range [][]string{{}, {"account"}, {"account", "add"}, {"alias"}, {"alias", "set"}, {"domain", "add"}, {"queue", "list"}, {"queue", "hold"},
		{"trace"}, {"audit"}, {"dev"}, {"run"}, {"config", "check"}, {"account", "import"}} {
		out, code := verb(t, append(args, "--help")...)
		if leaf := len(args) != 1 || args[0] != "account" && args[0] != "alias"; code != 0 || leaf && !strings.Contains(out, "Examples:") {
			t.Errorf("mailfarm %v --help has no example: exit status %d\n%s", args, code, out)
		}
	}
	if out, code := verb(t, "qeue"); code != 2 || !strings.Contains(out, "qeue") {
		t.Errorf("an unknown verb: exit status %d\n%s", code, out)
	}
}

// TestSocketIsItsOwners: the socket is its owner's alone.
func TestSocketIsItsOwners(t *testing.T) {
	f := harness.StartDev(t)
	info, err := os.Stat(filepath.Join(f.Data, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the admin socket has the mode %v, want it to be its owner's alone", info.Mode())
	}
	socket := filepath.Join(f.Data, "admin.sock")
	for _, admin := range []string{socket, "unix:" + socket} {
		t.Setenv("MAILFARM_ADMIN", admin)
		if out, code := verb(t, "account", "list"); code != 0 || !strings.Contains(out, alice) {
			t.Errorf("with MAILFARM_ADMIN=%s: exit status %d\n%s", admin, code, out)
		}
	}
}
