package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/imapsource"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// pass is one folder's.
type pass struct {
	*worker
	f      *planned
	report *FolderReport
	state  *state
	source *imapsource.State
	// now are the messages there with their flags, as state has them.
	now map[uint32]int32
	// listed tells that now is all of the folder, so that what is not in it is gone.
	listed bool
	// complete tells that nothing was left.
	complete bool
	saved    time.Time
}

// saveEvery is how often the state of a long pass is written.
const saveEvery = 20 * time.Second

// pass brings a folder, as far as it is not here.
func (w *worker) pass(ctx context.Context, f *planned) error {
	had := *f.report // by a pass that broke off
	*f.report = FolderReport{Source: f.Name, Folder: f.target, UIDsChanged: had.UIDsChanged,
		Counts: Counts{OctetsThere: -1, Brought: had.Brought, Octets: had.Octets, Flagged: had.Flagged, Deleted: had.Deleted}}
	st, err := load(w.dir, w.account, f.Raw)
	if err != nil {
		w.report.note(fmt.Sprintf("folder %q: %v: all of it is looked at", f.Name, err))
	}
	p := &pass{worker: w, f: f, report: f.report, state: st, complete: true, saved: time.Now()}
	if err := p.steps(ctx); err != nil {
		if !w.run.DryRun && st.UIDValidity != 0 { // what was done is known then
			err = errors.Join(err, st.save())
		}
		return err
	}
	return nil
}

func (p *pass) steps(ctx context.Context) (err error) {
	w, f, st := p.worker, p.f, p.state
	if p.unchanged() {
		return p.done(ctx)
	}
	if p.source, err = w.conn.Examine(f.Folder); err != nil {
		return err
	}
	if f.status != nil {
		p.source.Size = f.status.Size
		if p.source.UIDNext == 0 {
			p.source.UIDNext = f.status.UIDNext
		}
	}
	p.report.There, p.report.OctetsThere = int64(p.source.Messages), p.source.Size
	if p.source.UIDValidity == 0 {
		return p.leaveAll("the server tells no UIDVALIDITY: its messages cannot be told apart in the next pass")
	}
	if v := st.UIDValidity; v != 0 && v != p.source.UIDValidity && len(st.known) > 0 {
		if !w.run.Renumbered {
			return p.leaveAll(fmt.Sprintf("UIDVALIDITY was %d and is %d now: whether its messages were brought is not known (--renumbered brings all of them anew)", v, p.source.UIDValidity))
		}
		w.report.note(fmt.Sprintf("folder %q: UIDVALIDITY was %d and is %d now: all of it is brought anew", f.Name, v, p.source.UIDValidity))
	}
	if st.UIDValidity != p.source.UIDValidity || !p.sameTarget() {
		st.known, st.ModSeq, st.Complete, st.ACL = map[uint32]int32{}, 0, false, ""
	}
	if p.source.Messages > maxMessages {
		return p.leaveAll(fmt.Sprintf("the folder has more than %d messages", maxMessages))
	}
	st.UIDValidity, st.Target = p.source.UIDValidity, f.target
	if err := p.survey(); err != nil {
		return err
	}
	if err := p.recognise(ctx); err != nil {
		return err
	}
	if err := p.bring(ctx); err != nil {
		return err
	}
	if err := p.reflag(ctx); err != nil {
		return err
	}
	if err := p.gone(ctx); err != nil {
		return err
	}
	return p.finish(ctx)
}

// sameTarget tells whether the mailbox here is the one that the state is about.
func (p *pass) sameTarget() bool {
	m := p.box(p.f.target)
	return m != nil && p.state.Target == p.f.target && p.state.Mailbox == m.GetId() && p.state.TargetValidity == m.GetUidValidity()
}

// unchanged tells whether counters alone say that there is nothing to do.
func (p *pass) unchanged() bool {
	now, st := p.f.status, p.state
	if now == nil || !st.Complete || p.run.Verify || p.run.Again || p.run.Delete || now.ModSeq == 0 || !p.sameTarget() || st.Subscribed != p.f.Subscribed {
		return false
	}
	if now.UIDValidity != st.UIDValidity || now.UIDNext != st.UIDNext || now.ModSeq != st.ModSeq || now.Messages != st.Messages {
		return false
	}
	p.source, p.report.Unchanged = now, true
	p.report.There, p.report.OctetsThere = int64(now.Messages), now.Size
	p.report.UIDsKept = st.TargetValidity == st.UIDValidity
	return true
}

