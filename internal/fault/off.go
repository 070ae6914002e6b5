//go:build !crashpoints

// Package fault names the places between two steps of the message path where tests let the process die.
//
// In an ordinary build Point does nothing and costs nothing. Built with the tag crashpoints, the process kills itself at
// the point that MAILFARM_CRASH_AT names.
package fault

import "time"

// Enabled tells whether this build has crash points.
const Enabled = false

// Point is a place to die at: "ingress.before-commit".
func Point(name string) {}

// Now is the process's clock.
func Now() time.Time { return time.Now() }
