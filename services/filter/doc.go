// Package filter is the role that judges messages: SPF, DKIM and DMARC (internal/mailauth), the sanity of the header, GTUBE.
//
// It is asked in two ways. In the dialogue ingress and submission call filter.v1.Filter/Check and stream the message while
// it arrives: SPF is evaluated from the first moment, keys and policies are looked up as soon as the header is whole, the
// body goes through hashes and searches, and the verdict waits for nothing but late answers of the DNS, for Config.Deadline
// at most. What could not be judged then comes by the bus: work from mail.accepted.<p> is judged from its frame and goes on to
// mail.filtered.<p> with its verdict, and is acknowledged once the bus has that.
//
// A verdict is a sum of reasons with scores, which places a message in the inbox or in Junk or refuses it, and an overlay:
// an Authentication-Results field (RFC 8601) and X-Spam-* fields before the message, and cuts where the message carries
// fields that pretend to be ours. Trouble with the DNS is a temperror among the reasons and defers nothing.
//
// A header that is too long to be judged whole, or names more authors than policies are asked for, is HEADER_UNJUDGED: junk by
// default, and treated as if it failed a DMARC policy of p=reject, so that nobody gains by padding.
//
// GTUBE is looked for in the octets of the body as they are: within base64, and where a soft line break of quoted-printable
// splits it, it is not seen. It is a test, which nobody encodes to hide it, and decoding would cost every message.
//
// The same message gets the same verdict wherever it is judged, but that mail is no longer refused that was accepted already.
package filter
