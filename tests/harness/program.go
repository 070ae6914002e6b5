package harness

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Need leaves a test out where a program is missing; with CI=true that is a failure. tests/packages tells which packages
// have the programs.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			leaveOut(t, p+" is not installed: see tests/packages")
		}
	}
}

// SystemPython is the Python that Debian's Python packages belong to, whichever another python3 stands first in PATH.
const SystemPython = "/usr/bin/python3"

// NeedTypelib leaves a test out where Python cannot use a library by its introspection data.
func NeedTypelib(t testing.TB, name, version string) {
	t.Helper()
	ask := exec.Command(SystemPython, "-c", "import gi, sys; gi.require_version(*sys.argv[1:])", name, version)
	if said, err := ask.CombinedOutput(); err != nil {
		leaveOut(t, name+" "+version+" cannot be used from Python: see tests/packages: "+string(said))
	}
}

// Unpacked is the path of a file of a package that is only unpacked; without the package a test is left out.
func Unpacked(t testing.TB, pkg, file string) string {
	t.Helper()
	path := filepath.Join(cmp.Or(os.Getenv("MAILFARM_UNPACKED"), "/var/cache/mailfarm-tests"), pkg, file)
	if _, err := os.Stat(path); err != nil {
		leaveOut(t, pkg+" is not unpacked: see tests/packages")
	}
	return path
}

// NeedRoot leaves a test out that changes users, where it may not.
func NeedRoot(t testing.TB, why string) {
	t.Helper()
	if os.Getuid() != 0 {
		leaveOut(t, "only root can "+why)
	}
}

func leaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("left out, which CI does not allow: %s", why)
	}
	t.Skipf("left out: %s", why)
}

// Program is a command of somebody else, run in a home of its own.
type Program struct {
	t     testing.TB
	Home  string
	Stdin []byte
	// Limit is how long a run may take. Default 2 * Limit.
	Limit time.Duration
}

// NewProgram makes a home for programs of a test.
func NewProgram(t testing.TB) *Program { return &Program{t: t, Home: t.TempDir()} }

// Run runs a program, which must succeed, and returns its standard output.
func (p *Program) Run(name string, args ...string) []byte {
	p.t.Helper()
	stdout, stderr, err := p.Try(name, args...)
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, tail(stdout), tail(stderr))
	}
	return stdout
}

// Try runs a program and returns what it said.
func (p *Program) Try(name string, args ...string) (stdout, stderr []byte, err error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(p.Limit, 2*Limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+p.Home, "LC_ALL=C.UTF-8", "TERM=xterm", "XDG_CONFIG_HOME="+p.Home)
	cmd.Dir = p.Home
	cmd.Stdin = bytes.NewReader(p.Stdin)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	return out.Bytes(), complaints.Bytes(), err
}

// ExitCode is the exit status that an error of a program stands for.
func ExitCode(t testing.TB, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return -1
}

// tail is the end of what a program said.
func tail(b []byte) []byte {
	const enough = 8 << 10
	return b[max(0, len(b)-enough):]
}
