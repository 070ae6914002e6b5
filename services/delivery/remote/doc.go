// Package remote is the role delivery-remote, the MTA out: it hands messages to the servers of other domains (RFC 5321 §5).
//
// Work comes from mail.remote.<p> as hints (queue id, group, generation). The ledger decides whether a hint still holds: the
// role claims the recipients under a lease, looks for the next hop, speaks SMTP, renews the claim before the final dot, and
// reports all replies at once together with the DSNs they give rise to. What is deferred becomes a new generation with a due
// time in the ledger; nothing waits in this process. A message is sent twice only inside the window that RFC 5321 §6.1
// leaves open: between the peer's taking it and our hearing so.
package remote
