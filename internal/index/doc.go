// Package index says what the metadata of the mail store can do: mailboxes, their entries and the emails behind them.
//
// An email is a message as an account has it (blob, overlay, part index); an entry is its place in a mailbox (UID, flags,
// MODSEQ). Copies are entries of one email. Entries lie in chunks (mailbox.Chunk), emails apart.
// Implementations are in index/sqlite and index/postgres; indextest holds the contract they share.
package index
