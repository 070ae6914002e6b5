package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// showPage is how many messages are shown unless more are asked for, and showMost the most.
	showPage = 50
	showMost = 1000
	// showHeader bounds what is read of a message's header, octets.
	showHeader = 64 << 10
)

// messageJSON is a message as --json prints it.
type messageJSON struct {
	UID      uint32     `json:"uid"`
	Email    string     `json:"email"`
	Flags    []string   `json:"flags"`
	ModSeq   uint64     `json:"mod_seq"`
	Size     int64      `json:"size"`
	Received time.Time  `json:"received"`
	Saved    time.Time  `json:"saved"`
	Sent     *time.Time `json:"sent"`
	From     string     `json:"from"`
	Subject  string     `json:"subject"`
}

// messageDetailJSON is one message as --json prints it.
type messageDetailJSON struct {
	messageJSON
	To        string     `json:"to"`
	Cc        string     `json:"cc"`
	MessageID string     `json:"message_id"`
	InReplyTo string     `json:"in_reply_to"`
	Thread    string     `json:"thread"`
	Blob      string     `json:"blob"`
	MovedTo   string     `json:"moved_to"`
	Stored    int64      `json:"stored_size"`
	Prefix    int        `json:"overlay_prefix"`
	Parts     []partJSON `json:"parts"`
	Envelope  string     `json:"envelope"`
}

// partJSON is a part of a message; offset and size are those of its body within the message as stored.
type partJSON struct {
	Part        string `json:"part"`
	Type        string `json:"type"`
	Encoding    string `json:"encoding"`
	Disposition string `json:"disposition"`
	Filename    string `json:"filename"`
	Offset      int64  `json:"offset"`
	Size        int64  `json:"size"`
}

func mailboxShow(d *door) *cobra.Command {
	var after uint32
	var most int
	c := &cobra.Command{
		Use:   "show ACCOUNT FOLDER [UID]",
		Short: "Show the messages of a folder page by page, or one of them",
		Long: `Show the messages of a folder in the order of their UIDs, a page at a time, or one message: its flags and dates, its
envelope and structure, and where its body lies in the blob store. No body is shown.`,
		Example: "  mailfarm mailbox show ann@example.org INBOX\n" +
			"  mailfarm mailbox show ann@example.org INBOX --after 4711 --most 200\n" +
			"  mailfarm mailbox show ann@example.org INBOX 4712 --json",
		Args: cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			if most < 1 || most > showMost {
				return fmt.Errorf("--most: %d is not between 1 and %d", most, showMost)
			}
			first, last := after+1, ^uint32(0)
			if len(args) == 3 {
				uid, err := strconv.ParseUint(args[2], 10, 32)
				if err != nil || uid == 0 {
					return fmt.Errorf("%q is no UID: a number from 1 on, as `mailfarm mailbox show %s %s` tells them", args[2], args[0], args[1])
				}
				first, last = uint32(uid), uint32(uid)
			}
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				account, box, err := folder(ctx, conn, args[0], args[1])
				if err != nil {
					return err
				}
				s := shower{conn: conn, account: account, box: box}
				if err := s.read(ctx, mailbox.UID(first), mailbox.UID(last), most); err != nil {
					return err
				}
				if len(args) == 3 {
					return d.showOne(ctx, c, &s, args)
				}
				return d.showPage(c, &s)
			})
		},
	}
	c.Flags().Uint32Var(&after, "after", 0, "only messages with a UID above this one")
	c.Flags().IntVar(&most, "most", showPage, "how many messages at most")
	return c
}

// folder finds an account's folder.
func folder(ctx context.Context, conn *grpc.ClientConn, address, name string) (account uint64, box folderJSON, err error) {
	sum, all, err := folders(ctx, conn, address)
	if err != nil {
		return 0, box, err
	}
	box, err = folderNamed(all, address, name)
	if err == nil && !box.Exists {
		err = fmt.Errorf("%s has no folder %q, only its name: it is subscribed to, or others lie below", address, box.Folder)
	}
	return sum.ID, box, err
}

// shower gathers what is shown of messages.
type shower struct {
	conn    *grpc.ClientConn
	account uint64
	box     folderJSON

	entries []mailbox.Entry
	emails  map[mailbox.EmailID]*storev1.Email
	more    bool
}

