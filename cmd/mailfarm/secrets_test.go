package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSharePassword(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	read := func(name string) string {
		t.Helper()
		content, err := os.ReadFile(at(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if err := sharePassword([]string{at("a/one"), at("b/two")}); err != nil {
		t.Fatal(err)
	}
	first := read("a/one")
	if len(first) != 41 || read("b/two") != first {
		t.Fatalf("got %q and %q, want 40 letters in both", first, read("b/two"))
	}
	// A run that was cut short before the second file, and a reader that came later.
	if err := os.Remove(at("b/two")); err != nil {
		t.Fatal(err)
	}
	if err := sharePassword([]string{at("a/one"), at("b/two"), at("c/three")}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/one", "b/two", "c/three"} {
		if got := read(name); got != first {
			t.Errorf("%s holds %q, want the first password %q", name, got, first)
		}
	}
	if err := sharePassword([]string{at("d")}); err != nil || read("d") == first {
		t.Errorf("two passwords are the same (%v)", err)
	}
	if err := sharePassword([]string{at("a/one"), at("d")}); err == nil {
		t.Error("two files with different passwords are no error")
	}
	if err := os.WriteFile(at("empty"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sharePassword([]string{at("empty")}); err == nil {
		t.Error("an empty password is no error")
	}
}
