// Package imapsource reads the mail of somebody else's IMAP server (RFC 3501, RFC 9051): folders, flags, dates, and bodies as
// streams. It changes nothing there: folders are opened with EXAMINE and bodies fetched with BODY.PEEK.
//
// It has a reader of its own, because what it reads is odd at times: a date that is NIL, a name that is no UTF-7, a flag that is no
// atom end with the value, not with the connection; and a body of any size is never held in memory.
package imapsource