// read finds the entries of a range of UIDs, most at most, with their emails. Later pages of the snapshot are not waited for.
func (s *shower) read(ctx context.Context, first, last mailbox.UID, most int) error {
	snapshot, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := storev1.NewMailboxesClient(s.conn).Snapshot(snapshot, &storev1.SnapshotRequest{Account: s.account, Mailbox: s.box.ID})
	if err != nil {
		return err
	}
	var chunk mailbox.Chunk
	for done := false; !done; {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, c := range page.GetChunks() {
			err := chunk.Unpack(&mailbox.Packed{
				FirstUID: mailbox.UID(c.GetFirstUid()), MaxModSeq: mailbox.ModSeq(c.GetMaxModSeq()), UIDs: c.GetUids(), Flags: c.GetFlags(),
				ModSeqs: c.GetModSeqs(), Emails: c.GetEmails(), Sizes: c.GetSizes(), Received: c.GetReceived(), Saved: c.GetSaved(),
			})
			if err != nil {
				return fmt.Errorf("read the folder: %w", err)
			}
			for i, uid := range chunk.UIDs {
				switch {
				case uid < first:
				case uid > last:
					done = true
				case len(s.entries) == most:
					s.more, done = true, true
				default:
					s.entries = append(s.entries, chunk.At(i))
				}
			}
		}
		done = done || page.GetDone()
	}
	return s.readEmails(ctx)
}

func (s *shower) readEmails(ctx context.Context) error {
	s.emails = map[mailbox.EmailID]*storev1.Email{}
	if len(s.entries) == 0 {
		return nil
	}
	req := &storev1.EmailsRequest{Account: s.account, Mailbox: s.box.ID}
	for i := range s.entries {
		req.Emails = append(req.Emails, uint64(s.entries[i].Email))
	}
	stream, err := storev1.NewMailboxesClient(s.conn).Emails(ctx, req)
	if err != nil {
		return err
	}
	for page, err := range answers(stream.Recv) {
		if err != nil {
			return err
		}
		for _, e := range page.GetEmails() {
			s.emails[mailbox.EmailID(e.GetId())] = e
		}
	}
	return nil
}

// view is a message's part index under its overlay; false where it cannot be read.
func view(e *storev1.Email) (message.View, bool) {
	ix, err := message.Decode(e.GetPartIndex())
	if err != nil {
		return message.View{}, false
	}
	return ix.WithOverlay(message.OverlayFrom(e.GetOverlay())), true
}

// summary is what a page shows of a message.
func (s *shower) summary(e *mailbox.Entry) messageJSON {
	m := messageJSON{
		UID: uint32(e.UID), Email: mailbox.ObjectID('M', uint64(e.Email)), Flags: append([]string{}, e.Flags.Names(s.box.Keywords)...), ModSeq: uint64(e.ModSeq),
		Size: e.Size, Received: time.Unix(e.Received, 0), Saved: time.Unix(e.Saved, 0),
	}
	if v, ok := view(s.emails[e.Email]); ok {
		m.From, m.Subject = v.Index.Sender(), v.Subject()
		if sent, ok := v.SentDate(); ok {
			m.Sent = &sent
		}
	}
	return m
}

func (d *door) showPage(c *cobra.Command, s *shower) error {
	all := []messageJSON{}
	for i := range s.entries {
		all = append(all, s.summary(&s.entries[i]))
	}
	if d.json {
		return printJSON(c.OutOrStdout(), all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), "no messages")
		return err
	}
	var rows [][]string
	for _, m := range all {
		rows = append(rows, []string{fmt.Sprint(m.UID), when(m.Received.UnixNano()), octets(m.Size), visible(strings.Join(m.Flags, " ")), clip(m.From, 40), clip(m.Subject, 60)})
	}
	if err := table(c.OutOrStdout(), "UID\tRECEIVED\tSIZE\tFLAGS\tFROM\tSUBJECT", rows); err != nil || !s.more {
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "there are more: --after %d\n", all[len(all)-1].UID)
	return err
}

// clip shortens a text for a table.
func clip(s string, most int) string {
	r := []rune(visible(s))
	if len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return string(r)
}

