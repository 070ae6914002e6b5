// Package directory is the role that knows domains, accounts, aliases and credentials.
//
// Ingress and router ask it what an address is (Resolve), submission whether an account may send as one (Owns), and every
// role that people log in to whether a password is right (Login, Authenticate with SASL PLAIN of RFC 4616 and SCRAM-SHA-256
// of RFC 5802 and RFC 7677, with channel binding by RFC 9266): credentials never leave it. Operators change it by the
// Accounts service. What it knows lies in an account.Store; beside that it keeps only caches, and counts of failed logins
// that slow down who guesses, so any number of directories can serve one farm.
package directory
