package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// merging says what an account that lives is to get: all that it lacks, a folder, or a message.
type merging struct {
	all    bool
	folder string
	email  uint64
	// into is another folder than the one where it was; what lies elsewhere does not count as there then.
	into string
}

func mergeAll() merging { return merging{all: true} }

const (
	// importBatch and importBytes bound one call.
	importBatch = 200
	importBytes = 16 << 20
)

// box is a mailbox of the snapshot.
type box struct {
	ID          int64  `json:"mailbox,string"`
	Name        string `json:"name"`
	SpecialUse  string `json:"special_use"`
	UIDValidity uint32 `json:"uid_validity"`
	UIDNext     uint32 `json:"uid_next"`
	subscribed  bool
}

// uidOf is a message in a mailbox.
type uidOf struct {
	box int64
	uid uint32
}

// merger adds to one account.
type merger struct {
	*restore
	merging
	account uint64
	// other tells that the account is not the one that the backup was made of.
	other bool
	boxes map[int64]*box
	uidls map[uidOf]string
	// rules are what the account was under.
	rules  []rule
	emails *emailReader
	// there are emails that the account has, where ids are the same, and live the folders that it has: one that lies in another
	// folder now was moved there, unless its own folder is gone.
	there map[uint64]bool
	live  map[string]bool
	// damaged are emails whose bodies the repository does not have whole, and why.
	damaged map[uint64]string
	// batch are messages for box.
	box   *box
	batch []entry
	size  int64
}

// merge adds what an account lacks. Messages are known by their ids, where the account is the one that they were read from,
// and by what they were imported as: a repeat adds nothing twice.
func (r *restore) merge(ctx context.Context, line accountLine, id uint64, what merging) error {
	r.out.Merged++
	if line.Rows == "" {
		return nil
	}
	m := &merger{restore: r, merging: what, account: id, other: line.Account != id, boxes: map[int64]*box{}, uidls: map[uidOf]string{}, there: map[uint64]bool{}, live: map[string]bool{}, damaged: map[uint64]string{}}
	if err := m.learn(ctx, line.Rows); err != nil {
		return err
	}
	if !m.other && what.into == "" {
		if err := m.look(ctx); err != nil {
			return err
		}
	}
	err := readLines(ctx, r.Repo, line.Rows, func(fields map[string]json.RawMessage) error {
		if stringOf(fields, "table") != "chunk" {
			return nil
		}
		return m.chunk(ctx, fields)
	})
	if err == nil {
		err = m.end(ctx)
	}
	if err != nil || !what.all {
		return err
	}
	for _, id := range sorted(m.boxes) { // those without messages
		if err := m.begin(ctx, m.boxes[id]); err != nil {
			return err
		}
		if err := m.end(ctx); err != nil {
			return err
		}
	}
	return m.tellRules(ctx, line.Address)
}

// learn reads which mailboxes there were.
func (m *merger) learn(ctx context.Context, rows string) error {
	subscribed := map[string]bool{}
	err := readLines(ctx, m.Repo, rows, func(fields map[string]json.RawMessage) error {
		switch stringOf(fields, "table") {
		case "imported":
			return m.learnUIDL(fields)
		case "subscription":
			subscribed[stringOf(fields, "name")] = true
		case "legal_hold", "retention_rule", "expire_rule":
			return m.learnRule(fields)
		case "mailbox":
			raw, err := json.Marshal(fields)
			b := &box{}
			if err == nil {
				err = json.Unmarshal(raw, b)
			}
			if err != nil {
				return fmt.Errorf("%w: %w", ErrLine, err)
			}
			m.boxes[b.ID] = b
		}
		return nil
	})
	for _, b := range m.boxes {
		b.subscribed = subscribed[b.Name]
	}
	if err == nil {
		m.emails, err = newEmailReader(ctx, m.Repo, rows)
	}
	return err
}

// learnUIDL notes what POP3 called a message.
func (m *merger) learnUIDL(fields map[string]json.RawMessage) error {
	l := struct {
		Box  int64  `json:"mailbox,string"`
		UID  uint32 `json:"uid"`
		UIDL string `json:"uidl"`
	}{}
	raw, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	if l.UIDL != "" && l.UID != 0 {
		m.uidls[uidOf{l.Box, l.UID}] = l.UIDL
	}
	return nil
}