func (d *door) showOne(ctx context.Context, c *cobra.Command, s *shower, args []string) error {
	if len(s.entries) == 0 {
		return fmt.Errorf("%s has no message with UID %s in %s", args[0], args[2], s.box.Folder)
	}
	m, err := s.detail(ctx, &s.entries[0])
	if err != nil {
		return err
	}
	if d.json {
		return printJSON(c.OutOrStdout(), m)
	}
	sent := "-"
	if m.Sent != nil {
		sent = m.Sent.Format(time.RFC1123Z)
	}
	body := m.Blob
	if m.MovedTo != "" {
		body += ", moved to " + m.MovedTo
	}
	if err := facts(c, [][2]string{
		{"UID", fmt.Sprint(m.UID)}, {"email", m.Email}, {"thread", m.Thread}, {"flags", visible(strings.Join(m.Flags, " "))}, {"MODSEQ", fmt.Sprint(m.ModSeq)},
		{"received", when(m.Received.UnixNano())}, {"saved", when(m.Saved.UnixNano())}, {"sent", sent}, {"from", visible(m.From)}, {"to", visible(m.To)}, {"cc", visible(m.Cc)},
		{"subject", visible(m.Subject)}, {"message-id", visible(m.MessageID)}, {"in-reply-to", visible(m.InReplyTo)},
		{"size", fmt.Sprintf("%d (%d stored, %d before it)", m.Size, m.Stored, m.Prefix)}, {"body", body},
	}); err != nil {
		return err
	}
	var rows [][]string
	for _, p := range m.Parts {
		rows = append(rows, []string{p.Part, visible(p.Type), p.Encoding, p.Disposition, clip(p.Filename, 60), fmt.Sprint(p.Offset), octets(p.Size)})
	}
	return table(c.OutOrStdout(), "PART\tTYPE\tENCODING\tDISPOSITION\tNAME\tOFFSET\tSIZE", rows)
}

// detail is all that is shown of one message.
func (s *shower) detail(ctx context.Context, entry *mailbox.Entry) (messageDetailJSON, error) {
	m := messageDetailJSON{messageJSON: s.summary(entry), Parts: []partJSON{}}
	e := s.emails[entry.Email]
	if e == nil {
		return m, fmt.Errorf("the message with UID %d went while it was looked at", m.UID)
	}
	m.Thread, m.Stored, m.Prefix = mailbox.ObjectID('T', e.GetThread()), e.GetSize(), len(e.GetOverlay().GetPrefix())
	if id, err := blob.IDFrom(e.GetBlobId()); err == nil {
		m.Blob = id.String()
	}
	located, err := storev1.NewBodiesClient(s.conn).Locate(ctx, &storev1.LocateRequest{BlobIds: [][]byte{e.GetBlobId()}})
	if err != nil {
		return m, err
	}
	if places := located.GetPlaces(); len(places) == 1 && len(places[0]) > 0 {
		if id, err := blob.IDFrom(places[0]); err == nil {
			m.MovedTo = id.String()
		}
	}
	v, ok := view(e)
	if !ok {
		return m, nil
	}
	envelope, _ := v.Envelope()
	m.Envelope, m.MessageID, m.InReplyTo = string(envelope), v.MessageID(), v.Index.InReplyTo()
	v.Index.Walk(func(path []int, p *message.Part) bool {
		m.Parts = append(m.Parts, partJSON{
			Part: pathOf(path), Type: p.Type + "/" + p.Subtype, Encoding: p.Encoding, Disposition: p.Disposition, Filename: p.Filename(),
			Offset: p.Body.Offset, Size: p.Body.Length,
		})
		return true
	})
	return m, s.addressees(ctx, e, v, &m)
}

// addressees reads what the index does not hold from the header.
func (s *shower) addressees(ctx context.Context, e *storev1.Email, v message.View, m *messageDetailJSON) error {
	stream, err := storev1.NewBodiesClient(s.conn).Open(ctx, &storev1.OpenRequest{Ranges: []*storev1.BodyRange{
		{BlobId: e.GetBlobId(), Overlay: e.GetOverlay(), Length: min(v.Header().Length, showHeader)},
	}})
	if err != nil {
		return err
	}
	var header []byte
	for piece, err := range answers(stream.Recv) {
		if err != nil {
			return fmt.Errorf("read the header: %w", err)
		}
		header = append(header, piece.GetData()...)
	}
	message.EachField(header, func(name, value []byte) bool {
		switch strings.ToLower(string(name)) {
		case "to":
			m.To = message.DecodeValue(value)
		case "cc":
			m.Cc = message.DecodeValue(value)
		}
		return true
	})
	return nil
}

// pathOf writes a part's number as FETCH takes it (RFC 9051 §6.4.5); the message itself is "-".
func pathOf(path []int) string {
	if len(path) == 0 {
		return "-"
	}
	var b strings.Builder
	for i, n := range path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}
