package presence

import (
	"fmt"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// farewellMax bounds the text that an operator gives, octets.
const farewellMax = 200

// Farewell is why a session ends.
type Farewell struct {
	Reason adminv1.EndReason
	// Text is the operator's; empty: none.
	Text string
}

// Words are what the client is told.
func (f Farewell) Words() string {
	switch {
	case f.Text != "":
		return f.Text
	case f.Reason == adminv1.EndReason_END_REASON_REMOVED:
		return "the account was removed"
	case f.Reason == adminv1.EndReason_END_REASON_PASSWORD:
		return "the password was changed, log in again"
	}
	return "session ended by the operator"
}

// check tells what is wrong with an operator's text: it becomes a part of a response line.
func check(text string) error {
	if len(text) > farewellMax {
		return fmt.Errorf("the text is longer than %d octets", farewellMax)
	}
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("the text is not printable ASCII")
		}
	}
	if text != "" && (text[0] == '[' || text[0] == ' ') {
		return fmt.Errorf("the text must not begin with %q: that begins a response code", text[0])
	}
	return nil
}