// uidl is what POP3 called a message, which it is called here too: what it was imported with, or else UIDVALIDITY and UID, as
// services/pop3 makes it of them. In another folder than its own a message has a new one; so has one that is asked for by itself,
// or clients that had it would not fetch it again.
func (m *merger) uidl(b *box, uid uint32) string {
	if m.into != "" || m.email != 0 {
		return ""
	}
	if l := m.uidls[uidOf{b.ID, uid}]; l != "" {
		return l
	}
	return fmt.Sprintf("%08x%08x", b.UIDValidity, uid)
}

// look reads which emails the account has, or the folder where it is one.
func (m *merger) look(ctx context.Context) error {
	list, err := m.Mailboxes.List(ctx, &storev1.ListRequest{Account: m.account})
	if err != nil {
		return err
	}
	for _, b := range list.GetMailboxes() {
		if !b.GetExists() || m.folder != "" && b.GetName() != m.folder {
			continue
		}
		m.live[b.GetName()] = true
		stream, err := m.Mailboxes.Snapshot(ctx, &storev1.SnapshotRequest{Account: m.account, Mailbox: b.GetId()})
		for err == nil {
			var page *storev1.SnapshotResponse
			if page, err = stream.Recv(); err != nil {
				break
			}
			for _, c := range page.GetChunks() {
				ids, e := mailbox.AllEmails(nil, c.GetEmails())
				if e != nil {
					return e
				}
				for _, id := range ids {
					m.there[uint64(id)] = true
				}
			}
		}
		if err != io.EOF && status.Code(err) != codes.NotFound {
			return err
		}
	}
	return nil
}

