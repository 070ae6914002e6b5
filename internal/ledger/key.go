package ledger

import (
	"encoding/binary"
	"hash/fnv"
	"strings"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// QueueKey chooses the partition of mail.accepted and mail.filtered: the id's last 8 octets, which are random.
func QueueKey(id envelope.QueueID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

// AccountKey chooses the partition of mail.local.
func AccountKey(id mailbox.AccountID) uint64 { return uint64(id) }

// GroupKey chooses the partition of mail.remote: FNV-64a of the destination domain or next hop, in lower case.
func GroupKey(group string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.ToLower(group)))
	return h.Sum64()
}
