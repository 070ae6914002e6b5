// Package imap is the reading side of the farm: IMAP4rev2 (RFC 9051) and IMAP4rev1 (RFC 3501) with the extensions that
// capability.go lists.
//
// A connection is one goroutine. It assembles a command (internal/wire), finds its verb in the table of command.go, and runs
// it; every verb has a file of its own. Commands run in the order in which they were sent, one at a time: what a client
// pipelines waits in the socket, so there is never more than one in flight, and the responses of a pipelined batch leave
// together, before the connection blocks for more.
//
// The role keeps no mail. Mailboxes and bodies come by gRPC from store, credentials are checked by directory. A selected
// mailbox is a snapshot of packed chunks, shared by all sessions of the process (internal/view); after a change notice from
// the bus, or where the periodic comparison of counters finds that one was lost, only changed chunks are fetched, and the
// difference is told where the protocol allows. No command parses a message: ENVELOPE, BODYSTRUCTURE and the places of all
// parts come from the part index that was made when the message arrived (internal/message).
package imap
