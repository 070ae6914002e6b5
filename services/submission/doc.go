// Package submission is the farm's MSA (RFC 6409): mail from its own users, on 587 with STARTTLS and 465 with TLS from the
// start (RFC 8314).
//
// MAIL needs AUTH: PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (bound to the TLS connection, RFC 9266), offered only
// over TLS or to networks that the configuration names. Passwords go to the directory's Login and SCRAM messages to its
// Authenticate; nothing secret is kept or logged here. The reverse-path must belong to the account (§6.1), or be null;
// recipients may be anywhere, but a local one that does not exist is refused at RCPT.
//
// The body goes to internal/acceptance, which adds Date and Message-ID where they are missing and hides Bcc. The header's
// From is not compared with the account: people write for others, and RFC 6409 §8.1 leaves it to policy. Who is
// accountable stands in the envelope (client.account) and in the log.
package submission
