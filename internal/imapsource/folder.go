package imapsource

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Folder is a mailbox as the server lists it.
type Folder struct {
	// Raw is the name on the wire; Name is the same with "/" between levels, without the prefix of personal folders.
	Raw, Name string
	// Attrs are those of LIST, lower case: \noselect, \sent.
	Attrs      []string
	Subscribed bool
	delimiter  string
}

// Has tells whether the folder has an attribute.
func (f *Folder) Has(attr string) bool { return slices.Contains(f.Attrs, attr) }

// Selectable tells whether there may be messages.
func (f *Folder) Selectable() bool { return !f.Has(`\noselect`) && !f.Has(`\nonexistent`) }

// namespaces are the prefixes of NAMESPACE (RFC 2342).
type namespaces struct {
	known    bool
	personal string
	others   []string
}

// Folders lists the user's own folders; those of others and shared ones are not listed.
func (c *Conn) Folders() ([]*Folder, error) {
	ns, err := c.namespaces()
	if err != nil {
		return nil, err
	}
	byName := map[string]*Folder{}
	var list []*Folder
	line := `LIST "" "*"`
	extended := c.Has("LIST-EXTENDED")
	if extended {
		line += " RETURN (SUBSCRIBED"
		if c.Has("SPECIAL-USE") {
			line += " SPECIAL-USE" // RFC 6154 §2
		}
		line += ")"
	}
	take := func(r *response) error {
		f := parseList(r)
		if f == nil {
			return nil
		}
		if byName[f.Raw] == nil {
			byName[f.Raw] = f
			list = append(list, f)
		}
		return nil
	}
	if err := c.command(line, take); err != nil {
		return nil, fmt.Errorf("list folders: %w", err)
	}
	if !extended {
		if err := c.command(`LSUB "" "*"`, func(r *response) error {
			if r.name != "LSUB" {
				return nil
			}
			r.name = "LIST"
			if f := parseList(r); f != nil && byName[f.Raw] != nil {
				byName[f.Raw].Subscribed = true
			}
			return nil
		}); err != nil && !IsRefused(err) {
			return nil, fmt.Errorf("list subscriptions: %w", err)
		}
	}
	if byName["INBOX"] == nil { // RFC 3501 §5.1: it is there whatever LIST tells
		list = append(list, &Folder{Raw: "INBOX"})
	}
	if !ns.known {
		ns.personal = commonPrefix(list)
	}
	list = slices.DeleteFunc(list, func(f *Folder) bool { return ns.foreign(f.Raw) })
	for _, f := range list {
		f.Name = ns.own(f)
	}
	return list, nil
}

func (ns *namespaces) foreign(raw string) bool {
	return slices.ContainsFunc(ns.others, func(p string) bool { return p != "" && p != ns.personal && strings.HasPrefix(raw, p) })
}

// own is a name with "/" between levels; a "/" within one becomes "_".
func (ns *namespaces) own(f *Folder) string {
	raw := f.Raw
	if ns.personal != "" && len(raw) > len(ns.personal) {
		raw = strings.TrimPrefix(raw, ns.personal)
	}
	if f.delimiter == "" {
		return strings.ReplaceAll(decodeName(raw), "/", "_")
	}
	levels := strings.Split(raw, f.delimiter)
	for i, l := range levels {
		levels[i] = strings.ReplaceAll(decodeName(l), "/", "_")
	}
	return strings.Join(levels, "/")
}

// commonPrefix is "INBOX." where a server without NAMESPACE has all folders below INBOX.
func commonPrefix(list []*Folder) string {
	prefix := ""
	for _, f := range list {
		if f.Raw == "INBOX" {
			continue
		}
		if f.delimiter == "" || !strings.HasPrefix(f.Raw, "INBOX"+f.delimiter) {
			return ""
		}
		prefix = "INBOX" + f.delimiter
	}
	return prefix
}

func (c *Conn) namespaces() (ns namespaces, err error) {
	if !c.Has("NAMESPACE") {
		return ns, nil
	}
	err = c.command("NAMESPACE", func(r *response) error {
		if r.name != "NAMESPACE" || len(r.values) < 3 {
			return nil
		}
		ns.known = true
		for i, v := range r.values[:3] {
			for j, n := range v.list {
				switch {
				case len(n.list) == 0:
				case i == 0 && j == 0:
					ns.personal = n.list[0].text
				case i > 0:
					ns.others = append(ns.others, n.list[0].text)
				}
			}
		}
		return nil
	})
	if IsRefused(err) {
		err = nil
	}
	return ns, err
}

func parseList(r *response) *Folder {
	if r.name != "LIST" || len(r.values) < 3 {
		return nil
	}
	f := &Folder{Raw: r.values[2].text}
	if !r.values[1].isNil {
		f.delimiter = r.values[1].text
	}
	if strings.EqualFold(f.Raw, "INBOX") {
		f.Raw = "INBOX"
	}
	for _, a := range r.values[0].list {
		a := strings.ToLower(a.text)
		f.Attrs = append(f.Attrs, a)
		f.Subscribed = f.Subscribed || a == `\subscribed`
	}
	if f.Raw == "" {
		return nil
	}
	return f
}

