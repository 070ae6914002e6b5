package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/admin"
	"github.com/mailfarm/mailfarm/internal/rpc"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// serve answers on a data folder's socket until the test ends or stop is called.
func serve(t *testing.T, data string) (stop func()) {
	t.Helper()
	l, err := admin.Listen(data)
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(slog.New(slog.DiscardHandler))
	admin.New(nil, "v1.2.3", []string{"ingress"}, time.Unix(5, 0)).Register(srv)
	done := make(chan struct{})
	go func() { srv.Serve(l); close(done) }()
	stop = func() { srv.Stop(); <-done }
	t.Cleanup(stop)
	return stop
}

// version asks the process behind target or data who it is.
func version(t *testing.T, target, data string) (*adminv1.VersionResponse, error) {
	t.Helper()
	conn, err := admin.Dial(target, data, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return adminv1.NewAdminClient(conn).Version(ctx, &adminv1.VersionRequest{})
}

func longFolder(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), strings.Repeat("a-long-name/", 12))
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSocket: reached by folder and by path, for its owner only, and gone when it is closed.
func TestSocket(t *testing.T) {
	short := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(short, link); err != nil {
		t.Fatal(err)
	}
	// The longest path that a socket can have just fits.
	fits := filepath.Join(short, strings.Repeat("x", 107-len(short)-len("//admin.sock")))
	if err := os.Mkdir(fits, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data string
		in   bool // the socket is in the folder
	}{"short": {short, true}, "by a link": {link, true}, "fits": {fits, true}, "long": {longFolder(t), false}} {
		t.Run(name, func(t *testing.T) {
			stop := serve(t, tt.data)
			path, err := admin.SocketPath(tt.data)
			if err != nil || len(path) > 107 {
				t.Fatalf("path %q (%d octets), %v", path, len(path), err)
			}
			real, err := filepath.EvalSymlinks(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			if (filepath.Dir(path) == real) != tt.in {
				t.Errorf("the socket is %s", path)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != fs.ModeSocket|0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			for _, target := range []string{"", "unix:" + path, path} {
				v, err := version(t, target, tt.data)
				if err != nil || v.Version != "v1.2.3" || v.StartedNs != 5e9 || v.Roles[0] != "ingress" || !strings.HasPrefix(v.Go, "go") {
					t.Errorf("%q: %v, %v", target, v, err)
				}
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), ".d") {
					t.Errorf("left over: %s", e.Name())
				}
			}
			if err != nil {
				t.Error(err)
			}
			stop()
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is still there (%v)", err)
			}
			for _, target := range []string{"", "unix:" + path, path} {
				if _, err := version(t, target, tt.data); !errors.Is(err, admin.ErrNotRunning) {
					t.Errorf("%q, not running: %v", target, err)
				}
			}
		})
	}
}

// TestStaleSocket is made anew, and says that nobody is there before.
func TestStaleSocket(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(data, "admin.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	// So died one that was just making its socket.
	if err := os.MkdirAll(filepath.Join(data, "admin.d", "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := version(t, "", data); !errors.Is(err, admin.ErrNotRunning) || !strings.Contains(err.Error(), "mailfarm dev") {
		t.Errorf("not running: %v", err)
	}
	serve(t, data)
	if _, err := version(t, "", data); err != nil {
		t.Error(err)
	}
}

func TestFolderThatIsNoFolder(t *testing.T) {
	if _, err := admin.Listen(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("a socket in a folder that is not there")
	}
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "admin.sock", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Listen(data); err == nil {
		t.Error("a socket where a folder is")
	}
}

// TestFallbackOfAnother is refused by both sides: its owner could put a socket of his own there.
func TestFallbackOfAnother(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("another user's folder can be made by root only")
	}
	const another = 54321
	data := longFolder(t)
	if err := os.Chown(data, another, another); err != nil {
		t.Fatal(err)
	}
	dir := fmt.Sprintf("/tmp/mailfarm-%d", another)
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, prepare := range map[string]func() error{
		"writable by others": func() error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777))
		},
		"another's": func() error {
			return errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, another+1, another+1))
		},
		"a link": func() error { return os.Symlink(t.TempDir(), dir) },
		"a file": func() error { return os.WriteFile(dir, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := errors.Join(os.RemoveAll(dir), prepare()); err != nil {
				t.Fatal(err)
			}
			if _, err := admin.Listen(data); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("listen: %v", err)
			}
			if _, err := admin.Dial("", data, nil); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("dial: %v", err)
			}
		})
	}
	// Of the data folder's owner it is good, also for root.
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.Chown(dir, another, another)); err != nil {
		t.Fatal(err)
	}
	serve(t, data)
	if _, err := version(t, "", data); err != nil {
		t.Error(err)
	}
}

// TestPortWantsACertificate, and says so at once.
func TestPortWantsACertificate(t *testing.T) {
	_, err := admin.Dial("127.0.0.1:2090", "", nil)
	if err == nil || !strings.Contains(err.Error(), "--cert") {
		t.Errorf("got %v", err)
	}
}
