// Package credential holds what a farm keeps of a password, in text forms that other servers read and write too.
//
// SCRAM-SHA-256 keys (RFC 5802, RFC 7677) are the usual form: they serve SCRAM and a password given in the clear alike.
// Argon2id is for accounts that give up SCRAM. bcrypt and SHA-512 crypt can be read, so that accounts can be brought over
// from other servers, but are never made. Passwords are prepared by SASLprep (RFC 4013) before anything else.
//
// The package does no I/O beyond reading random octets.
package credential
