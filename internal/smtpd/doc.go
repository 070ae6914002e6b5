// Package smtpd is the farm's SMTP server engine: ingress, submission and LMTP share it. It knows the protocol and nothing
// of mail: what is accepted, for whom and where it goes is its Backend's business.
//
// It speaks RFC 5321 with PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531), ENHANCEDSTATUSCODES (2034),
// CHUNKING (3030), DSN (3461), STARTTLS (3207), AUTH (4954) and LIMITS (9422), and LMTP (2033).
//
// A connection is one goroutine that reads a line, calls the Session and appends the reply to a buffer, which leaves in one
// write when the next read would block: so all replies to a pipelined batch share a write (RFC 2920 §3.2). A body is pushed
// into the Message that the Session opened for it, from the read buffer without a copy; only CRLF.CRLF ends DATA, and a
// message with a bare CR, a bare LF or a NUL is read to its end and refused, so that no peer and we can disagree on where
// it ends. Between commands a connection keeps a buffer of 1 KiB; larger ones come from a pool and go back to it.
//
// One panic ends one connection.
package smtpd
