package maildir

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// maxLine is the longest line of the files beside messages, octets.
const maxLine = 1 << 20

// known is what Dovecot noted of a message: by the file's unique name.
type known struct {
	uid  uint32
	uidl string
}

// numbers are those of a folder.
type numbers struct {
	validity, next uint32
	messages       map[string]known
}

// eachLine calls each with the lines of a file; one that is not there has none.
func eachLine(fsys fs.FS, name string, each func(n int, line string) error) error {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for n := 0; lines.Scan(); n++ {
		if err := each(n, strings.TrimSuffix(lines.Text(), "\r")); err != nil {
			return fmt.Errorf("%s, line %d: %w", name, n+1, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func number32(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// readUIDList reads Dovecot's list of UIDs, of version 1 or 3. A later line counts for more than an earlier one. A list that
// cannot be read gives no numbers: messages are more than what they are called.
func readUIDList(fsys fs.FS, name string) (list numbers, err error) {
	list.messages = map[string]known{}
	version := ""
	err = eachLine(fsys, name, func(n int, line string) error {
		words := strings.Fields(line)
		if n == 0 {
			if len(words) < 3 {
				return errors.New("no header")
			}
			switch version = words[0]; version {
			case "1":
				list.validity, list.next = number32(words[1]), number32(words[2])
			case "3":
				for _, w := range words[1:] {
					switch w[0] {
					case 'V':
						list.validity = number32(w[1:])
					case 'N':
						list.next = number32(w[1:])
					}
				}
			default:
				return fmt.Errorf("version %.10q is not known", version)
			}
			return nil
		}
		head, file, ok := strings.Cut(line, " ")
		k := known{uid: number32(head)}
		if version == "3" && ok {
			var extensions string
			extensions, file, ok = strings.Cut(line, " :")
			for i, w := range strings.Fields(extensions) {
				if i > 0 && w[0] == 'P' {
					k.uidl = w[1:]
				}
			}
		}
		if unique, _ := splitName(file); ok && k.uid != 0 && unique != "" && len(list.messages) < MaxListed {
			list.messages[unique] = k
		}
		return nil
	})
	return list, err
}

// errEnough ends reading.
var errEnough = errors.New("enough")

// UIDValidity is that of a folder, 0 where nobody noted it.
func UIDValidity(fsys fs.FS, dir string) (validity uint32) {
	// A list that cannot be read is told by Open.
	_ = eachLine(fsys, join(dir, uidList), func(_ int, line string) error {
		words := strings.Fields(line)
		for i, w := range words {
			if words[0] == "1" && i == 1 {
				validity = number32(w)
			} else if words[0] == "3" && w[0] == 'V' {
				validity = number32(w[1:])
			}
		}
		return errEnough
	})
	return validity
}

// readKeywords reads which keywords the letters from a on stand for.
func readKeywords(fsys fs.FS, name string) (keywords []string, err error) {
	err = eachLine(fsys, name, func(_ int, line string) error {
		at, keyword, ok := strings.Cut(line, " ")
		n, err := strconv.Atoi(at)
		if !ok || err != nil || n < 0 || n > 25 {
			return nil
		}
		for len(keywords) <= n {
			keywords = append(keywords, "")
		}
		keywords[n] = keyword
		return nil
	})
	return keywords, err
}

// readSubscriptions reads the mailboxes that are subscribed to: of Dovecot, of version 2 with tabs between levels or without
// a version, or of Courier.
func readSubscriptions(fsys fs.FS, dir string) (names []string, err error) {
	tabs := false
	err = eachLine(fsys, join(dir, subscriptions), func(n int, line string) error {
		switch {
		case n == 0 && strings.HasPrefix(line, "V\t"):
			tabs = true
		case line == "":
		case tabs:
			levels := strings.Split(line, "\t")
			for i := range levels {
				levels[i] = unescapeTabs(levels[i])
			}
			names = append(names, strings.Join(levels, "/"))
		case strings.Contains(line, "/"): // of directories within each other
			names = append(names, DecodeName(line))
		default:
			names = append(names, FolderName(line))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachLine(fsys, join(dir, courierSubs), func(_ int, line string) error {
		if name, ok := strings.CutPrefix(line, "INBOX."); ok {
			names = append(names, FolderName(name))
		} else if line == "INBOX" {
			names = append(names, line)
		}
		return nil
	})
	return names, err
}

// unescapeTabs undoes Dovecot's escapes.
func unescapeTabs(s string) string {
	return DecodeName(strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r").Replace(s))
}

func join(dir, name string) string {
	if dir == "." || dir == "" {
		return name
	}
	return dir + "/" + name
}
