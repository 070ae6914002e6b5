package migrate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/imapsource"
	"github.com/mailfarm/mailfarm/internal/importer"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// bring brings what is missing, in the order of UIDs.
func (p *pass) bring(ctx context.Context) error {
	var missing []uint32
	for _, uid := range slices.Sorted(maps.Keys(p.now)) {
		if _, ok := p.state.known[uid]; !ok {
			missing = append(missing, uid)
		}
	}
	for page := range slices.Chunk(missing, batchMessages) {
		if err := p.page(ctx, page); err != nil {
			return err
		}
	}
	return nil
}

// maxLost is how often the connection may break at a message before it is left.
const maxLost = 3

// page brings some messages in batches that are not too large; one at which the connection broke, or that is large, goes alone.
func (p *pass) page(ctx context.Context, uids []uint32) error {
	if p.run.DryRun {
		p.report.Brought += len(uids)
		return nil
	}
	described, err := p.conn.Describe(uids)
	refused := imapsource.IsRefused(err)
	if err != nil && !refused {
		return fmt.Errorf("look at messages: %w", err)
	}
	var batch []uint32
	size := int64(0)
	flush := func() (err error) {
		if len(batch) > 0 {
			err = p.file(ctx, batch, described)
		}
		batch, size = nil, 0
		return err
	}
	for _, uid := range uids {
		m := described[uid]
		switch {
		case m == nil && refused:
			p.leave(uid, "the server tells nothing of it: "+err.Error())
			continue
		case m == nil:
			delete(p.now, uid) // expunged meanwhile
			continue
		case m.Size > importer.MaxMessage:
			p.leave(uid, "too large")
			continue
		case p.lost[uid] >= maxLost:
			p.leave(uid, "the connection broke each time it was read")
			continue
		}
		alone := p.lost[uid] > 0
		if len(batch) > 0 && (alone || size+m.Size > batchBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, uid), size+m.Size
		if alone {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (p *pass) leave(uid uint32, why string) {
	p.complete = false
	p.report.leave(1, fmt.Sprintf("folder %q, UID %d", p.f.Name, uid), why)
}

// file brings a batch, all or nothing; while the farm is away it is fetched again. One message that the store does not take is left.
func (p *pass) file(ctx context.Context, uids []uint32, described map[uint32]*imapsource.Message) error {
	for _, wait := range append(slices.Clone(p.run.Retry), 0) {
		resp, sent, err := p.send(ctx, uids, described)
		switch {
		case err == nil:
			return p.filed(sent, described, resp)
		case importer.Away(err) && wait > 0:
			if err := pause(ctx, wait); err != nil {
				return err
			}
			continue
		case status.Code(err) == codes.OutOfRange && len(uids) == 1:
			p.leave(uids[0], "larger than the farm takes (store.max_message_bytes)")
			return nil
		case status.Code(err) == codes.OutOfRange:
			for _, uid := range uids {
				if err := p.file(ctx, []uint32{uid}, described); err != nil {
					return err
				}
			}
			return nil
		case status.Code(err) == codes.ResourceExhausted:
			return ofFarm("bring messages", fmt.Errorf("%s is full: give it room (mailfarm quota set), or use --over-quota", p.account.Target))
		}
		if _, ok := status.FromError(err); ok {
			return ofFarm("bring messages", err)
		}
		return err
	}
	return nil
}

// sent is a message on its way.
type sent struct {
	uid  uint32
	size int64
}

// readHead is how much of a message without a date is read ahead for its Date field.
const readHead = 32 << 10

// send streams the bodies of messages from the source to the store. An error without a code is of the source.
func (p *pass) send(ctx context.Context, uids []uint32, described map[uint32]*imapsource.Message) (*storev1.ImportResponse, []sent, error) {
	f, err := importer.File(ctx, p.run.Imports, p.begin())
	if err != nil {
		return nil, nil, err
	}
	defer f.Abort()
	var list []sent
	var left []importer.Left
	var leftUIDs []uint32
	current, come := uint32(0), make(map[uint32]bool, len(uids))
	err = p.conn.Bodies(uids, func(uid uint32, size int64, r io.Reader) error {
		come[uid] = true
		if f.Ended() {
			return nil
		}
		if size > importer.MaxMessage || size == 0 {
			leftUIDs, left = append(leftUIDs, uid), append(left, importer.Left{Why: map[bool]string{true: "empty", false: "too large"}[size == 0]})
			return nil
		}
		current = uid
		m := described[uid]
		received, r, err := dated(m.Received, r, size)
		if err != nil {
			return err
		}
		names, odd := importer.Flags(m.Flags)
		if len(odd) > 0 {
			p.worker.report.note(fmt.Sprintf("folder %q, UID %d: no flags that IMAP can have: %q", p.f.Name, uid, odd))
		}
		list = append(list, sent{uid, size})
		err = f.Message(&storev1.ImportStart{Key: p.state.key(uid), Size: size, Flags: names, ReceivedNs: importer.Nanos(received), Uid: uid}, r)
		if err == nil {
			current = 0
		}
		return err
	}, func(uid uint32, why string) {
		come[uid] = true
		leftUIDs, left = append(leftUIDs, uid), append(left, importer.Left{Why: why})
	})
	if err != nil {
		for _, uid := range uids {
			if ctx.Err() == nil && (uid == current || current == 0 && !come[uid]) {
				p.lost[uid]++
				break
			}
		}
		return nil, nil, err
	}
	resp, err := f.Done()
	if err == nil {
		for i, uid := range leftUIDs {
			p.leave(uid, left[i].Why)
		}
	}
	return resp, list, err
}

// begin is what the store is told of the folder.
func (p *pass) begin() *storev1.ImportBegin {
	return &storev1.ImportBegin{Account: p.account.ID, Mailbox: p.f.target, Create: true, SpecialUse: p.f.use, Subscribed: p.f.Subscribed,
		UidValidity: p.source.UIDValidity, OverQuota: p.run.OverQuota, Again: p.run.Again}
}

// dated is when a message came: what the source tells, else what its header does.
func dated(t time.Time, r io.Reader, size int64) (time.Time, io.Reader, error) {
	if !t.IsZero() {
		return t, r, nil
	}
	head := make([]byte, min(size, readHead))
	if _, err := io.ReadFull(r, head); err != nil {
		return t, r, err
	}
	return importer.Dated(head), io.MultiReader(bytes.NewReader(head), r), nil
}

// filed takes what became of a batch.
func (p *pass) filed(list []sent, described map[uint32]*imapsource.Message, resp *storev1.ImportResponse) error {
	if len(resp.GetResults()) != len(list) {
		return farmError{fmt.Errorf("the store told of %d messages, and got %d", len(resp.GetResults()), len(list))}
	}
	p.moved = true
	p.target(resp)
	for i, r := range resp.GetResults() {
		uid := list[i].uid
		if r.GetStatus() == storev1.ImportStatus_IMPORT_STATUS_FILED {
			p.report.Brought++
			p.report.Octets += list[i].size
		}
		if resp.GetKept() && r.GetUid() != uid {
			p.report.UIDsChanged++
		}
		if r.GetKeywordsLeftOut() {
			p.worker.report.note(fmt.Sprintf("folder %q, UID %d: the folder has no room for more keywords: some are left out", p.f.Name, uid))
		}
		p.state.known[uid] = p.state.flags.number(described[uid].Flags)
		p.now[uid] = p.state.known[uid]
	}
	if p.run.Progress != nil {
		p.run.Progress(p.worker.report, p.report)
	}
	if time.Since(p.saved) < saveEvery {
		return nil
	}
	p.saved = time.Now()
	return p.state.save()
}

func (p *pass) target(resp *storev1.ImportResponse) {
	p.state.Mailbox, p.state.TargetValidity = resp.GetMailbox(), resp.GetUidValidity()
	p.report.UIDsKept = resp.GetKept()
}
