// Package remote is the role delivery-remote, the MTA out: it hands messages to the servers of other domains (RFC 5321 §5).
//
// Work comes from mail.remote.<p> as hints (queue id, group, generation). The ledger decides whether a hint still holds: the
// role claims the recipients under a lease, which it renews while it works, looks for the next hop, speaks SMTP, asks for the
// claim once more before the final dot, and reports all replies of a transaction at once together with the DSNs they give
// rise to. What is deferred becomes a new generation with a due time in the ledger. A message is sent twice only inside the
// window that RFC 5321 §6.1 leaves open: between the peer's taking it and our hearing so.
//
// One file per step: gate.go says when work may begin, carry.go and claim.go hold it, hosts.go and connect.go find a peer,
// transact.go speaks to it, verdict.go says what came of it, report.go enters that.
package remote
