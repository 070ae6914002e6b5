// Package acceptance takes responsibility for one message (RFC 5321 §6.1): what ingress and submission share between the
// first octet of a body and the text of its 250.
//
//	octets ─┬▶ blob.Draft                 written once
//	        ├▶ message.Indexer            the part index, made in the same pass
//	        └▶ Filter.Check               the verdict, asked while the octets arrive
//	last octet: verdict → overlay (Received, …) → frame committed → handed to the bus → 250 "queued as <queue id>"
//
// The commit decides: once the frame is durable the message is accepted, whatever becomes of process, bus or machine.
// Before it everything can be dropped without a trace. The bus is told on the side, from a queue of this process; what it
// does not take stays in that queue, up to a backlog from which on new messages are deferred (451), and what a dying
// process leaves there is published by the store's recovery.
package acceptance
