package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// inbox is the mailbox that POP3 knows where nothing else is asked for.
const inbox = "INBOX"

const (
	// readAhead is for how many messages one call asks where their bodies lie, while they are asked for in order.
	readAhead = 64
	// bodiesAhead is how many octets of bodies come along at most, and are held until their messages were sent.
	bodiesAhead = 64 << 10
)

// errNoFolder is a folder that the account does not have.
var errNoFolder = errors.New("no such folder")

// errTooSoon is a login less than LoginDelay after another.
var errTooSoon = errors.New("login comes too soon")

// errInUse is a maildrop that another session has.
var errInUse = errors.New("maildrop is in use")

// message is one message of a session; its number is its place, counted from 1.
type message struct {
	uid   mailbox.UID
	state messageState
	day   uint16 // when it came here, days since 1970
	email mailbox.EmailID
	size  int64 // octets as the client gets them
}

// messageState is bits.
type messageState uint8

const (
	deleted messageState = 1 << iota
	retrieved
	seen
)

// maildrop is the INBOX as it was when the session began. Its lock is held until close.
type maildrop struct {
	svc     *Service
	account uint64
	address string
	box     uint64
	// validity is UIDVALIDITY, which makes UIDL unique for ever.
	validity uint32
	messages []message
	// kept are unique ids that messages had where they were imported from.
	kept map[mailbox.UID]string
	left int   // how many are not deleted
	size int64 // theirs
	lock *lock

	// emails are the next ones that were asked about, by their ids.
	emails map[mailbox.EmailID]*storev1.Email
	// last is the number of the message that was asked about last.
	last int

	retrieved, removed int
	closed             bool
}

// openMaildrop locks the account's INBOX, or another folder, and reads what is in it. errInUse, errTooSoon, errNoFolder.
func openMaildrop(c *session, account uint64, address, folder string) (d *maildrop, err error) {
	drop := &maildrop{svc: c.svc, account: account, address: address}
	ctx, cancel := c.call()
	defer cancel()
	name := "pop3/" + strconv.FormatUint(account, 10)
	if folder != inbox {
		if err := drop.locate(ctx, folder); err != nil {
			return nil, fmt.Errorf("find folder: %w", err)
		}
		name += "/" + strconv.FormatUint(drop.box, 10)
	}
	l, err := acquire(c, name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if d == nil {
			l.release() // also when reading panics
		}
	}()
	drop.lock = l
	if err := delay(ctx, c, name); err != nil {
		return nil, err
	}
	if err := drop.load(ctx); err != nil {
		endDelay(c, name)
		return nil, fmt.Errorf("read maildrop of account %d: %w", account, err)
	}
	return drop, nil
}

// endDelay is for a login that fails behind delay: the time counts from one that was answered +OK (RFC 2449 §6.5). An error
// is no matter, as the lease ends by itself.
func endDelay(c *session, name string) {
	if c.svc.cfg.LoginDelay == 0 {
		return
	}
	ctx, cancel := c.call()
	defer cancel()
	if _, err := c.svc.deps.Leases.Release(ctx, &storev1.ReleaseRequest{Name: delayOf(name), Holder: c.id}); err != nil {
		c.log.LogAttrs(c.ctx, slog.LevelWarn, "login delay not given back", obs.Error(err))
	}
}

// delayOf is the name of the lease that LoginDelay is.
func delayOf(name string) string { return name + "/delay" }

// delay begins the time in which no other session of a maildrop may begin: a lease that ends by itself. errTooSoon.
func delay(ctx context.Context, c *session, name string) error {
	if c.svc.cfg.LoginDelay == 0 {
		return nil
	}
	resp, err := c.svc.deps.Leases.Acquire(ctx, &storev1.AcquireRequest{
		Name: delayOf(name), Holder: c.id, DurationMs: max(c.svc.cfg.LoginDelay.Milliseconds(), 1),
	})
	if err != nil {
		return fmt.Errorf("begin login delay: %w", err)
	}
	if !resp.GetTaken() {
		return errTooSoon
	}
	return nil
}

