// Package backup copies all that a farm keeps into a repository (backup/repo), and back: over gRPC, while the farm runs.
//
// A run reads the queue, then each account that changed as it was at one moment, then the directory. So mail is in the queue
// or in its mailbox, and where it is in both, the account's rows tell that it was filed: it is not filed again. Rows become
// lines of JSON, cut where their keys say so: what did not change gives the same objects, which are there already. Bodies are
// read once, by what the latest snapshot says of them.
//
// Freeing may take a body away between an account's rows and the copy: its email was purged then, and reading the account
// again tells so.
package backup
