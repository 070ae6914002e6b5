// Package inflate decompresses DEFLATE (RFC 1951) as a conversation needs it: whatever the octets so far decide is given out
// before more are asked for, wherever in a block, a code or an octet they end.
//
// Other readers in Go wait for a full window, for the end of the stream or for an empty stored block (zlib's Z_SYNC_FLUSH).
// Clients of IMAP also flush by an empty block of static codes, whose last bits come with the next command
// (Z_PARTIAL_FLUSH): the end of a command would stay in the reader while the client waits for its answer.
//
// A Reader holds 32 KiB of window, which a stream may refer back to at any time, and 6.4 KiB of tables and input, whatever the
// stream does. It allocates nothing once it is made.
package inflate
