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
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mailfarm/mailfarm/internal/rpc"
)

// socketPathMax is the longest path a Unix socket can have on Linux (sun_path of unix(7)).
const socketPathMax = 107

// SocketPath is where the process that works on the data folder has its socket: admin.sock in the folder or, where that
// path is too long for a socket, a name made from it in a folder of the user's own under the system's temporary one.
func SocketPath(data string) (string, error) {
	abs, err := filepath.Abs(data)
	if err != nil {
		return "", fmt.Errorf("admin socket: %w", err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	path := filepath.Join(abs, "admin.sock")
	if len(path) <= socketPathMax {
		return path, nil
	}
	sum := sha256.Sum256([]byte(abs))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("mailfarm-%d", os.Getuid()))
	return filepath.Join(dir, hex.EncodeToString(sum[:12])+".sock"), nil
}

// Listen makes the socket of a data folder anew, for its owner only. The caller holds the folder's lock, so an old socket
// is a dead process's.
func Listen(data string) (net.Listener, error) {
	path, err := SocketPath(data)
	if err != nil {
		return nil, err
	}
	if err := ownDir(filepath.Dir(path), data); err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

// ownDir makes the fallback folder, and refuses one that others can write to. The data folder itself is the caller's.
func ownDir(dir, data string) error {
	if abs, err := filepath.Abs(data); err == nil && dir == abs {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 || !ok || int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a folder of this user that only it can write to: remove it", dir)
	}
	return nil
}

// ErrNotRunning is a data folder without a running process.
var ErrNotRunning = errors.New("no mailfarm is running there")

// Dial connects to a running farm. target is "unix:PATH" or "HOST:PORT" with tls; empty: the socket of data.
func Dial(target, data string, tls credentials.TransportCredentials) (*grpc.ClientConn, error) {
	if target == "" {
		path, err := SocketPath(data)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%s: %w: start it with `mailfarm dev`, or name a running one with --data or --admin", data, ErrNotRunning)
		}
		target = "unix:" + path
	}
	path, isSocket := strings.CutPrefix(target, "unix:")
	if isSocket || strings.HasPrefix(target, "/") || strings.HasSuffix(target, ".sock") {
		// The socket's permissions are the authentication.
		return rpc.Dial("passthrough:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", path)
			}))
	}
	if tls == nil {
		return nil, fmt.Errorf("connect to %s: the admin port wants a client certificate: use --ca, --cert and --key", target)
	}
	return rpc.Dial("dns:///"+target, grpc.WithTransportCredentials(tls))
}
