// Package wire is the grammar of IMAP (RFC 9051 §9, RFC 3501 §9): it assembles commands from a connection, takes them
// apart without copying, and writes responses by appending.
//
// It knows nothing of mailboxes, does no I/O of its own beyond the reader and writer it is given, and links nothing of the
// farm, so that its fuzz targets build in a second.
package wire
