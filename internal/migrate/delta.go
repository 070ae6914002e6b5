package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/imapsource"
	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// change is a change of flags there.
type change struct{ from, to int32 }

// reflag carries changes of flags over: what was added there is added here, what was removed there is removed here. What was
// changed here alone stays.
func (p *pass) reflag(ctx context.Context) error {
	changed := map[change][]uint32{}
	for uid, to := range p.now {
		if from, ok := p.state.known[uid]; ok && from != to && to != unknownFlags {
			changed[change{from, to}] = append(changed[change{from, to}], uid)
		}
	}
	for c, uids := range changed {
		slices.Sort(uids)
		if p.run.DryRun {
			p.report.Flagged += len(uids)
			continue
		}
		from, to := p.state.flags.names(c.from), p.state.flags.names(c.to)
		here, box, err := p.places(ctx, uids)
		if err != nil {
			return err
		}
		for _, step := range []struct {
			mode  storev1.FlagMode
			flags []string
		}{{storev1.FlagMode_FLAG_MODE_ADD, without(to, from)}, {storev1.FlagMode_FLAG_MODE_REMOVE, without(from, to)}} {
			if len(here) == 0 || len(step.flags) == 0 {
				continue
			}
			req := &storev1.FlagRequest{Account: p.account.ID, Mailbox: box, Uids: mailbox.AppendUIDs(nil, here), Mode: step.mode, Flags: step.flags}
			err := p.patiently(ctx, "change flags", func() error {
				_, err := p.run.Mailboxes.Flag(ctx, req)
				if c := status.Code(err); c == codes.ResourceExhausted || c == codes.FailedPrecondition {
					p.worker.report.note(fmt.Sprintf("folder %q: flags %q cannot be set: %s", p.f.Name, step.flags, status.Convert(err).Message()))
					return nil
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		if c.from != unknownFlags {
			p.report.Flagged += len(here)
		}
		for _, uid := range uids {
			p.state.known[uid] = c.to
		}
		p.moved = true
	}
	return nil
}

// without are the flags of a that b has not.
func without(a, b []string) (out []string) {
	for _, f := range a {
		if !slices.ContainsFunc(b, func(g string) bool { return strings.EqualFold(f, g) }) {
			out = append(out, f)
		}
	}
	return out
}

// places are the UIDs here of messages that are here, in ascending order, and their mailbox.
func (p *pass) places(ctx context.Context, uids []uint32) (here []mailbox.UID, box uint64, err error) {
	err = p.ask(ctx, uids, func(_ uint32, r *storev1.ImportResult) {
		if r.GetStatus() == storev1.ImportStatus_IMPORT_STATUS_PRESENT {
			here = append(here, mailbox.UID(r.GetUid()))
		}
	})
	slices.Sort(here)
	return here, p.state.Mailbox, err
}

// gone looks at what was brought and is not there any more. With Delete those go here that nobody touched: their flags are what they
// were there when they were seen last.
func (p *pass) gone(ctx context.Context) error {
	if !p.listed {
		return nil
	}
	var uids []uint32
	for _, uid := range slices.Sorted(maps.Keys(p.state.known)) {
		if _, ok := p.now[uid]; !ok {
			uids = append(uids, uid)
		}
	}
	p.report.GoneThere = len(uids)
	if len(uids) == 0 || !p.run.Delete || p.run.DryRun || p.state.Mailbox == 0 {
		return nil
	}
	box, err := p.snapshot(ctx)
	if err != nil {
		return err
	}
	there := map[mailbox.UID]uint32{}
	if err := p.ask(ctx, uids, func(uid uint32, r *storev1.ImportResult) {
		e, ok := box.entries[mailbox.UID(r.GetUid())]
		switch {
		case r.GetStatus() != storev1.ImportStatus_IMPORT_STATUS_PRESENT || !ok:
			delete(p.state.known, uid) // gone here as well
		case p.untouched(p.state.known[uid], e.Flags.Names(box.keywords)):
			there[e.UID] = uid
		}
	}); err != nil {
		return err
	}
	deleted, err := p.expunge(ctx, box, slices.Sorted(maps.Keys(there)))
	if err != nil {
		return err
	}
	for uid := range deleted.All() {
		if from, ok := there[uid]; ok {
			delete(p.state.known, from)
			p.report.Deleted++
		}
	}
	kept := 0
	for _, uid := range uids {
		if _, ok := p.state.known[uid]; ok {
			kept++
		}
	}
	if kept > 0 {
		p.worker.report.note(fmt.Sprintf("folder %q: %d messages are gone there and stay here: their flags were changed here, or were brought by a pass whose state is lost", p.f.Name, kept))
	}
	return nil
}

// untouched compares flags; \Deleted is what a pass that was cut off may have put.
func (p *pass) untouched(known int32, here []string) bool {
	if known == unknownFlags {
		return false
	}
	there := p.state.flags.names(known)
	here, _ = importer.Flags(here)
	return len(without(there, here)) == 0 && len(without(here, append([]string{`\Deleted`}, there...))) == 0
}

// expunge removes messages of which nothing changed since the snapshot, and tells which.
func (p *pass) expunge(ctx context.Context, box *boxHere, uids []mailbox.UID) (deleted mailbox.UIDSet, err error) {
	if len(uids) == 0 {
		return deleted, nil
	}
	req := &storev1.FlagRequest{Account: p.account.ID, Mailbox: box.id, Uids: mailbox.AppendUIDs(nil, uids), Mode: storev1.FlagMode_FLAG_MODE_ADD,
		Flags: []string{`\Deleted`}, UnchangedSince: box.modSeq, HasUnchangedSince: true}
	resp, err := p.run.Mailboxes.Flag(ctx, req)
	if err != nil {
		return deleted, ofFarm("mark messages as deleted", err)
	}
	touched, err := mailbox.DecodeUIDSet(resp.GetModified())
	if err != nil {
		return deleted, ofFarm("mark messages as deleted", err)
	}
	uids = slices.DeleteFunc(uids, func(uid mailbox.UID) bool { return touched.Contains(uid) })
	if len(uids) == 0 {
		return deleted, nil
	}
	done, err := p.run.Mailboxes.Expunge(ctx, &storev1.ExpungeRequest{Account: p.account.ID, Mailbox: box.id, Uids: mailbox.AppendUIDs(nil, uids)})
	if err != nil {
		return deleted, ofFarm("delete messages", err)
	}
	deleted, err = mailbox.DecodeUIDSet(done.GetExpunged())
	return deleted, ofFarm("delete messages", err)
}

// vanished are folders that were brought and are not listed any more: with Delete they are looked at as empty ones, and stay.
func (w *worker) vanished(ctx context.Context, listed []*imapsource.Folder) (out []*planned, err error) {
	names, err := forgotten(w.dir, listed)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	for _, raw := range names {
		st, err := load(w.dir, w.account, raw)
		if err != nil || len(st.known) == 0 {
			continue
		}
		w.report.note(fmt.Sprintf("folder %q is not there any more; it was brought into %q", raw, st.Target))
		if !w.run.Delete || w.run.DryRun {
			continue
		}
		f := &planned{Folder: &imapsource.Folder{Raw: raw, Name: raw}, target: st.Target, report: &FolderReport{Source: raw, Folder: st.Target, Excluded: "is not there any more"}}
		p := &pass{worker: w, f: f, report: f.report, state: st, now: map[uint32]int32{}, listed: true}
		if p.sameTarget() {
			if err := p.gone(ctx); err != nil {
				return nil, err
			}
			if err := st.save(); err != nil {
				return nil, err
			}
		}
		w.report.Folders = append(w.report.Folders, f.report)
		out = append(out, f)
	}
	return out, nil
}
