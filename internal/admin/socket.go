// Package admin is the operator's door to a running farm: the socket, and the service behind the verbs that are no other
// role's.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mailfarm/mailfarm/internal/rpc"
)

// socketPathMax is the longest path a Unix socket can have on Linux (sun_path of unix(7)).
const socketPathMax = 107

// fallbackRoot holds the sockets whose path in the data folder is too long. It is not $TMPDIR: that of the operator's shell
// may be another than the farm's.
const fallbackRoot = "/tmp"

// place is where the socket of a data folder is.
type place struct {
	path string
	// own is the fallback's folder; empty where the socket is in the data folder itself.
	own string
	// uid is the data folder's owner.
	uid int
}

func placeOf(data string) (place, error) {
	abs, err := filepath.Abs(data)
	if err != nil {
		return place{}, fmt.Errorf("admin socket: %w", err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	p := place{path: filepath.Join(abs, "admin.sock"), uid: os.Getuid()}
	if len(p.path) <= socketPathMax {
		return p, nil
	}
	if info, err := os.Stat(abs); err == nil {
		p.uid = ownerOf(info)
	}
	sum := sha256.Sum256([]byte(abs))
	p.own = filepath.Join(fallbackRoot, fmt.Sprintf("mailfarm-%d", p.uid))
	p.path = filepath.Join(p.own, hex.EncodeToString(sum[:12])+".sock")
	return p, nil
}

// SocketPath is where the process that works on the data folder has its socket: admin.sock in the folder or, where that
// path is too long for a socket, a name made from it in a folder of the data folder's owner under /tmp.
func SocketPath(data string) (string, error) {
	p, err := placeOf(data)
	return p.path, err
}

func ownerOf(info os.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

// check refuses a fallback folder that another user can write to or has made.
func (p place) check() error {
	if p.own == "" {
		return nil
	}
	info, err := os.Lstat(p.own)
	if err != nil {
		return err
	}
	owner := ownerOf(info)
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 || owner != p.uid && owner != 0 {
		return fmt.Errorf("%s is not a folder that only the data folder's owner can write to: remove it", p.own)
	}
	return nil
}

// Listen makes the socket of a data folder anew, for its owner only. The caller holds the folder's lock, so an old socket
// is a dead process's. Closing it removes it.
func Listen(data string) (net.Listener, error) {
	p, err := placeOf(data)
	if err != nil {
		return nil, err
	}
	l, err := p.listen()
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

func (p place) listen() (net.Listener, error) {
	if p.own != "" {
		if err := os.Mkdir(p.own, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	// The socket is made where nobody else gets at it, and shown once its permissions are right. The folder's name is
	// shorter than the socket's.
	hidden := strings.TrimSuffix(p.path, ".sock") + ".d"
	if err := os.RemoveAll(hidden); err != nil {
		return nil, err
	}
	if err := os.Mkdir(hidden, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(hidden)
	made := filepath.Join(hidden, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, p.path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return &socket{UnixListener: l, path: p.path}, nil
}

// socket removes itself when it is closed.
type socket struct {
	*net.UnixListener
	path string
	once sync.Once
}

// Addr is net.Listener's.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close is net.Listener's.
func (s *socket) Close() (err error) {
	s.once.Do(func() { err = errors.Join(os.Remove(s.path), s.UnixListener.Close()) })
	return err
}

// ErrNotRunning is a data folder without a running process.
var ErrNotRunning = errors.New("no mailfarm is running there")

// Dial connects to a running farm. target is "unix:PATH", the path of a socket, or "HOST:PORT" with tls; empty: the socket
// of data. Where no process listens on a socket the error is ErrNotRunning.
func Dial(target, data string, tls credentials.TransportCredentials) (*grpc.ClientConn, error) {
	if target == "" {
		p, err := placeOf(data)
		if err != nil {
			return nil, err
		}
		if err := p.check(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
		return dialSocket(p.path, data)
	}
	path, isSocket := strings.CutPrefix(target, "unix:")
	if isSocket || strings.HasPrefix(target, "/") || strings.HasSuffix(target, ".sock") {
		return dialSocket(path, target)
	}
	if tls == nil {
		return nil, fmt.Errorf("connect to %s: the admin port wants a client certificate: use --ca, --cert and --key", target)
	}
	return rpc.Dial("dns:///"+target, grpc.WithTransportCredentials(tls))
}

// probeTime bounds the look whether a process listens on a socket.
const probeTime = 5 * time.Second

// dialSocket connects to a socket, whose permissions are the authentication. name is how the operator called it.
func dialSocket(path, name string) (*grpc.ClientConn, error) {
	probe, err := net.DialTimeout("unix", path, probeTime)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%s: %w: start it with `mailfarm dev`, or name a running one with --data or --admin", name, ErrNotRunning)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s: only its owner may use the admin socket: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	probe.Close()
	return rpc.Dial("passthrough:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}))
}
