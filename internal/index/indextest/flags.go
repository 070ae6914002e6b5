package indextest

import (
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
)

// joinFlags is the model's form of flags: their names sorted, with a space between them.
func joinFlags(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(names, " ")
}

func splitFlags(flags string) []string { return strings.Fields(flags) }

// changeFlags is what a FlagChange makes of flags.
func changeFlags(flags string, mode index.FlagMode, names []string) string {
	is := splitFlags(flags)
	switch mode {
	case index.ReplaceFlags:
		return joinFlags(names)
	case index.RemoveFlags:
		is = slices.DeleteFunc(is, func(f string) bool { return slices.Contains(names, f) })
	case index.AddFlags:
		for _, f := range names {
			if !slices.Contains(is, f) {
				is = append(is, f)
			}
		}
	}
	return joinFlags(is)
}
