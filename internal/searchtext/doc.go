// Package searchtext is what SEARCH looks at of a message (RFC 9051 §6.4.4): the text of its parts and headers, decoded and in
// the canonical form of i;unicode-casemap, the places of ENVELOPE, and the words of a text for FUZZY (RFC 6203).
//
// Who searches a message and who indexes it for search both read it here, so that they cannot disagree.
package searchtext