// leaveAll leaves a folder.
func (p *pass) leaveAll(why string) error {
	p.report.leave(max(int(p.source.Messages), 1), fmt.Sprintf("folder %q", p.f.Name), why)
	return nil
}

// survey asks which messages there are, and what flags they have: with MODSEQs only of those that changed.
func (p *pass) survey() error {
	p.now = make(map[uint32]int32, p.source.Messages)
	p.listed = true
	if p.source.Messages == 0 {
		return nil
	}
	since := uint64(0)
	if p.source.ModSeq > 0 && p.state.ModSeq > 0 && p.state.ModSeq <= p.source.ModSeq {
		since = p.state.ModSeq
		uids, err := p.conn.UIDs(maxMessages)
		if err != nil {
			return fmt.Errorf("list messages: %w", err)
		}
		for _, uid := range uids {
			n, ok := p.state.known[uid]
			if !ok {
				n = unknownFlags
			}
			p.now[uid] = n
		}
	}
	if since == 0 || since < p.source.ModSeq {
		if err := p.conn.All(since, func(uid uint32, flags []string) {
			if len(p.now) <= maxMessages {
				p.now[uid] = p.state.flags.number(flags)
			}
		}); err != nil {
			return fmt.Errorf("list flags: %w", err)
		}
	}
	if len(p.now) >= int(p.source.Messages) {
		return nil
	}
	// Some were expunged meanwhile, or the server does not list what it has: then nothing may be taken for gone.
	count, err := p.conn.Status(p.f.Folder)
	if err != nil && !imapsource.IsRefused(err) {
		return err
	}
	p.complete = false
	if err != nil || len(p.now) < int(count.Messages) {
		p.listed = false
		p.report.leave(int(p.source.Messages)-len(p.now), fmt.Sprintf("folder %q", p.f.Name), "the server counts more messages than it lists")
	}
	return nil
}

// ask tells what became of messages in the store, a page at a time.
func (p *pass) ask(ctx context.Context, uids []uint32, each func(uid uint32, r *storev1.ImportResult)) error {
	for page := range slices.Chunk(uids, askKeys) {
		req := &storev1.ImportedRequest{Account: p.account.ID, Mailbox: p.f.target}
		for _, uid := range page {
			req.Keys = append(req.Keys, p.state.key(uid))
		}
		var resp *storev1.ImportedResponse
		if err := p.patiently(ctx, "look for messages here", func() (err error) {
			resp, err = p.run.Imports.Imported(ctx, req)
			return err
		}); err != nil {
			return err
		}
		if resp.GetMailbox() != 0 && len(resp.GetResults()) < len(page) {
			return farmError{errors.New("the store told of fewer messages than it was asked for")}
		}
		if m := resp.GetMailbox(); m != 0 {
			p.state.Mailbox, p.state.TargetValidity = m, resp.GetUidValidity()
		}
		for i, uid := range page {
			if resp.GetMailbox() == 0 {
				each(uid, &storev1.ImportResult{})
			} else {
				each(uid, resp.GetResults()[i])
			}
		}
	}
	return nil
}

// recognise finds messages that are in the store although no state tells of them, and with Again those that were removed.
func (p *pass) recognise(ctx context.Context) error {
	var ask []uint32
	for _, uid := range slices.Sorted(maps.Keys(p.now)) {
		if _, ok := p.state.known[uid]; !ok || p.run.Again {
			ask = append(ask, uid)
		}
	}
	return p.ask(ctx, ask, func(uid uint32, r *storev1.ImportResult) {
		switch r.GetStatus() {
		case storev1.ImportStatus_IMPORT_STATUS_PRESENT:
			if _, ok := p.state.known[uid]; !ok {
				p.state.known[uid] = unknownFlags
			}
		case storev1.ImportStatus_IMPORT_STATUS_GONE:
			if p.run.Again {
				delete(p.state.known, uid)
			} else {
				p.report.Removed++
				p.state.known[uid] = p.now[uid]
			}
		default:
			delete(p.state.known, uid)
		}
	})
}
