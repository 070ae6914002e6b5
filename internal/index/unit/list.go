package unit

import (
	"cmp"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
)

// WithNames marks the subscribed mailboxes, adds names that are only subscribed to or only a parent, and sorts.
func WithNames(list []index.Mailbox, subscribed []string) []index.Mailbox {
	at := make(map[string]int, len(list)+len(subscribed))
	for i := range list {
		at[list[i].Name] = i
	}
	for i := range len(list) {
		for j, c := range list[i].Name {
			if parent := list[i].Name[:j]; c == '/' {
				if _, ok := at[parent]; !ok {
					at[parent] = len(list)
					list = append(list, index.Mailbox{Name: parent})
				}
			}
		}
	}
	for _, name := range subscribed {
		i, ok := at[name]
		if !ok {
			i = len(list)
			list = append(list, index.Mailbox{Name: name})
		}
		list[i].Subscribed = true
	}
	slices.SortFunc(list, func(a, b index.Mailbox) int {
		switch {
		case a.Name == b.Name:
			return 0
		case a.Name == index.Inbox:
			return -1
		case b.Name == index.Inbox:
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return list
}