// chunk takes the messages that are wanted of a line.
func (m *merger) chunk(ctx context.Context, fields map[string]json.RawMessage) error {
	id, err := strconv.ParseInt(stringOf(fields, "mailbox"), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	b := m.boxes[id]
	if b == nil || m.folder != "" && b.Name != m.folder {
		return nil
	}
	var list []entry
	if err := json.Unmarshal(fields["messages"], &list); err != nil {
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	for _, e := range list {
		if m.email != 0 && e.Email != m.email {
			continue
		}
		if m.there[e.Email] && m.live[b.Name] {
			m.out.Present++
			continue
		}
		if err := m.begin(ctx, b); err != nil {
			return err
		}
		m.batch, m.size = append(m.batch, e), m.size+e.Size
		if len(m.batch) >= importBatch || m.size >= importBytes {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin goes over to a mailbox.
func (m *merger) begin(ctx context.Context, b *box) error {
	if m.box == b {
		return nil
	}
	err := m.end(ctx)
	m.box = b
	return err
}

// end ends a mailbox.
func (m *merger) end(ctx context.Context) error {
	if m.box == nil {
		return nil
	}
	if err := m.flush(ctx); err != nil {
		return err
	}
	b := m.box
	m.box = nil
	if !m.all {
		return nil
	}
	begin := m.importBegin(b)
	if m.other {
		// UIDNEXT comes behind the messages: those below it keep no UID. What came after the backup, and was lost, is passed over.
		begin.UidNext = min(b.UIDNext+mergeJump, maxUIDNext)
	}
	stream, err := m.Imports.Import(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Begin{Begin: begin}}); err != nil && !isEOF(err) {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}

const (
	// mergeJump is how many UIDs are passed over; maxUIDNext what an import may ask for, about.
	mergeJump  = 1 << 20
	maxUIDNext = 1 << 31
)

func (m *merger) importBegin(b *box) *storev1.ImportBegin {
	begin := &storev1.ImportBegin{Account: m.account, Mailbox: b.Name, Create: true, SpecialUse: b.SpecialUse, Subscribed: b.subscribed,
		UidValidity: b.UIDValidity, OverQuota: true, Again: true}
	if m.into != "" {
		begin.Mailbox, begin.SpecialUse, begin.Subscribed, begin.UidValidity = m.into, "", true, 0
	}
	return begin
}

// key is by what the farm knows a message that it got from a backup.
func (m *merger) key(e *entry) []byte {
	return fmt.Appendf(nil, "backup %d %d", e.Email, e.UID)
}

// flush imports the batch, but for what is there.
func (m *merger) flush(ctx context.Context) error {
	list := m.batch
	m.batch, m.size = nil, 0
	if len(list) == 0 {
		return nil
	}
	begin := m.importBegin(m.box)
	ask := &storev1.ImportedRequest{Account: m.account, Mailbox: begin.Mailbox}
	for i := range list {
		ask.Keys = append(ask.Keys, m.key(&list[i]))
	}
	known, err := m.Imports.Imported(ctx, ask)
	if err != nil {
		return err
	}
	var open []entry
	for i, e := range list {
		if i < len(known.GetResults()) && known.GetResults()[i].GetStatus() == storev1.ImportStatus_IMPORT_STATUS_PRESENT {
			m.out.Present++
			continue
		}
		open = append(open, e)
	}
	if len(open) == 0 {
		return nil
	}
	for {
		err := m.send(ctx, begin, open)
		email, reason, ok := m.skips(err)
		if !ok {
			return err
		}
		m.damaged[email] = reason
	}
}

func (m *merger) send(ctx context.Context, begin *storev1.ImportBegin, list []entry) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := m.Imports.Import(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Begin{Begin: begin}})
	octets, unreadable := int64(0), m.out.Unreadable
	for i := 0; i < len(list) && err == nil; i++ {
		var n int64
		n, err = m.sendEntry(ctx, &list[i], begin.UidValidity != 0, stream.Send)
		octets += n
	}
	if err != nil && !isEOF(err) {
		m.out.Unreadable = unreadable // nothing of it was filed
		return err
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("folder %s: %w", begin.Mailbox, err)
	}
	for _, res := range resp.GetResults() {
		if res.GetStatus() == storev1.ImportStatus_IMPORT_STATUS_FILED {
			m.out.Messages++
		} else {
			m.out.Present++
		}
	}
	m.out.Octets += octets
	m.Say(*m.out)
	return nil
}

// sendEntry sends a message as its reader saw it.
func (m *merger) sendEntry(ctx context.Context, e *entry, uids bool, send func(*storev1.ImportRequest) error) (int64, error) {
	start := &storev1.ImportStart{Key: m.key(e), Flags: plainFlags(e.Flags)}
	received, err := parseSeconds(e.Received)
	saved := received
	if err == nil && e.Saved != "" {
		saved, err = parseSeconds(e.Saved)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrLine, err)
	}
	start.ReceivedNs, start.SavedNs = received*int64(time.Second), saved*int64(time.Second)
	if uids {
		start.Uid = e.UID
	}
	start.Uidl = m.uidl(m.box, e.UID)
	email, err := m.emails.find(ctx, e.Email)
	if err != nil {
		return 0, err
	}
	data := func(b []byte) error {
		return send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Data{Data: b}})
	}
	begin := func(size int64) error {
		start.Size = size
		return send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Start{Start: start}})
	}
	end := func() error {
		return send(&storev1.ImportRequest{Part: &storev1.ImportRequest_End{End: true}})
	}
	missing := email.Missing
	if missing == "" {
		missing = m.damaged[e.Email]
	}
	if missing != "" {
		m.out.Unreadable++
		text := unreadable(missing)
		for _, step := range []func() error{func() error { return begin(int64(len(text))) }, func() error { return data(text) }} {
			if err := step(); err != nil {
				return 0, err
			}
		}
		return int64(len(text)), end()
	}
	d, err := repo.ParseDigest(email.Body)
	if err != nil {
		return 0, fmt.Errorf("email %d: %w", email.ID, err)
	}
	seen := email.Overlay.seenSize(email.Size)
	if err := begin(seen); err != nil {
		return 0, err
	}
	err = m.Repo.Read(ctx, repo.Body, d, func(body io.Reader, _ int64) error {
		return inPieces(email.Overlay.apply(body), data)
	})
	if err != nil {
		return 0, bodyError(e.Email, err)
	}
	return seen, end()
}

// plainFlags leaves out flags that have no name.
func plainFlags(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		if !strings.HasPrefix(n, "#") {
			out = append(out, n)
		}
	}
	return out
}
