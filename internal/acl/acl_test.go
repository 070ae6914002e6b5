package acl_test

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/acl"
)

func TestRights(t *testing.T) {
	for _, tt := range []struct{ in, out, shown string }{
		{"", "", ""}, {"lr", "lr", "lr"}, {"rl", "lr", "lr"}, {"lrswipkxtea", "lrswipkxtea", "lrswipkxteacd"},
		{"c", "kx", "kxc"}, {"d", "te", "ted"}, {"lrswipcda", "lrswipkxtea", "lrswipkxteacd"}, {"llll", "l", "l"}, {"e", "e", "ed"},
	} {
		r, err := acl.Parse(tt.in)
		if err != nil || r.String() != tt.out || r.Shown() != tt.shown {
			t.Errorf("Parse(%q) = %q shown as %q, %v; want %q and %q", tt.in, r, r.Shown(), err, tt.out, tt.shown)
		}
	}
	for _, bad := range []string{"z", "lR", "l r", "l\x00", "é"} {
		if r, err := acl.Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %q", bad, r)
		}
	}
	if acl.All.String() != "lrswipkxtea" {
		t.Errorf("All = %q", acl.All)
	}
}

func TestIdentifiers(t *testing.T) {
	for _, tt := range []struct {
		in       string
		kind     acl.Kind
		name     string
		negative bool
	}{
		{"bob@example.org", acl.KindUser, "bob@example.org", false}, {"-bob@example.org", acl.KindUser, "bob@example.org", true},
		{"Anyone", acl.KindAnyone, "", false}, {"-anyone", acl.KindAnyone, "", true}, {"authenticated", acl.KindAuthenticated, "", false},
		{"$staff", acl.KindGroup, "staff", false}, {"-Group:staff", acl.KindGroup, "staff", true},
	} {
		kind, name, negative, err := acl.ReadIdentifier(tt.in)
		if err != nil || kind != tt.kind || name != tt.name || negative != tt.negative {
			t.Errorf("ReadIdentifier(%q) = %v, %q, %v, %v", tt.in, kind, name, negative, err)
		}
	}
	for _, bad := range []string{"", "-"} {
		if _, _, _, err := acl.ReadIdentifier(bad); err == nil {
			t.Errorf("ReadIdentifier(%q) is taken", bad)
		}
	}
	if id := acl.UserOf(acl.Negative(acl.User(0xabc))); id != 0xabc {
		t.Errorf("UserOf = %x", id)
	}
	if acl.UserOf("anyone") != 0 || acl.GroupOf("anyone") != "" || acl.GroupOf("-group:x") != "x" {
		t.Error("identifiers of one kind are read as another's")
	}
}

// TestSum: a negative entry takes away whatever gives.
func TestSum(t *testing.T) {
	var s acl.Sum
	s.Add("anyone", acl.Lookup|acl.Read)
	s.Add("-user:1", acl.Read|acl.Write)
	s.Add("group:x", acl.Write|acl.Insert)
	if got, want := s.Rights(), acl.Lookup|acl.Insert; got != want {
		t.Errorf("Rights = %q, want %q", got, want)
	}
}
