package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// removedPage is how many rows, of up to mailbox.ChunkSize messages each, are read in one go.
	removedPage = 8
	// maxRemoved is how many messages one list tells, and maxFilter how many ids a filter names.
	maxRemoved = 100_000
	maxFilter  = 100_000
	// maxField is the longest part of a field to look for, octets.
	maxField = 1024
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// removedMessage is a message that was removed, with its row and, where somebody asked, its email.
type removedMessage struct {
	row   *index.RemovedRow
	entry mailbox.Entry
	email *index.Email
	index *message.Index
	// placed tells that it has an entry in some folder.
	placed bool
}

func (m *removedMessage) sender() string {
	if m.index == nil {
		return ""
	}
	return m.index.Sender()
}

func (m *removedMessage) subject() string {
	if m.index == nil {
		return ""
	}
	return m.index.Subject()
}

// filter is a RemovedFilter that was checked.
type filter struct {
	account       mailbox.AccountID
	boxes         map[mailbox.ID]bool // nil: all
	since, until  time.Time
	from, subject string
	emails        map[mailbox.EmailID]bool
	noMoved       bool
}

func (r *retention) filter(ctx context.Context, a mailbox.AccountID, f *storev1.RemovedFilter) (*filter, error) {
	if len(f.GetEmails()) > maxFilter || len(f.GetFrom()) > maxField || len(f.GetSubject()) > maxField {
		return nil, invalid("filter of %d messages, %d and %d octets: more than %d, %d", len(f.GetEmails()), len(f.GetFrom()), len(f.GetSubject()), maxFilter, maxField)
	}
	out := &filter{account: a, from: strings.ToLower(f.GetFrom()), subject: strings.ToLower(f.GetSubject()), noMoved: true}
	if f.GetSinceNs() > 0 {
		out.since = time.Unix(0, f.GetSinceNs())
	}
	if f.GetUntilNs() > 0 {
		out.until = time.Unix(0, f.GetUntilNs())
	}
	if len(f.GetEmails()) > 0 {
		out.emails = make(map[mailbox.EmailID]bool, len(f.GetEmails()))
		for _, id := range f.GetEmails() {
			out.emails[mailbox.EmailID(id)] = true
		}
	}
	if f.GetFolder() == "" {
		return out, nil
	}
	name, err := boxName(f.GetFolder())
	if err != nil {
		return nil, err
	}
	if out.boxes, err = r.boxesNamed(ctx, a, name); err != nil || f.GetMailbox() == 0 {
		return out, err
	}
	one := mailbox.ID(f.GetMailbox())
	if !out.boxes[one] {
		return nil, toStatus(fmt.Errorf("%w: %d of the name %q", index.ErrNoMailbox, one, name))
	}
	out.boxes = map[mailbox.ID]bool{one: true}
	return out, nil
}

// boxesNamed are the mailboxes of a name: the one that has it, and those that had it when they were deleted; or else those that
// had it when something was removed from them, and have another now.
func (r *retention) boxesNamed(ctx context.Context, a mailbox.AccountID, name string) (map[mailbox.ID]bool, error) {
	boxes := map[mailbox.ID]bool{}
	list, _, err := r.Service.deps.Mailboxes.List(ctx, a)
	if err != nil {
		return nil, toStatus(err)
	}
	for i := range list {
		if list[i].ID != 0 && list[i].Name == name {
			boxes[list[i].ID] = true
		}
	}
	removed, err := r.RemovedMailboxes(ctx, a)
	if err != nil {
		return nil, toStatus(err)
	}
	for i := range removed {
		if removed[i].Name == name {
			boxes[removed[i].ID] = true
		}
	}
	if len(boxes) == 0 {
		if err := r.boxesOnceNamed(ctx, a, name, boxes); err != nil {
			return nil, toStatus(err)
		}
	}
	if len(boxes) == 0 {
		return nil, toStatus(fmt.Errorf("%w: %q: where it was renamed, give the name that it has now", index.ErrNoMailbox, name))
	}
	return boxes, nil
}

// boxesOnceNamed adds the mailboxes that something was removed from while they had a name.
func (r *retention) boxesOnceNamed(ctx context.Context, a mailbox.AccountID, name string, boxes map[mailbox.ID]bool) error {
	q := index.RemovedQuery{Account: a, Limit: removedPage}
	for {
		rows, err := r.Removed(ctx, q)
		if err != nil {
			return err
		}
		for i := range rows {
			if rows[i].Name == name {
				boxes[rows[i].Mailbox] = true
			}
		}
		if len(rows) < removedPage {
			return nil
		}
		q.After = rows[len(rows)-1].RowID
	}
}

// each calls fn with what was removed and passes the filter, page by page and the latest first, until it says enough.
// Fields are read where look is set, or the filter asks for them.
func (r *retention) each(ctx context.Context, f *filter, after index.RowID, look bool, fn func(page []removedMessage, last index.RowID) (more bool, err error)) error {
	q := index.RemovedQuery{Account: f.account, Since: f.since, Until: f.until, After: after, Limit: removedPage, NoMoved: f.noMoved}
	if len(f.boxes) == 1 {
		for id := range f.boxes {
			q.Mailbox = id
		}
	}
	look = look || f.from != "" || f.subject != ""
	for {
		rows, err := r.Removed(ctx, q)
		if err != nil || len(rows) == 0 {
			return err
		}
		page, err := r.page(ctx, f, rows, look)
		if err != nil {
			return err
		}
		q.After = rows[len(rows)-1].RowID
		if more, err := fn(page, q.After); err != nil || !more || len(rows) < removedPage {
			return err
		}
	}
}

