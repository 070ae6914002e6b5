package smtpd

import "sync/atomic"

// counters are the server's own; see Stats.
type counters struct {
	connections, turnedAway, messages, refusedMessages, octets atomic.Int64
	recipients, refusedRecipients, authFailures, panics        atomic.Int64
	handshakes, failedHandshakes                               atomic.Int64
}

// Stats are counts since the start, but for Open.
type Stats struct {
	// Open is how many connections there are now.
	Open int64
	// Connections were served; TurnedAway got 421 for a limit.
	Connections, TurnedAway int64
	// Messages were answered 250, of Octets in all; RefusedMessages were answered otherwise after DATA or BDAT had begun.
	Messages, RefusedMessages, Octets int64
	Recipients, RefusedRecipients     int64
	AuthFailures                      int64
	Handshakes, FailedHandshakes      int64
	Panics                            int64
}

// Stats reads the counts, for metrics.
func (s *Server) Stats() Stats {
	n := &s.stats
	return Stats{
		Open: int64(s.front.Sessions()), Connections: n.connections.Load(), TurnedAway: n.turnedAway.Load(),
		Messages: n.messages.Load(), RefusedMessages: n.refusedMessages.Load(), Octets: n.octets.Load(),
		Recipients: n.recipients.Load(), RefusedRecipients: n.refusedRecipients.Load(),
		AuthFailures: n.authFailures.Load(),
		Handshakes:   n.handshakes.Load(), FailedHandshakes: n.failedHandshakes.Load(),
		Panics: n.panics.Load(),
	}
}
