// Package join moves a site that ran in one process (SQLite and a directory of blobs) into a farm's PostgreSQL and S3,
// with all that clients know: ids, UIDs, MODSEQs, flags, credentials, and the queue.
//
// The site is stopped and stays as it is but for the file join.db beside it. A run may end at any moment; the next goes on:
//
//	plan     which frames something refers to, and which were accepted and never reached the ledger
//	frames   those that are accounted for, raw, into incarnations of the bucket whose checkpoint was set to done before,
//	         so that no recovery ever takes them for new: the ledger forgets messages long before their mail goes
//	rows     table by table, in batches; each notes in its own transaction how far it came
//	pending  frames that are not accounted for come last, into an incarnation without a checkpoint: the farm's recovery
//	         finds them as it would have done here
//	verify   rows by count and digest, bodies by BLAKE3, read back
//
// Rows that make something happen come behind those that keep it from happening twice (delivered before recipient). A farm
// that is started half-way, which it should not be, has not yet all of its mail, and does nothing twice.
//
// Not copied: leases, claims, checkpoints and what freeing room and audits have noted, all of which speak of the old place.
package join
