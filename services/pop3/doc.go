// Package pop3 is the role that lets people fetch and remove the mail of their INBOX by POP3.
//
// It speaks RFC 1939 with CAPA, RESP-CODES and PIPELINING (RFC 2449), AUTH-RESP-CODE (RFC 3206), STLS (RFC 2595), SASL
// (RFC 5034) with PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, UIDL, TOP and UTF8 (RFC 6856). There is no APOP: it
// needs the password itself. A message with raw UTF-8 in its header is sent as it is whether UTF8 was asked for or not, for
// such mail was sent long before there was a way to ask.
//
// Who logs in gets the maildrop alone, by a lease that store keeps: another POP3 session is refused with [IN-USE], in this
// process or any other, while IMAP goes on beside it. The session works on the messages that were there when it began, reads
// them from store, and removes what it marked when QUIT asks for it, and only then.
package pop3