// locate finds a folder by its name.
func (d *maildrop) locate(ctx context.Context, folder string) error {
	list, err := d.svc.deps.Mailboxes.List(ctx, &storev1.ListRequest{Account: d.account})
	if err != nil {
		return fmt.Errorf("list mailboxes: %w", err)
	}
	for _, m := range list.GetMailboxes() {
		if m.GetName() == folder && m.GetExists() {
			d.box, d.validity = m.GetId(), m.GetUidValidity()
		}
	}
	if d.box == 0 {
		return errNoFolder
	}
	return nil
}

func (d *maildrop) load(ctx context.Context) error {
	if d.box == 0 {
		if err := d.locate(ctx, inbox); err != nil {
			return err
		}
	}
	if err := d.readEntries(ctx); err != nil {
		return fmt.Errorf("read entries: %w", err)
	}
	if err := d.readUIDLs(ctx); err != nil {
		return fmt.Errorf("read unique ids: %w", err)
	}
	return nil
}

func (d *maildrop) readEntries(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // ends a snapshot that is larger than we want
	defer cancel()
	stream, err := d.svc.deps.Mailboxes.Snapshot(ctx, &storev1.SnapshotRequest{Account: d.account, Mailbox: d.box})
	if err != nil {
		return err
	}
	var chunk mailbox.Chunk
	for {
		page, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // the last page has done set
			}
			return err
		}
		if m := page.GetMailbox(); m != nil {
			d.validity = m.GetUidValidity()
			if d.messages == nil {
				d.messages = make([]message, 0, min(int(m.GetMessages()), d.svc.cfg.MaxMessages))
			}
		}
		for _, c := range page.GetChunks() {
			if err := d.add(&chunk, c); err != nil {
				return err
			}
		}
		if page.GetDone() || len(d.messages) >= d.svc.cfg.MaxMessages {
			return nil
		}
	}
}

// add takes the entries of a chunk; UIDs ascend from chunk to chunk.
func (d *maildrop) add(into *mailbox.Chunk, c *storev1.Chunk) error {
	if err := into.Unpack(&mailbox.Packed{
		FirstUID: mailbox.UID(c.GetFirstUid()), MaxModSeq: mailbox.ModSeq(c.GetMaxModSeq()),
		UIDs: c.GetUids(), Flags: c.GetFlags(), ModSeqs: c.GetModSeqs(), Emails: c.GetEmails(), Sizes: c.GetSizes(), Received: c.GetReceived(), Saved: c.GetSaved(),
	}); err != nil {
		return err
	}
	for i := range into.UIDs {
		if len(d.messages) >= d.svc.cfg.MaxMessages {
			return nil
		}
		m := message{uid: into.UIDs[i], email: into.Emails[i], size: into.Sizes[i], day: dayOf(into.At(i))}
		if into.Flags[i]&mailbox.Seen != 0 {
			m.state |= seen
		}
		d.messages = append(d.messages, m)
		d.left++
		d.size += m.size
	}
	return nil
}

// dayOf is when a message came into its mailbox, or at the latest.
func dayOf(e mailbox.Entry) uint16 {
	at := max(e.Saved, e.Received)
	return uint16(min(max(at, 0)/(24*60*60), math.MaxUint16))
}

// expires tells of a message that EXPIRE takes (RFC 2449 §6.7): one that was read and has been here for all its days, or with
// none left one that this session has read.
func (d *maildrop) expires(m *message, today uint16) bool {
	days := d.svc.cfg.ExpireDays
	switch {
	case days == nil:
		return false
	case *days == 0:
		return m.state&retrieved != 0
	}
	return m.state&(retrieved|seen) != 0 && int(today)-int(m.day) > *days
}

