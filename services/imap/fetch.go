package imap

import (
	"slices"
	"strconv"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// fetcher is one FETCH under way.
//
// Messages are taken a chunk at a time, 256 at most: what the chunk's columns tell needs no call, immutable data comes by one
// Emails call, and with it the bodies of a few small messages; of others all octets come by one Open call, in the order in
// which they are written. See also mails.run.
type fetcher struct {
	s     *session
	items []item
	needs needs

	changedSince mailbox.ModSeq
	conditional  bool
	vanished     bool // what was expunged since is told too
	window       *window
	down         bool // from the highest message to the lowest
	// seen are the UIDs that this FETCH gave \Seen: their flags are told too.
	seen      wire.Set
	flagsToo  bool // FLAGS is not among the items
	modSeqToo bool // nor is MODSEQ, which is wanted
	uidToo    bool // nor UID, which goes with it (RFC 7162 §3.2.4)

	cols    *view.Columns // of the batch
	mails   *mails
	missing bool
	// unreadable are the UIDs of messages that are damaged or lost, or items of them; leftOut is the first other reason why
	// an item was left out.
	unreadable wire.Set
	leftOut    error
}

// fetch tells what messages are and hold (RFC 9051 §6.4.5).
func (s *session) fetch(l *wire.Lexer) (reply, error) { return s.fetchThese(l, false) }

// uidFetch is fetch by UID.
func (s *session) uidFetch(l *wire.Lexer) (reply, error) { return s.fetchThese(l, true) }

func (s *session) fetchThese(l *wire.Lexer, uid bool) (reply, error) {
	l.Space()
	set, saved := l.Set()
	l.Space()
	f := &fetcher{s: s, items: parseItems(l)}
	if l.Accept(' ') {
		l.List(func() { f.modifier(l) })
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if f.vanished && (!uid || !f.conditional || !s.enabled.qresync) {
		return bad("VANISHED needs QRESYNC, UID FETCH and CHANGEDSINCE"), nil // RFC 7162 §3.2.6
	}
	if f.window != nil && !uid {
		return bad("PARTIAL is for UID FETCH"), nil // RFC 9394 §3.3
	}
	seqs, err := s.seqs(set, saved, uid)
	if err != nil {
		return reply{}, err
	}
	if f.vanished {
		uids := s.sel.saved
		if !saved {
			// A set that ends in "*" reaches as far as the client may know messages: also to those that were the last ones and
			// are gone, which the largest UID still in use would leave out (RFC 7162 §3.2.6).
			known := set.Resolve(uint32(s.sel.snap.UIDNext) - 1)
			uids = slices.Concat(set.Resolve(uint32(s.sel.snap.MaxUID())), known).Join()
		}
		exact, err := s.tellVanishedSince(f.changedSince, uids, 0)
		if err != nil {
			return reply{}, err
		}
		if !exact {
			f.changedSince = 0
		}
	}
	if f.window != nil {
		// Which of them is for the client to say: none (RFC 9738 §3.1).
		if err := s.withinLimit(f.window.last - f.window.first + 1); err != nil {
			return reply{}, err
		}
		seqs = f.window.of(seqs) // of all that the set names, not of those that have changed (RFC 9394 §3.4)
	}
	if f.conditional {
		seqs = s.sel.snap.ChangedSince(f.changedSince, seqs)
	}
	seqs, limit := s.capped(seqs)
	f.down = limit != "" // RFC 9738 §3.1
	if uid && !s.enabled.uidonly {
		f.items = withFirst(f.items, "UID")
	}
	if f.conditional {
		f.items = withLast(f.items, "MODSEQ")
	}
	f.needs = needsOf(f.items)
	if f.needs.columns&view.WantModSeq != 0 {
		s.enableCondstore()
	}
	if f.needs.sets && !s.sel.readOnly && s.sel.rights.Has(acl.Seen) {
		if err := f.setSeen(seqs); err != nil {
			return reply{}, err
		}
	}
	s.sel.told = s.sel.told || f.needs.columns&view.WantModSeq != 0
	if err := f.run(seqs); err != nil {
		return reply{}, err
	}
	switch {
	case len(f.unreadable) > 0:
		return s.limited(f.corruption(), limit), nil
	case f.leftOut != nil:
		return s.limited(s.replyFor(f.leftOut), limit), nil
	case f.missing:
		return s.limited(errMessagesGone, limit), nil
	}
	return s.limited(reply{}, limit), nil
}

// modifier reads one of the modifiers in parentheses (RFC 4466 §2.4).
func (f *fetcher) modifier(l *wire.Lexer) {
	switch string(l.Word()) {
	case "CHANGEDSINCE":
		l.Space()
		f.changedSince, f.conditional = mailbox.ModSeq(l.Number64()), true
	case "VANISHED":
		f.vanished = true
	case "PARTIAL":
		l.Space()
		w := parseWindow(l)
		f.window = &w
	default:
		l.Fail("unknown modifier")
	}
}

func withFirst(items []item, name string) []item {
	for i, it := range items {
		if it.label == name {
			return append(append([]item{it}, items[:i]...), items[i+1:]...)
		}
	}
	return append([]item{named(name)}, items...)
}

func withLast(items []item, name string) []item {
	for _, it := range items {
		if it.label == name {
			return items
		}
	}
	return append(items, named(name))
}

// setSeen gives \Seen to all messages that this FETCH reads, in one call, before it reads them.
func (f *fetcher) setSeen(seqs wire.Set) error {
	s := f.s
	var uids wire.Set
	s.sel.snap.Walk(seqs, view.WantUID|view.WantFlags, func(_ uint32, cols *view.Columns, lo, hi int) error {
		for i := lo; i < hi; i++ {
			if cols.Flags[i]&mailbox.Seen == 0 {
				uids = uids.Add(uint32(cols.UIDs[i]))
			}
		}
		return nil
	})
	if len(uids) == 0 {
		return nil
	}
	ctx, cancel := s.call()
	defer cancel()
	_, err := s.flag(ctx, &storev1.FlagRequest{Uids: packUIDs(uids), Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Seen`}})
	if err != nil {
		// Reading goes on; the message stays unseen.
		s.log.Warn("flag not set", obs.Mailbox(s.sel.name), obs.Error(err))
		return nil
	}
	err = s.tellChanges(true, func(ch view.Change) bool {
		return !uids.Contains(uint32(ch.UID)) || ch.New != ch.Old|mailbox.Seen
	})
	if err != nil {
		return err
	}
	f.seen, f.flagsToo, f.modSeqToo = uids, true, s.enabled.condstore
	f.uidToo = s.enabled.condstore && !s.enabled.uidonly
	for _, it := range f.items {
		f.flagsToo = f.flagsToo && it.kind != itemFlags
		f.modSeqToo = f.modSeqToo && it.kind != itemModSeq
		f.uidToo = f.uidToo && it.kind != itemUID
	}
	f.needs.columns |= view.WantFlags | view.WantModSeq
	return nil
}

// run answers for all messages.
func (f *fetcher) run(seqs wire.Set) error {
	snap := f.s.sel.snap
	if !f.needs.emails {
		return walkBy(snap, f.down)(seqs, f.needs.columns, f.columns)
	}
	f.mails = f.s.newMails()
	defer f.mails.close()
	runs := []wire.Set{seqs}
	if f.down {
		runs = snap.ByChunk(seqs)
	}
	for _, some := range slices.Backward(runs) {
		err := f.mails.run(&walk{
			snap: snap, seqs: some, columns: f.needs.columns, index: f.needs.index, bodies: f.needs.data,
			pick: func(*batch, uint32, int) bool { return true }, each: f.batch,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// columns answers for a run of messages by their columns alone.
func (f *fetcher) columns(seq uint32, cols *view.Columns, lo, hi int) error {
	f.cols = cols
	r := row{seq: seq}
	for r.i = lo; r.i < hi; r.i, r.seq = r.i+1, r.seq+1 {
		f.writeRow(&r)
	}
	return f.s.out.Err()
}

// batch answers for a run of messages whose emails are there.
func (f *fetcher) batch(b *batch) error {
	f.cols = &b.cols
	if f.down {
		slices.Reverse(b.rows)
	}
	for i := range b.rows {
		f.missing = f.missing || b.rows[i].mail == nil
	}
	if f.needs.data {
		return f.writeData(b.rows)
	}
	for i := range b.rows {
		if b.rows[i].mail != nil {
			f.writeRow(&b.rows[i])
		}
	}
	if f.mails.err != nil {
		return f.mails.err
	}
	return f.s.out.Err()
}

// writeRow writes one FETCH response; octets of bodies come from the batch's stream. What cannot be read is left out, and all
// of the response where nothing else is left.
func (f *fetcher) writeRow(r *row) {
	s := f.s
	begun := false
	label := func(b []byte, label string) []byte {
		if begun {
			b = append(b, ' ')
		} else {
			begun = true
			b = s.appendFetch(b, r.seq, uint32(f.cols.UIDs[r.i]))
		}
		return append(append(b, label...), ' ')
	}
	b := s.out.Take()
	data := 0
	for i := range f.items {
		it := &f.items[i]
		var err error
		switch it.kind {
		case itemSection, itemBinary, itemBinarySize:
			d := &r.data[data]
			data++
			s.out.Give(b)
			err = f.mails.prepare(d)
			b = s.out.Take()
			if err == nil {
				s.out.Give(label(b, it.label))
				f.mails.write(d)
				b = s.out.Take()
			}
		default:
			before, had := len(b), begun
			if b, err = f.appendItem(label(b, it.label), it.kind, r); err != nil {
				b, begun = b[:before], had
			}
		}
		if err != nil && !f.leaveOut(r, err) {
			break
		}
	}
	if uid := f.cols.UIDs[r.i]; len(f.seen) > 0 && (f.flagsToo || f.modSeqToo || f.uidToo) && f.seen.Contains(uint32(uid)) {
		if f.uidToo {
			b, _ = f.appendItem(label(b, "UID"), itemUID, r)
		}
		if f.flagsToo {
			b, _ = f.appendItem(label(b, "FLAGS"), itemFlags, r)
		}
		if f.modSeqToo {
			b, _ = f.appendItem(label(b, "MODSEQ"), itemModSeq, r)
		}
	}
	if begun {
		b = append(b, ")\r\n"...)
	}
	s.out.Give(b)
}

// appendItem writes an item that needs no octets of bodies.
func (f *fetcher) appendItem(b []byte, kind itemKind, r *row) ([]byte, error) {
	cols, i := f.cols, r.i
	switch kind {
	case itemUID:
		b = strconv.AppendUint(b, uint64(cols.UIDs[i]), 10)
	case itemFlags:
		b = f.s.sel.appendFlags(b, cols.Flags[i], f.s.isRecent(cols.UIDs[i]))
	case itemInternalDate:
		b = wire.AppendDateTime(b, cols.Received[i])
	case itemSaveDate:
		b = wire.AppendDateTime(b, cols.Saved[i])
	case itemSize:
		b = strconv.AppendInt(b, cols.Sizes[i], 10)
	case itemModSeq:
		b = append(b, '(')
		b = strconv.AppendUint(b, uint64(cols.ModSeqs[i]), 10)
		b = append(b, ')')
	case itemEmailID:
		b = append(append(append(b, '('), mailbox.ObjectID('M', uint64(cols.Emails[i]))...), ')')
	case itemThreadID:
		if t := r.mail.email.GetThread(); t != 0 {
			b = append(append(append(b, '('), mailbox.ObjectID('T', t)...), ')')
		} else {
			b = append(b, "NIL"...)
		}
	case itemPreview:
		return f.mails.appendPreview(b, r.mail)
	case itemEnvelope:
		return f.mails.appendEnvelope(b, r.mail)
	case itemBody:
		return f.mails.appendBody(b, r.mail)
	case itemBodyStructure:
		return f.mails.appendBodyStructure(b, r.mail)
	}
	return b, nil
}