// page takes rows apart, and leaves out what does not pass.
func (r *retention) page(ctx context.Context, f *filter, rows []index.RemovedRow, look bool) (page []removedMessage, err error) {
	var ids []mailbox.EmailID
	for i := range rows {
		if f.boxes != nil && !f.boxes[rows[i].Mailbox] {
			continue
		}
		var c mailbox.Chunk
		if err := c.Unpack(&rows[i].Entries); err != nil {
			return nil, err
		}
		for j := range c.Len() {
			if f.emails == nil || f.emails[c.Emails[j]] {
				page = append(page, removedMessage{row: &rows[i], entry: c.At(j)})
				ids = append(ids, c.Emails[j])
			}
		}
	}
	if len(page) == 0 {
		return nil, nil
	}
	placed, err := r.Placed(ctx, f.account, ids)
	if err != nil {
		return nil, err
	}
	for i := range page {
		page[i].placed = placed[page[i].entry.Email]
	}
	if look {
		if page, err = r.lookInto(ctx, f, page, ids); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// lookInto reads the fields of messages, and leaves out what does not pass. One whose fields cannot be told stays: who looks
// for a message to bring it back had rather see one too many.
func (r *retention) lookInto(ctx context.Context, f *filter, page []removedMessage, ids []mailbox.EmailID) ([]removedMessage, error) {
	emails, err := r.Service.deps.Mailboxes.Emails(ctx, f.account, ids, true)
	if err != nil {
		return nil, err
	}
	byID := make(map[mailbox.EmailID]*index.Email, len(emails))
	for i := range emails {
		byID[emails[i].ID] = &emails[i]
	}
	remake := &mailboxes{Service: r.Service}
	for i := range page {
		m := &page[i]
		if m.email = byID[m.entry.Email]; m.email != nil {
			remake.reindex(ctx, f.account, m.email) // those of another version
			m.index, _ = message.Decode(m.email.PartIndex)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(page, func(m removedMessage) bool {
		return m.email == nil || m.index != nil && (!strings.Contains(strings.ToLower(m.sender()), f.from) || !strings.Contains(strings.ToLower(m.subject()), f.subject))
	}), nil
}

// ListRemoved streams what was removed of an account.
func (r *retention) ListRemoved(req *storev1.ListRemovedRequest, stream grpc.ServerStreamingServer[storev1.ListRemovedResponse]) error {
	ctx := stream.Context()
	a, err := account(req.GetAccount())
	if err != nil {
		return err
	}
	f, err := r.filter(ctx, a, req.GetFilter())
	if err != nil {
		return err
	}
	after, err := rowID(req.GetAfter())
	if err != nil {
		return err
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = 1000
	}
	if limit > maxRemoved {
		return invalid("%d messages, more than %d", limit, maxRemoved)
	}
	told := 0
	err = r.each(ctx, f, after, true, func(page []removedMessage, last index.RowID) (bool, error) {
		resp := &storev1.ListRemovedResponse{}
		for i := range page {
			if m := &page[i]; req.GetPlaced() || !m.placed {
				resp.Messages = append(resp.Messages, m.message())
			}
		}
		if told += len(resp.Messages); told >= limit {
			resp.Next = rowText(last)
		}
		if len(resp.Messages) == 0 && resp.Next == "" {
			return true, nil
		}
		return told < limit, stream.Send(resp)
	})
	return toStatus(err)
}

func (m *removedMessage) message() *storev1.RemovedMessage {
	return &storev1.RemovedMessage{
		Email: uint64(m.entry.Email), Mailbox: uint64(m.row.Mailbox), Folder: m.row.Name, Uid: uint32(m.entry.UID),
		Flags: m.entry.Flags.Names(m.row.Keywords), Size: m.entry.Size, ReceivedNs: time.Unix(m.entry.Received, 0).UnixNano(),
		RemovedNs: m.row.Removed.UnixNano(), Kind: uint32(m.row.Kind), From: m.sender(), Subject: m.subject(), Placed: m.placed,
	}
}

// rowText and rowID are the form in which callers keep a place in a list.
func rowText(id index.RowID) string { return fmt.Sprintf("%d.%d.%d", id.ModSeq, id.Mailbox, id.Part) }

func rowID(text string) (id index.RowID, err error) {
	if text == "" {
		return id, nil
	}
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &id.ModSeq, &id.Mailbox, &id.Part); err != nil || id.ModSeq >= 1<<63 || id.Mailbox >= 1<<63 {
		return id, invalid("%q is not where a list ended", text)
	}
	return id, nil
}

// ListRemovedMailboxes lists the mailboxes that were deleted.
func (r *retention) ListRemovedMailboxes(ctx context.Context, req *storev1.ListRemovedMailboxesRequest) (*storev1.ListRemovedMailboxesResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	list, err := r.RemovedMailboxes(ctx, a)
	if err != nil {
		return nil, toStatus(err)
	}
	sum, err := r.Kept(ctx, a)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.ListRemovedMailboxesResponse{KeptEntries: sum.Entries, KeptOctets: sum.Octets}
	for i := range list {
		m := &list[i]
		resp.Mailboxes = append(resp.Mailboxes, &storev1.RemovedMailbox{Mailbox: uint64(m.ID), Name: m.Name, SpecialUse: m.SpecialUse,
			RemovedNs: m.Removed.UnixNano(), Messages: m.Messages, Size: m.Size, Subscribed: m.Subscribed})
	}
	return resp, nil
}
