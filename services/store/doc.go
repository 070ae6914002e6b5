// Package store is the role that owns mailbox index and ledger: no other role touches their database.
//
// It serves mailfarm.store.v1 over gRPC: Mailboxes, Bodies and Leases to delivery, imap and pop3 (RFC 9051, RFC 7162,
// RFC 1939), Ledger and Queue to router, delivery and the operator's verbs. Messages come in by Deliver (from
// delivery-local) and Append (from imap); changes go out as hints on mailbox.changed.<account>. Beside that it runs sweep,
// outbox, recovery and auditor, each under a lease. It holds no state that a call or a lease does not end.
package store
