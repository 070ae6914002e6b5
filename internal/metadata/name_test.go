package metadata_test

import (
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/metadata"
)

func TestName(t *testing.T) {
	for _, tt := range []struct {
		name string
		look bool
		want string // empty: refused
	}{
		{"/shared/comment", false, "/shared/comment"},
		{"/PRIVATE/Vendor/X", false, "/private/vendor/x"},
		{"/private", true, "/private"},
		{"/private", false, ""},
		{"/sharedx/comment", false, ""},
		{"/shared/", false, ""},
		{"/shared//comment", false, ""},
		{"/shared/a*", false, ""},
		{"/shared/a%b", false, ""},
		{"/shared/\x1f", false, ""},
		{"/shared/größe", false, ""},
		{"comment", false, ""},
		{"", true, ""},
		{"/shared/" + strings.Repeat("x", metadata.MaxName), false, ""},
	} {
		got, err := metadata.Name(tt.name, tt.look)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("Name(%q, %v) = %q, %v; want %q", tt.name, tt.look, got, err, tt.want)
		}
	}
}

func TestWanted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		depth int32
		want  bool
	}{
		{"/shared/a", 0, true},
		{"/shared/a/b", 0, false},
		{"/shared/a/b", 1, true},
		{"/shared/a/b/c", 1, false},
		{"/shared/a/b/c", -1, true},
		{"/shared/ab", -1, false},
		{"/private/a", -1, false},
	} {
		if got := metadata.Wanted(tt.name, []string{"/shared/x", "/shared/a"}, tt.depth); got != tt.want {
			t.Errorf("Wanted(%q, depth %d) = %v, want %v", tt.name, tt.depth, got, tt.want)
		}
	}
}
