// Package router turns each forward-path into a mailbox, a next hop, other addresses, or a refusal (RFC 5321 §3.4, §3.9).
//
// Work comes from mail.filtered.<p> in batches. The router asks the directory what each recipient is, follows aliases,
// finds loops, and enters message and recipients in the ledger; only then does it publish hints to mail.local.<p> and
// mail.remote.<p> and let go of the work. Whatever it cannot settle because another part is away stays on the bus.
// A refusal is recorded together with the DSN that it gives rise to, whose frame is durable by then.
package router
