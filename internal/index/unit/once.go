package unit

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// OnceRows are the rows of operations.
type OnceRows interface {
	// Done tells what an operation has added, without MODSEQ; false for one that was not done.
	Done(a *Account, op index.Operation) (index.OnceResult, bool, error)
	// PutDone notes what an operation has added, and where the operation Forgets, it forgets those of
	// the account that are older than OperationAge.
	PutDone(a *Account, op index.Operation, r *index.OnceResult) error
}

// DoneColumns are what ScanDone reads, of operation o and, where it is there, mailbox m: UIDVALIDITY is unique in an account.
const (
	DoneColumns = `COALESCE(m.mailbox, 0), o.uid_validity, o.source_uids, o.target_uids`
	DoneFrom    = ` FROM operation o LEFT JOIN mailbox m ON m.account = o.account AND m.uid_validity = o.uid_validity`
)

// ScanDone reads DoneColumns.
func ScanDone(row Scanner) (r index.OnceResult, err error) {
	var source, target []byte
	if err := row.Scan(&r.Mailbox, &r.UIDValidity, &source, &target); err != nil {
		return r, err
	}
	if r.Source, err = mailbox.DecodeUIDSet(source); err != nil {
		return r, err
	}
	uids, err := mailbox.DecodeUIDSet(target)
	r.UIDs = slices.Collect(uids.All())
	return r, err
}

// DoneUIDs are the columns source_uids and target_uids. UIDs are given in the order of messages, so that a set has them all.
func DoneUIDs(r *index.OnceResult) (source, target []byte) {
	var uids mailbox.UIDSet
	for _, uid := range r.UIDs {
		uids = uids.Add(uid)
	}
	return mailbox.AppendUIDSet([]byte{}, r.Source), mailbox.AppendUIDSet([]byte{}, uids)
}

// AppendOnce is Append, of which a repeat changes nothing, and which may take a message away.
func (u *Unit) AppendOnce(id mailbox.AccountID, name string, messages []index.Message, once index.Once) (r index.OnceResult, err error) {
	if len(once.Source) > 0 && once.Source.Len() != uint64(len(messages)) {
		return r, errors.New("as many UIDs as messages are needed")
	}
	a, err := u.Account(id)
	if err != nil {
		return r, err
	}
	named := once.Operation != index.Operation{}
	if named {
		r, done, err := u.Rows.Done(a, once.Operation)
		if err != nil {
			return r, fmt.Errorf("read operation: %w", err)
		}
		if done {
			r.ModSeq = a.ModSeq
			return r, nil
		}
	}
	b, err := u.boxNamed(a, name)
	if err != nil {
		return r, err
	}
	if once.Replace != 0 {
		// First, so that its room is there for the new one.
		if err := u.take(a, once); err != nil {
			return r, err
		}
	}
	r.Source = once.Source
	messages, own := ownFlags(&once.Reader, messages)
	if r.AppendResult, err = u.append(b, messages, true); err != nil {
		return r, err
	}
	if err := u.flagOwn(b, once.Reader, r.UIDs, own); err != nil || !named {
		return r, err
	}
	if err := u.Rows.PutDone(a, once.Operation, &r); err != nil {
		return r, fmt.Errorf("write operation: %w", err)
	}
	return r, nil
}

// take removes what is replaced.
func (u *Unit) take(a *Account, once index.Once) error {
	from, err := u.box(a, once.Replace)
	if err != nil {
		return err
	}
	removed, err := u.remove(from, mailbox.UIDSet{{First: once.ReplaceUID, Last: once.ReplaceUID}}, true, index.Expunged)
	if err == nil && len(removed) == 0 {
		err = index.ErrNoMessage
	}
	return err
}
