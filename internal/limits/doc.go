// Package limits bounds what one client or one account may do in the whole farm, and keeps out who guesses passwords.
//
//	front ─Enter▶ ┬ banned? ──────▶ 421, BYE, -ERR        ingress, submission ─Message▶ 450 4.7.1
//	              └ connections                            directory ─LoginFailed▶ ban
//	this process's counts ─▶ limits.counts (core NATS, about every second) ─▶ those of the others
//	bans ─▶ bucket "bans" (JetStream) ─▶ every process watches it
//
// Every answer comes from memory at once. A process counts what it sees itself and tells the others of its busy keys, those
// above a share of their limit; it adds what they told it last, until that is too old. So a limit holds over all processes
// to within what happens between two tellings, a process that dies is forgotten after a few seconds, and without the bus
// each process goes on alone. What has been counted dies with the process: these are limits, not accounts.
//
// A client is an IPv4 address or the /64 network of an IPv6 address.
//
// # Bans
//
// A client whose logins fail too often within a window is banned, longer each time. What counts is how many different
// pairs of account and password it tried: a telephone that goes on with an old password is one such pair however often it
// tries, so it does not shut out the office that it shares an address with, while guessing is a new pair each time. To tell
// pairs apart only 24 bits of a MAC under a secret of the farm are kept, in memory, while the window lasts. SCRAM shows
// the server nothing of a wrong password, so each of its failures counts as another pair.
//
// An account cannot be shut out by failures, or anybody could do that to its owner. Instead, while an account is guessed at
// from many places, a client that fails at it is banned much sooner.
//
// A ban refuses new connections; those that are open end by themselves, for a connection has few tries to log in. Bans
// outlive processes, and, as far as one process lives that knows them, the bus: what is missing there is written again.
package limits
