// Package dsn writes delivery status notifications (RFC 3461, RFC 3464, RFC 6533): a multipart/report with words for
// people, a delivery-status for programs, and what is returned of the message that it is about.
//
// It does no I/O. The same Report always gives the same octets, so that a report written again after a crash is the same
// message.
package dsn
