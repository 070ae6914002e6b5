// Package filelock keeps two processes from working on the same files.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ErrHeld is a lock that another process (or another part of this one) holds.
var ErrHeld = errors.New("held by another process")

// Lock is a lock file that is held until Release or the end of the process, however it ends.
type Lock struct{ f *os.File }

// Take locks the file at path, which it makes where it is not there, without waiting.
// The file is left behind: a lock file that is removed can be locked twice.
func Take(path string) (*Lock, error) { return take(path, syscall.LOCK_NB) }

// Wait is Take that waits until the lock is free.
func Wait(path string) (*Lock, error) { return take(path, 0) }

func take(path string, how int) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|how); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w%s", path, ErrHeld, holder(f))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// The number is for people who ask who holds it; the lock does not depend on it.
	if f.Truncate(0) == nil {
		f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &Lock{f: f}, nil
}

func holder(f *os.File) string {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

// Release gives the lock back.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	return l.f.Close()
}
