// Package message knows the inside of a message: its header fields and its MIME structure (RFC 5322, RFC 2045 to 2049,
// RFC 2231, RFC 6532).
//
// An Indexer looks at a message once, while it arrives, and makes its part index: where every header field and MIME part
// lies, and ENVELOPE and BODYSTRUCTURE in the form in which IMAP sends them (RFC 9051 §7.5.2). The index travels with the
// message from then on, so that nobody parses the message again: a FETCH looks up a range and reads it.
//
// Offsets are in body coordinates: octets of the stored body, which never changes. What the farm adds or hides on the way
// is an Overlay; a View is an index seen through one, and its offsets are those of the message as readers see it.
//
// Bad mail is mail: nothing here fails on it. What cannot be understood becomes text/plain or application/octet-stream.
package message
