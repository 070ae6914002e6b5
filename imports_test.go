package mailfarm

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/mailfarm/mailfarm/"

// rule says what a package must not import, and why.
type rule struct {
	from, not string // path prefixes within the module; not may be a full import path of another module
	unless    []string
	why       string
}

var rules = []rule{
	{from: "internal/envelope", not: "internal/", why: "the nouns of SMTP know nothing but themselves"},
	{from: "internal/mailbox", not: "internal/", why: "the nouns of the store know nothing but themselves"},
	{from: "internal/reply", not: "internal/", why: "replies are errors that everybody may use"},
	{from: "internal/", not: "services/", unless: []string{"internal/farm"}, why: "only the composition root knows the roles"},
	{from: "services/", not: "internal/farm", why: "a role receives what it needs and does not know where from"},
	{from: "services/", not: "internal/index/sqlite", unless: []string{}, why: "roles see interfaces, not databases"},
	{from: "services/", not: "internal/index/postgres", why: "roles see interfaces, not databases"},
	{from: "services/", not: "internal/fulltext/sqlite", why: "roles see interfaces, not databases"},
	{from: "services/", not: "internal/fulltext/postgres", why: "roles see interfaces, not databases"},
	{from: "services/", not: "internal/account/postgres", why: "roles see interfaces, not databases"},
	{from: "services/", not: "internal/pgdb", why: "roles see interfaces, not databases"},
	{from: "services/", not: "internal/bus/embedded", why: "roles cannot tell which shape they are in"},
	{from: "services/", not: "internal/blob/dir", why: "roles see the blob store's interface"},
	{from: "services/", not: "internal/blob/s3", why: "roles see the blob store's interface"},
	{from: "internal/smtpd", not: "services/", why: "the engine serves several roles"},
	{from: "internal/", not: "github.com/emersion/go-imap/v2", why: "the IMAP library's types stop at the role that speaks IMAP"},
	{from: "cmd/mailfarm", not: "services/", why: "the executable builds roles through internal/farm"},
}

// TestImports holds the tree against the rules, and roles apart from each other.
func TestImports(t *testing.T) {
	for pkg, imports := range listImports(t) {
		for _, imp := range imports {
			for _, r := range rules {
				if breaks(r, pkg, imp) {
					t.Errorf("%s imports %s: %s", pkg, imp, r.why)
				}
			}
			if a, b := role(pkg), role(imp); a != "" && b != "" && a != b {
				t.Errorf("%s imports %s: roles speak through the bus and gRPC", pkg, imp)
			}
		}
	}
}

func breaks(r rule, pkg, imp string) bool {
	if !strings.HasPrefix(pkg, r.from) || !strings.HasPrefix(imp, r.not) || strings.HasPrefix(imp, r.from) && r.not == "internal/" {
		return false
	}
	for _, u := range r.unless {
		if strings.HasPrefix(pkg, u) {
			return false
		}
	}
	return true
}

// role is the role that a package belongs to; delivery has two, which are apart as well.
func role(pkg string) string {
	rest, ok := strings.CutPrefix(pkg, "services/")
	if !ok {
		return ""
	}
	name, rest, _ := strings.Cut(rest, "/")
	if name == "delivery" {
		sub, _, _ := strings.Cut(rest, "/")
		return path.Join(name, sub)
	}
	return name
}

// listImports gives the imports of every package, without its tests; paths within the module are relative to it.
func listImports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string][]string{}
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			all[name] = append(all[name], strings.TrimPrefix(imp, module))
		}
	}
	if len(all) < 20 {
		t.Fatalf("go list told of %d packages only", len(all))
	}
	return all
}
