// Package e2e tries the real executable with other people's programs, as a user, an operator and another server would.
package e2e
