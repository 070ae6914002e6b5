// Package keys holds what SEARCH, SORT and THREAD ask of headers again and again: addresses and subject in the form in which
// they are compared, the date of the Date field, and the ids by which threads hang together. They are taken once from the
// stored part index of a message, never from its body, and kept as packed columns of neighbouring messages, in a cache that
// all sessions of the process share and that is bounded in octets.
package keys
