package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/filelock"
)

// packages are the programs that deploy/servers names in its go.mod.
var packages = map[string]string{
	"nats-server": "github.com/nats-io/nats-server/v2",
	"versitygw":   "github.com/versity/versitygw/cmd/versitygw",
}

// root is the repository's: the folder with go.work above the one that a test runs in.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.work above this folder: servers are built within the repository")
		}
		dir = up
	}
}

var built sync.Map // name -> func() (string, error)

// Binary is the path of a server's program: the one in the folder that MAILFARM_SERVERS names, or else built once from its
// module into bin/servers, which takes a minute or two the first time.
func Binary(t testing.TB, name string) string {
	t.Helper()
	once, _ := built.LoadOrStore(name, sync.OnceValues(func() (string, error) { return build(name) }))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(name string) (string, error) {
	if dir := os.Getenv("MAILFARM_SERVERS"); dir != "" {
		return filepath.Join(dir, name), nil
	}
	pkg := packages[name]
	if pkg == "" {
		return "", fmt.Errorf("deploy/servers has no %s", name)
	}
	top, err := root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(top, "bin", "servers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	lock, err := filelock.Wait(path + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Release()
	c := exec.Command("go", "build", "-o", path, pkg)
	c.Dir = filepath.Join(top, "deploy", "servers")
	c.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}
