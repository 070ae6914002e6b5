// Package fault kills mailfarm at every named point of the message path, and at random, and looks whether anything is lost.
package fault

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Point is a crash point in the source.
type Point struct {
	Name string
	// In are the folders that name it, relative to the root.
	In []string
}

// given finds calls whose first argument is a crash point's name: fault.Point, and what steps pass it on by.
var given = regexp.MustCompile(`\b(?:fault\.Point|[sS]tep|point|each)\("([a-z0-9]+\.[a-z0-9-]+)"`)

// listed finds the names that are listed for acceptance's two roles.
var listed = regexp.MustCompile(`"((?:ingress|submission)\.[a-z0-9-]+)"`)

// passed finds crash points whose name is not spelled out where they are.
var passed = regexp.MustCompile(`\bfault\.Point\([^"]`)

// passing are the files that pass on names spelled out elsewhere, in calls that given knows or in a list of names.
var passing = []string{
	"internal/acceptance/crash.go", "internal/acceptance/message.go", "internal/index/unit/unit.go", "internal/reclaim/worker.go",
}

// listing is the file whose names are in a list.
const listing = "internal/acceptance/crash.go"

// Points lists the crash points in the source by name, so that none can be added without being tried.
func Points(root string) ([]Point, error) {
	folders := map[string][]string{}
	for _, dir := range []string{"internal", "services"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			names, err := pointsOf(root, path)
			if err != nil {
				return err
			}
			folder, err := filepath.Rel(root, filepath.Dir(path))
			for _, name := range names {
				if !slices.Contains(folders[name], folder) {
					folders[name] = append(folders[name], folder)
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	var points []Point
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		points = append(points, Point{name, folders[name]})
	}
	return points, nil
}

// pointsOf lists the names in one file.
func pointsOf(root, path string) (names []string, err error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(src)) {
		code, _, _ := strings.Cut(line, "//")
		if passed.MatchString(code) && !slices.Contains(passing, file) {
			return nil, fmt.Errorf("%s: the name of a crash point is not spelled out: %s", file, strings.TrimSpace(line))
		}
		find := given
		if file == listing {
			find = listed
		}
		for _, m := range find.FindAllStringSubmatch(code, -1) {
			names = append(names, m[1])
		}
	}
	return names, nil
}

// in tells whether a folder names the point.
func (p Point) in(folder string) bool { return slices.Contains(p.In, folder) }

// onlyIn tells whether no other folder names it.
func (p Point) onlyIn(folder string) bool { return len(p.In) == 1 && p.in(folder) }
