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
	"time"
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

// ahead is how far MAILFARM_CLOCK_AHEAD ("1m", "-1m") says that the process's clock is wrong.
var ahead = sync.OnceValue(func() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("MAILFARM_CLOCK_AHEAD")) // none, or nonsense: the clock is right
	return d
})

// Now is the process's clock.
func Now() time.Time { return time.Now().Add(ahead()) }
