// Package whole reads all that an index has of an account, in one snapshot, and writes it where there is nothing: what a
// backup is made of, and a restore. Its queries are of the subset of SQL that the databases share.
//
// What it gives are rows of named columns, so that a later version can read what an earlier one kept.
package whole
