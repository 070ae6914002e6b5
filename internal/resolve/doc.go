// Package resolve asks the DNS: a stub resolver (RFC 1034 §5.3.1) with a cache, over UDP with EDNS0 and TCP where an answer
// does not fit, for what mail needs: TXT, MX, A and AAAA, PTR.
//
// Its bounds are explicit: octets of cache, queries under way, tries and time per query, links of a CNAME chain. Identical
// questions that are asked at once are asked once. A name that was found not to exist is remembered as its zone says (RFC 2308),
// and so is, for seconds, one that could not be looked up (RFC 9520), so that a dead zone costs its timeouts once.
//
// Errors tell three things apart: the name does not exist (ErrNoDomain), it exists without records of the type (ErrNoData),
// and nobody knows right now (ErrTemporary). ErrNotFound matches the first two.
package resolve
