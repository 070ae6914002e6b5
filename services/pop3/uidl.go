package pop3

import (
	"bytes"
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// readUIDLs reads the unique ids that messages had where they were imported from, so that clients which know them need not
// download anything again. Within a maildrop each is told once (RFC 1939 §7): of two messages with the same one, the second
// has ours.
func (d *maildrop) readUIDLs(ctx context.Context) error {
	if d.svc.deps.Imports == nil || len(d.messages) == 0 {
		return nil
	}
	var taken map[string]bool
	next := 0 // in d.messages
	for after, more := uint32(0), true; more; {
		page, err := d.svc.deps.Imports.UIDLs(ctx, &storev1.UIDLsRequest{Account: d.account, Mailbox: d.box, After: after})
		if status.Code(err) == codes.Unimplemented {
			return nil // a store from before there were imports
		}
		if err != nil {
			return err
		}
		for i, uid := range page.GetUids() {
			after = uid
			for next < len(d.messages) && uint32(d.messages[next].uid) < uid {
				next++
			}
			if next == len(d.messages) {
				return nil
			}
			uidl := page.GetUidls()[i]
			if uint32(d.messages[next].uid) != uid || taken[uidl] || d.ours(uidl, uid) {
				continue
			}
			if d.kept == nil {
				d.kept, taken = map[mailbox.UID]string{}, map[string]bool{}
			}
			d.kept[mailbox.UID(uid)], taken[uidl] = uidl, true
		}
		more = page.GetMore()
	}
	return nil
}

// ours tells of a unique id that this maildrop may give to another message.
func (d *maildrop) ours(uidl string, uid uint32) bool {
	var b [16]byte
	validity := hex32(b[:0], d.validity)
	return len(uidl) == len(b) && bytes.Equal([]byte(uidl[:8]), validity) && !bytes.Equal([]byte(uidl[8:]), hex32(b[8:8], uid))
}
