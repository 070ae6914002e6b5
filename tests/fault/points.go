// Package fault kills mailfarm at every named point of the message path, and at random, and looks whether anything is lost.
package fault

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// given are the calls whose first argument is a crash point's name: fault.Point, and what steps of a write pass it on by.
var given = regexp.MustCompile(`\b(fault\.Point|step|each)\(`)

// named finds the names of crash points: those given to such a call, and those listed for acceptance's two roles.
var named = regexp.MustCompile(`"((?:ingress|submission|blob|router|store|deliver|delivery|remote|filter|append)\.[a-z0-9-]+)"`)

// Points lists the crash points in the source, so that none can be added without being tried.
func Points(root string) ([]string, error) {
	var points []string
	for _, dir := range []string{"internal", "services"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(src)) {
				if !given.MatchString(line) && filepath.Base(path) != "crash.go" {
					continue
				}
				for _, m := range named.FindAllStringSubmatch(line, -1) {
					points = append(points, m[1])
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(points)
	return slices.Compact(points), nil
}
