//go:build crashpoints

// Package fault names the places between two steps of the message path where tests let the process die.
package fault

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Enabled tells whether this build has crash points.
const Enabled = true

type crash struct {
	name string
	left atomic.Int64
}

// target reads MAILFARM_CRASH_AT: "name", or "name:n" for the n-th time it is passed.
var target = sync.OnceValue(func() *crash {
	name, count, _ := strings.Cut(os.Getenv("MAILFARM_CRASH_AT"), ":")
	c := &crash{name: name}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		n = 1
	}
	c.left.Store(int64(n))
	return c
})

// Point is a place to die at: "ingress.before-commit".
func Point(name string) {
	if t := target(); t.name == name && t.left.Add(-1) == 0 {
		// As kill -9 does: no deferred call runs, nothing is flushed.
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
