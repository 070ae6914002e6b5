// Package ledger says what became of every accepted message: it is the truth of the queue (design §6).
//
// One row per message, one per recipient (queue id, recipient number). Rows are written by router and delivery in batches,
// are swept when they are due, and are compared with the blob store and the index by the auditor. The bus only carries
// hints to them: with the bus wiped, everything needed is here.
//
// Rows travel as the messages of mailfarm.store.v1, so that nothing is copied between gRPC and the database.
package ledger