// find gives the message of a number, unless it is deleted or there is none.
func (d *maildrop) find(n int) *message {
	if n < 1 || n > len(d.messages) || d.messages[n-1].state&deleted != 0 {
		return nil
	}
	return &d.messages[n-1]
}

// email tells where the body of message n lies, or gives the body itself where it is small; nil where the message is gone by
// now.
func (d *maildrop) email(ctx context.Context, n int) (*storev1.Email, error) {
	id := d.messages[n-1].email
	ahead := 1
	if n == d.last || n == d.last+1 {
		ahead = readAhead
	}
	d.last = n
	if e, known := d.emails[id]; known {
		return e, nil
	}
	req := &storev1.EmailsRequest{Account: d.account, WithoutPartIndex: true, BodiesUpTo: bodiesAhead}
	octets := int64(0)
	for i := n - 1; i < len(d.messages) && len(req.Emails) < ahead; i++ {
		m := &d.messages[i]
		if octets += m.size; octets > bodiesAhead && len(req.Emails) > 0 {
			break
		}
		if m.state&deleted == 0 {
			req.Emails = append(req.Emails, uint64(m.email))
		}
	}
	stream, err := d.svc.deps.Mailboxes.Emails(ctx, req)
	if err != nil {
		return nil, err
	}
	d.emails = make(map[mailbox.EmailID]*storev1.Email, len(req.Emails))
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.emails = nil
			return nil, err
		}
		for _, e := range page.GetEmails() {
			d.emails[mailbox.EmailID(e.GetId())] = e
		}
	}
	return d.emails[id], nil
}

// marked packs the UIDs of the messages for which want holds.
func (d *maildrop) marked(want func(messageState) bool) (uids []byte, n int) {
	var set mailbox.UIDSet
	for i := range d.messages {
		if want(d.messages[i].state) {
			set = set.Add(d.messages[i].uid)
			n++
		}
	}
	return mailbox.AppendUIDSet(nil, set), n
}

// remove is the UPDATE state (RFC 1939 §6): it removes what is marked. Messages that somebody else removed already are gone,
// as they should be.
func (d *maildrop) remove(ctx context.Context) error {
	today := uint16(time.Now().Unix() / (24 * 60 * 60))
	for i := range d.messages {
		if d.expires(&d.messages[i], today) {
			d.messages[i].state |= deleted
		}
	}
	uids, n := d.marked(func(s messageState) bool { return s&deleted != 0 })
	if n == 0 {
		return nil // no UIDs would mean all of them
	}
	if err := d.lock.check(); err != nil {
		return err
	}
	if _, err := d.svc.deps.Mailboxes.Expunge(ctx, &storev1.ExpungeRequest{Account: d.account, Mailbox: d.box, Uids: uids, Force: true}); err != nil {
		return fmt.Errorf("expunge %d messages: %w", n, err)
	}
	d.removed = n
	d.svc.metrics.removed.Add(float64(n))
	return nil
}

// close tells IMAP what was read, and gives the lock back: whatever became of the connection, and before QUIT is answered, so
// that who comes again at once finds the maildrop free.
func (d *maildrop) close(c *session) {
	if d.closed {
		return
	}
	d.closed = true
	defer d.lock.release()
	if d.svc.cfg.KeepUnseen {
		return
	}
	gone := d.removed > 0
	uids, n := d.marked(func(s messageState) bool {
		return s&retrieved != 0 && s&seen == 0 && (!gone || s&deleted == 0)
	})
	if n == 0 {
		return
	}
	ctx, cancel := c.call()
	defer cancel()
	_, err := d.svc.deps.Mailboxes.Flag(ctx, &storev1.FlagRequest{Account: d.account, Mailbox: d.box, Uids: uids,
		Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Seen`}})
	if err != nil {
		c.log.LogAttrs(c.ctx, slog.LevelWarn, "messages not marked as seen", obs.Count(n), obs.Error(err))
	}
}
