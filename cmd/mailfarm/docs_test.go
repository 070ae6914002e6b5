package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	indented   = regexp.MustCompile(`(?m)^    (mailfarm .*?)(?:  .*)?$`)
	inlineVerb = regexp.MustCompile("`(mailfarm [a-z][^`]*)`")
	quoted     = regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`)
)

// TestDocumentedCommands looks that every command that the README and docs/operations tell of is there, with its flags and
// arguments.
func TestDocumentedCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/operations/*.md")
	if err != nil || len(pages) < 7 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	pages = append(pages, "../../README.md")
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
				line, _, _ = strings.Cut(strings.TrimSpace(line), " | ")
				if strings.HasPrefix(line, "mailfarm ") {
					lines = append(lines, line)
				}
			}
		}
		for _, m := range append(indented.FindAllStringSubmatch(string(text), -1), inlineVerb.FindAllStringSubmatch(string(text), -1)...) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			seen++
			if err := parse(line); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(page), line, err)
			}
		}
	}
	for _, wrong := range []string{"mailfarm nothing", "mailfarm queue nothing", "mailfarm queue", "mailfarm audit --nothing", "mailfarm drain --wait long", "mailfarm ban add"} {
		if parse(wrong) == nil {
			t.Errorf("%s: taken for good", wrong)
		}
	}
	if seen < 40 {
		t.Errorf("only %d commands were found", seen)
	}
}

// parse reads a command line as the program would, and runs nothing.
func parse(line string) error {
	args := quoted.FindAllString(line, -1)[1:]
	for i, a := range args {
		args[i] = strings.Trim(a, `"'`)
	}
	command, rest, err := newRoot().Find(args)
	if err != nil {
		return err
	}
	if command.HasSubCommands() {
		return fmt.Errorf("%s does nothing by itself", command.CommandPath())
	}
	command.InitDefaultHelpFlag()
	if err := command.ParseFlags(rest); err != nil {
		return err
	}
	if err := command.ValidateRequiredFlags(); err != nil {
		return err
	}
	return command.ValidateArgs(command.Flags().Args())
}
