// Package ingress is the MX side of the farm: SMTP from the world, and LMTP from whoever stands before it.
//
// The engine is internal/smtpd (RFC 5321 and its extensions, RFC 2033). This package says which recipients there are: it
// asks the directory about each RCPT, takes mail for accounts and aliases of our domains, and refuses everything else, since
// it relays for nobody. Whatever the address looks like (percent signs, bangs, source routes, quotes, literals), the
// directory's answer for the normal form of the whole path decides; there is no second way in.
//
// The body goes to internal/acceptance: stored, judged, published to mail.filtered or mail.accepted, answered.
package ingress
