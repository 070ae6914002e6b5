package main

import "testing"

// TestExportOf: an export goes on only with one of the same account of the same farm, wherever the command is given.
func TestExportOf(t *testing.T) {
	of := func(d door, account uint64, address string) string {
		t.Helper()
		s, err := d.exportOf(account, address)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	dir := t.TempDir()
	t.Chdir(dir)
	one := of(door{data: "./data"}, 1, "alice@a.example")
	if again := of(door{data: dir + "/data/"}, 1, "alice@a.example"); again != one {
		t.Errorf("%q and %q are two", one, again)
	}
	for name, other := range map[string]string{
		"address":  of(door{data: "./data"}, 1, "bob@b.example"),
		"account":  of(door{data: "./data"}, 2, "alice@a.example"),
		"data":     of(door{data: "./other"}, 1, "alice@a.example"),
		"admin":    of(door{target: "b.example:7070", data: "./data"}, 1, "alice@a.example"),
		"no admin": of(door{target: "unix:/run/b", data: "./data"}, 1, "alice@a.example"),
	} {
		if other == one {
			t.Errorf("another %s: %q", name, other)
		}
	}
}