// State is what a folder tells of itself.
type State struct {
	Messages             uint32
	UIDValidity, UIDNext uint32
	// ModSeq is HIGHESTMODSEQ; 0: the folder has none.
	ModSeq uint64
	// Size is the sum of all messages' where the server tells it (RFC 8438), else -1.
	Size int64
}

// Status asks for a folder's state without opening it.
func (c *Conn) Status(f *Folder) (*State, error) {
	items := "MESSAGES UIDVALIDITY UIDNEXT"
	if c.ModSeqs() {
		items += " HIGHESTMODSEQ"
	}
	if c.Has("STATUS=SIZE") {
		items += " SIZE"
	}
	s := &State{Size: -1}
	return s, c.command("STATUS "+quote(f.Raw)+" ("+items+")", func(r *response) error {
		if r.name != "STATUS" || len(r.values) < 2 {
			return nil
		}
		list := r.values[len(r.values)-1].list
		for i := 0; i+1 < len(list); i += 2 {
			s.take(strings.ToUpper(list[i].text), list[i+1].text)
		}
		return nil
	})
}

func (s *State) take(item, number string) {
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return
	}
	switch item {
	case "MESSAGES":
		s.Messages = uint32(n)
	case "UIDVALIDITY":
		s.UIDValidity = uint32(n)
	case "UIDNEXT":
		s.UIDNext = uint32(n)
	case "HIGHESTMODSEQ":
		s.ModSeq = n
	case "SIZE":
		s.Size = int64(n)
	}
}

// Examine opens a folder for reading.
func (c *Conn) Examine(f *Folder) (*State, error) {
	line := "EXAMINE " + quote(f.Raw)
	if c.ModSeqs() {
		line += " (CONDSTORE)"
	}
	s := &State{Size: -1}
	err := c.command(line, func(r *response) error {
		switch r.name {
		case "EXISTS":
			s.Messages = r.number
		case "OK":
			if item, number, ok := strings.Cut(r.code, " "); ok {
				s.take(strings.ToUpper(item), number)
			}
		}
		return nil
	})
	return s, err
}

// UIDs tells all UIDs of the open folder, in ascending order, at most limit of them.
func (c *Conn) UIDs(limit int) ([]uint32, error) {
	line := "UID SEARCH ALL"
	if c.Has("ESEARCH") { // RFC 4731: ranges instead of each number
		line = "UID SEARCH RETURN (ALL) ALL"
	}
	var uids []uint32
	err := c.command(line, func(r *response) error {
		switch r.name {
		case "SEARCH":
			uids = append(uids, r.numbers...)
		case "ESEARCH":
			for i := 0; i+1 < len(r.values); i++ {
				if !r.values[i].isList && strings.EqualFold(r.values[i].text, "ALL") {
					list, err := ParseSet(r.values[i+1].text, limit)
					if err != nil {
						return err
					}
					uids = append(uids, list...)
				}
			}
		}
		if len(uids) > limit {
			return fmt.Errorf("more than %d messages", limit)
		}
		return nil
	})
	slices.Sort(uids)
	return slices.Compact(uids), err
}

// ACLEntry is a line of an access control list.
type ACLEntry struct{ Identifier, Rights string }

// ACL reads a folder's list (RFC 4314 §3.3); without the right to do so, or without the extension, there is none.
func (c *Conn) ACL(f *Folder) (list []ACLEntry, err error) {
	if !c.Has("ACL") {
		return nil, nil
	}
	err = c.command("GETACL "+quote(f.Raw), func(r *response) error {
		if r.name != "ACL" {
			return nil
		}
		for i := 1; i+1 < len(r.values); i += 2 {
			list = append(list, ACLEntry{r.values[i].text, r.values[i+1].text})
		}
		return nil
	})
	if IsRefused(err) {
		return nil, nil
	}
	return list, err
}

// quote writes a name as it came. QUIRK: one with octets that a quoted string must not have is sent back as it was.
func quote(raw string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(raw)) + `"`
}

var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// decodeName reads modified UTF-7 (RFC 3501 §5.1.3). QUIRK: what is none stays as it is, with octets that are no UTF-8 replaced.
func decodeName(raw string) string {
	var b strings.Builder
	for rest := raw; rest != ""; {
		before, after, found := strings.Cut(rest, "&")
		b.WriteString(before)
		if !found {
			break
		}
		run, behind, ended := strings.Cut(after, "-")
		octets, err := utf7.DecodeString(run)
		if !ended || err != nil || len(octets)%2 != 0 {
			return strings.ToValidUTF8(raw, "_")
		}
		if run == "" {
			b.WriteByte('&')
		}
		var units []uint16
		for i := 0; i < len(octets); i += 2 {
			units = append(units, uint16(octets[i])<<8|uint16(octets[i+1]))
		}
		for _, r := range utf16.Decode(units) {
			b.WriteRune(r)
		}
		rest = behind
	}
	if !utf8.ValidString(b.String()) {
		return strings.ToValidUTF8(b.String(), "_")
	}
	return b.String()
}
