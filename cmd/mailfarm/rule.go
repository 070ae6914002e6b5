package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/index"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ruleOf is whom a rule that is to be set is for, as it was given, and of what folder.
type ruleOf struct {
	name, domain string
	account      uint64
	folder       string
}

// check refuses rules that nothing can come under: those of a domain that is not here, and of folders by a pattern. A rule of an
// account may come before its folder; then it is told so on w.
func (r ruleOf) check(ctx context.Context, conn *grpc.ClientConn, w io.Writer) error {
	if r.domain != "" {
		if _, here, err := domainHere(ctx, conn, r.domain); err != nil {
			return err
		} else if !here {
			return noDomain(r.domain)
		}
	}
	if r.folder == "" || r.folder == index.EveryFolder || strings.HasPrefix(r.folder, `\`) {
		return nil
	}
	there := false
	if r.account != 0 {
		resp, err := storev1.NewMailboxesClient(conn).List(ctx, &storev1.ListRequest{Account: r.account})
		if err != nil {
			return err
		}
		there = slices.ContainsFunc(resp.GetMailboxes(), func(m *storev1.Mailbox) bool { return m.GetId() != 0 && m.GetName() == r.folder })
	}
	switch {
	case there:
	case strings.ContainsAny(r.folder, "*%"):
		return fmt.Errorf("--folder: %q: a rule is for one folder, not for those that a pattern has", r.folder)
	case r.account != 0:
		fmt.Fprintf(w, "mailfarm: %s has no folder %q now: the rule counts once there is one; `mailfarm mailbox list %s` tells those that there are\n",
			r.name, r.folder, r.name)
	}
	return nil
}
