package store

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/reply"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Bounds of one call; INVALID_ARGUMENT behind them.
const (
	// MaxDeliveries is how many deliveries one Deliver carries.
	MaxDeliveries = 1024
	// MaxPlacements is how many mailboxes one delivery is filed in.
	MaxPlacements = 32
	// MaxChildren is how many messages one delivery gives rise to.
	MaxChildren = 64
	// MaxEmails is how many emails one Emails asks for.
	MaxEmails = 100_000
	// MaxCounters is how many accounts one Counters asks for.
	MaxCounters = 100_000
	// MaxRanges is how many ranges one Open asks for.
	MaxRanges = 10_000
	// MaxFlags is how many flags one message or one change names.
	MaxFlags = 64
	// MaxKeyword is the longest keyword, octets.
	MaxKeyword = 100
	// MaxUIDSet is the longest packed set of UIDs, octets: half a million ranges.
	MaxUIDSet = 2 << 20
	// MaxOverlayPrefix and MaxCuts bound an overlay.
	MaxOverlayPrefix = 1 << 20
	MaxCuts          = 10_000
)

// mailboxes serves storev1.Mailboxes.
type mailboxes struct {
	storev1.UnimplementedMailboxesServer
	*Service
}

// toStatus tells callers what they branch on by the code:
//
//	NOT_FOUND            no such mailbox, message or account, or one that was dropped
//	ALREADY_EXISTS       there is a mailbox of that name or special use
//	FAILED_PRECONDITION  not with this mailbox: INBOX, itself, no UID left; with the verdict 554 5.2.0 where no keyword is left
//	RESOURCE_EXHAUSTED   over quota (of Rename the verdict 452 4.2.2), too many mailboxes; with the verdict 452 4.3.1 where the disk is full
//
// A database that is away, and a commit of unknown outcome, are UNAVAILABLE (package pgdb). What has no code is
// INTERNAL, and its text is for our log.
func toStatus(err error) error {
	code := codes.OK
	switch {
	case err == nil:
		return nil
	case errors.Is(err, index.ErrNoMailbox), errors.Is(err, index.ErrNoAccount), errors.Is(err, blob.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, index.ErrExists):
		code = codes.AlreadyExists
	case errors.Is(err, index.ErrRefused), errors.Is(err, index.ErrUIDs), errors.Is(err, index.ErrCondemned),
		errors.Is(err, index.ErrNoMessage), errors.Is(err, index.ErrDropping):
		code = codes.FailedPrecondition
	case errors.Is(err, index.ErrOverQuota), errors.Is(err, index.ErrMailboxes), errors.Is(err, index.ErrACL):
		code = codes.ResourceExhausted
	case errors.Is(err, index.ErrKeywords):
		return reply.Permanent(554, "5.2.0", "mailbox has no room for another keyword").Because(err)
	case errors.Is(err, index.ErrFull), errors.Is(err, blob.ErrFull):
		return reply.Transient(452, "4.3.1", "insufficient storage").Because(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	default:
		return err
	}
	return status.Error(code, err.Error())
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// account checks an account id.
func account(id uint64) (mailbox.AccountID, error) {
	if id == 0 || id >= 1<<63 {
		return 0, invalid("account %d is none", id)
	}
	return mailbox.AccountID(id), nil
}

// accountAndBox checks an account id and a mailbox id.
func accountAndBox(accountID, boxID uint64) (mailbox.AccountID, mailbox.ID, error) {
	a, err := account(accountID)
	if err == nil && (boxID == 0 || boxID >= 1<<63) {
		err = status.Errorf(codes.NotFound, "mailbox %d: %v", boxID, index.ErrNoMailbox)
	}
	return a, mailbox.ID(boxID), err
}

// messages checks what a request says of messages in a mailbox.
func messages(req interface {
	GetAccount() uint64
	GetMailbox() uint64
	GetUids() []byte
}) (mailbox.AccountID, mailbox.ID, mailbox.UIDSet, error) {
	a, box, err := accountAndBox(req.GetAccount(), req.GetMailbox())
	if err != nil {
		return 0, 0, nil, err
	}
	uids, err := uidSet(req.GetUids())
	return a, box, uids, err
}

// uidSet unpacks a set that a caller gave.
func uidSet(packed []byte) (mailbox.UIDSet, error) {
	if len(packed) > MaxUIDSet {
		return nil, invalid("set of UIDs has %d octets, more than %d", len(packed), MaxUIDSet)
	}
	s, err := mailbox.DecodeUIDSet(packed)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return s, nil
}

// fromMailbox is the contract's form.
func fromMailbox(m *index.Mailbox) *storev1.Mailbox {
	return &storev1.Mailbox{
		Id: uint64(m.ID), Name: m.Name, SpecialUse: m.SpecialUse, Subscribed: m.Subscribed, Exists: m.ID != 0,
		UidValidity: uint32(m.UIDValidity), UidNext: uint32(m.UIDNext), HighestModSeq: uint64(m.HighestModSeq),
		Messages: m.Messages, Unseen: m.Unseen, Deleted: m.Deleted, Size: m.Size, Keywords: m.Keywords, RecentUid: uint32(m.RecentUID),
	}
}
