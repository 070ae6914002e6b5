package pop3

import (
	"bytes"
	"strings"
)

// lang lists the languages of replies, or chooses one (RFC 6856 §3). There is one, under the two names that IMAP has for it
// (RFC 5255 §3.2). The tag that was chosen comes first in the reply, and text behind it.
func (c *session) lang(args []byte) result {
	switch tag := strings.ToLower(string(bytes.TrimSpace(args))); tag {
	case "":
		c.out.give(append(c.out.take(), "+OK languages follow\r\ni-default English\r\nen English\r\n.\r\n"...))
		return good
	case "*", "i-default":
		return c.out.ok("i-default language chosen")
	default:
		if tag == "en" || strings.HasPrefix(tag, "en-") {
			return c.out.ok("en language chosen")
		}
		return c.out.fail("", "no such language")
	}
}
