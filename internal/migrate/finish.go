package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/importer"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// finish makes the folder where it had no messages, raises UIDNEXT, and notes what is known.
func (p *pass) finish(ctx context.Context) error {
	if p.run.DryRun {
		return nil
	}
	if err := p.patiently(ctx, "finish folder", func() error {
		begin := p.begin()
		begin.UidNext = p.source.UIDNext
		f, err := importer.File(ctx, p.run.Imports, begin)
		if err != nil {
			return err
		}
		defer f.Abort()
		resp, err := f.Done()
		if err == nil {
			p.target(resp)
		}
		return err
	}); err != nil {
		return err
	}
	if p.run.Verify {
		if err := p.verify(ctx); err != nil {
			return err
		}
	}
	st := p.state
	st.UIDNext, st.Messages, st.ModSeq = p.source.UIDNext, p.source.Messages, p.source.ModSeq
	if st.Complete = p.complete; !p.listed {
		st.ModSeq = 0
	}
	return p.done(ctx)
}

// done sees to what is not the messages', and writes the state.
func (p *pass) done(ctx context.Context) error {
	if p.run.DryRun {
		return nil
	}
	if err := p.subscribe(ctx); err != nil {
		return err
	}
	if err := p.acl(ctx); err != nil {
		return err
	}
	if p.run.Progress != nil {
		p.run.Progress(p.worker.report, p.report)
	}
	return p.state.save()
}

// subscribe carries over what changed there.
func (p *pass) subscribe(ctx context.Context) error {
	if p.state.Subscribed == p.f.Subscribed {
		return nil
	}
	err := p.patiently(ctx, "subscribe", func() error {
		_, err := p.run.Mailboxes.Subscribe(ctx, &storev1.SubscribeRequest{Account: p.account.ID, Name: p.f.target, Subscribed: p.f.Subscribed})
		return err
	})
	if err == nil {
		p.state.Subscribed = p.f.Subscribed
	}
	return err
}

// rights are the letters of RFC 4314 that are known here, with the old ones as §2.1.1 has them.
func rights(there string) string {
	var b strings.Builder
	for _, c := range "lrswipkxtea" {
		old := c == 'k' && strings.ContainsRune(there, 'c') || strings.ContainsRune("xte", c) && strings.ContainsRune(there, 'd') && !strings.ContainsAny(there, "xte")
		if strings.ContainsRune(there, c) || old {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// acl gives others the rights that they have there, where they are known here; once, until the list there changes. What was
// given here besides stays.
func (p *pass) acl(ctx context.Context) error {
	if p.run.NoACL || p.run.Identifier == nil {
		return nil
	}
	list, err := p.conn.ACL(p.f.Folder)
	if err != nil {
		return fmt.Errorf("read access control list: %w", err)
	}
	var lines []string
	for _, e := range list {
		lines = append(lines, e.Identifier+" "+e.Rights)
	}
	slices.Sort(lines)
	text := strings.Join(lines, "\n")
	if text == p.state.ACL {
		return nil
	}
	for _, e := range list {
		name, minus := strings.CutPrefix(e.Identifier, "-")
		if strings.EqualFold(name, p.account.Login.User) || e.Identifier == "owner" {
			continue
		}
		who := p.run.Identifier(p.account.Source, name)
		if who == "" {
			p.worker.report.note(fmt.Sprintf("folder %q: %q has rights %q there and is nobody here", p.f.Name, e.Identifier, e.Rights))
			continue
		}
		if strings.EqualFold(who, p.account.Target) {
			continue
		}
		if minus {
			who = "-" + who
		}
		letters := rights(e.Rights)
		if letters == "" {
			continue
		}
		err := p.patiently(ctx, "share folder", func() error {
			_, err := p.run.Sharing.SetACL(ctx, &storev1.SetACLRequest{Account: p.account.ID, Mailbox: p.f.target, Identifier: who, Mode: storev1.ACLMode_ACL_MODE_ADD, Rights: letters})
			if c := status.Code(err); c == codes.InvalidArgument || c == codes.ResourceExhausted || c == codes.NotFound {
				p.worker.report.note(fmt.Sprintf("folder %q: rights of %q are not given: %s", p.f.Name, e.Identifier, status.Convert(err).Message()))
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	p.state.ACL = text
	return nil
}
