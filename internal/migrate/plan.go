package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/imapsource"
	"github.com/mailfarm/mailfarm/internal/importer"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// planned is a folder with where it goes.
type planned struct {
	*imapsource.Folder
	target, use string
	status      *imapsource.State
	report      *FolderReport
}

// uses are the special uses (RFC 6154 §2) that folders are found by, with names that clients give them where the server tells no
// attribute.
var uses = []struct {
	attr  string
	names []string
}{
	{`\Drafts`, []string{"drafts", "draft", "entwürfe", "brouillons", "borradores", "bozze", "concepten"}},
	{`\Sent`, []string{"sent", "sent items", "sent messages", "sent mail", "sent-mail", "gesendet", "gesendete elemente", "gesendete objekte", "envoyés",
		"éléments envoyés", "enviados", "elementos enviados", "posta inviata", "verzonden items"}},
	{`\Junk`, []string{"junk", "spam", "junk e-mail", "junk email", "junk mail", "bulk mail", "spamverdacht", "courrier indésirable", "correo no deseado"}},
	{`\Trash`, []string{"trash", "deleted items", "deleted messages", "deleted", "papierkorb", "gelöschte elemente", "gelöschte objekte", "corbeille",
		"éléments supprimés", "papelera", "elementos eliminados", "cestino", "prullenbak"}},
	{`\Archive`, []string{"archive", "archives", "archiv"}},
}

// views are folders that hold no messages of their own.
var views = []string{`\flagged`, `\important`}

// plan tells where each folder goes. Special uses go to the folder that has the use here, found by attribute, else by name, so that
// "Sent Items" and "Sent" are not two.
func (r *Run) plan(list []*imapsource.Folder, here []*storev1.Mailbox, note func(string)) []*planned {
	special := map[*imapsource.Folder]string{}
	for _, u := range uses {
		if f := find(list, func(f *imapsource.Folder) bool { return f.Has(strings.ToLower(u.attr)) }); f != nil {
			special[f] = u.attr
			continue
		}
		for _, name := range u.names {
			f := find(list, func(f *imapsource.Folder) bool { return strings.EqualFold(f.Name, name) })
			if f != nil && special[f] == "" {
				special[f] = u.attr
				break
			}
		}
	}
	rename := map[string]string{}
	for f, use := range special {
		if i := slices.IndexFunc(here, func(m *storev1.Mailbox) bool { return m.GetExists() && m.GetSpecialUse() == use }); i >= 0 {
			rename[f.Name] = here[i].GetName()
		}
	}
	for from, to := range r.Rename {
		rename[from] = to
	}
	out := make([]*planned, 0, len(list))
	taken := map[string]string{}
	for _, f := range list {
		p := &planned{Folder: f, target: importer.MailboxName(renamed(f.Name, rename)), use: special[f]}
		p.report = &FolderReport{Source: f.Name, Folder: p.target}
		switch {
		case r.excluded(f.Name):
			p.report.Excluded = "excluded"
		case !f.Selectable():
			p.report.Excluded = "has no messages of its own"
		case slices.ContainsFunc(views, f.Has):
			p.report.Excluded = "a view of messages in other folders"
		case taken[p.target] != "":
			note(fmt.Sprintf("folders %q and %q both go into %q", taken[p.target], f.Name, p.target))
		default:
			taken[p.target] = f.Name
		}
		out = append(out, p)
	}
	return out
}

func find(list []*imapsource.Folder, ok func(*imapsource.Folder) bool) *imapsource.Folder {
	if i := slices.IndexFunc(list, ok); i >= 0 && list[i].Selectable() && list[i].Name != "INBOX" {
		return list[i]
	}
	return nil
}

// renamed is a name by the rule for it, or for the nearest level above it.
func renamed(name string, rules map[string]string) string {
	for at := name; ; {
		if to, ok := rules[at]; ok {
			return to + name[len(at):]
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return name
		}
		at = at[:i]
	}
}

// order puts INBOX first among folders of the same UIDVALIDITY, and those with the highest UIDVALIDITY before the others: numbers that
// the store gives to new mailboxes lie above all that are kept then.
func order(list []*planned) {
	slices.SortStableFunc(list, func(a, b *planned) int {
		return cmp.Or(cmp.Compare(b.validity(), a.validity()), cmp.Compare(a.Name, b.Name))
	})
}

func (p *planned) validity() uint32 {
	if p.status == nil {
		return 0
	}
	return p.status.UIDValidity
}
