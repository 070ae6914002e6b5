package store

import (
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// changed publishes that an account has changed: these mailboxes, or the list of mailboxes where none is given. It comes
// after the commit and is a hint: front-ends compare counters from time to time, so that a lost one only delays.
func (s *Service) changed(account mailbox.AccountID, seq mailbox.ModSeq, boxes ...mailbox.ID) {
	ids := make([]uint64, len(boxes))
	for i, b := range boxes {
		ids[i] = uint64(b)
	}
	payload, err := proto.Marshal(&mailv1.MailboxChanged{Account: uint64(account), Mailboxes: ids, ModSeq: uint64(seq)})
	if err == nil {
		err = s.deps.Notify.Notify(bus.Changed(uint64(account)), payload)
	}
	if err != nil {
		s.metrics.hintsLost.Inc()
	}
}
