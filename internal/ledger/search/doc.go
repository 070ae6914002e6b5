// Package search finds messages in a ledger by what people know of them: an address, a domain, a message-id, a client, words
// of a reply.
//
// Indexes for each of these would cost every message a page or two of random writing. Instead every batch that router or
// delivery writes has one row more, in the order of time, with the words of its messages as hashes of 4 octets: about 45
// octets a message. A search passes these rows, newest first, looks up what has all the hashes, and compares exactly. So a
// chance equality of hashes costs a look-up and is never shown.
//
// A database keeps and reads the rows (Rows); what they hold and how they are gone through is here, for all of them.
package search
