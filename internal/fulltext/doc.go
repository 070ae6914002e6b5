// Package fulltext finds the messages of an account that may hold a text, without reading them: what it rules out does not
// hold it, and what it does not rule out has to be looked at. It is derived data: whoever loses it makes it anew.
//
// An email is a set of tokens: the trigrams of its texts, which any substring of them is made of, and the stems of their
// words. Emails lie in segments, thousands of them in one, with a list of emails for each token; a segment is written once,
// and small ones are merged into larger ones. All of it has the account for its key, so that nobody pays for another's mail.
// Databases are in fulltext/sqlite and fulltext/postgres; fulltexttest holds the contract they share. The decision is 0019.
package fulltext
