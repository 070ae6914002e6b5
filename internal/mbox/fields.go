package mbox

import (
	"bytes"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxField is how much of one of the file's own fields is looked at, octets.
const maxField = 64 << 10

// ownFields are those that belong to the file and not to the message. Content-Length is one where it counts.
var ownFields = map[string]func(m *Meta, value string){
	"status":                  (*Meta).status,
	"x-status":                (*Meta).status,
	"x-keywords":              (*Meta).keywords,
	"x-uid":                   func(m *Meta, v string) { m.UID = number32(v) },
	"x-imapbase":              (*Meta).base,
	"x-imap":                  func(m *Meta, v string) { m.base(v); m.Internal = true },
	"x-mozilla-status":        (*Meta).mozilla,
	"x-mozilla-status2":       func(*Meta, string) {},
	"x-mozilla-keys":          (*Meta).keywords,
	"x-mailfarm-uidl":         func(m *Meta, v string) { m.UIDL = v },
	"x-mailfarm-saved":        (*Meta).saved,
	"x-mailfarm-folder":       func(m *Meta, v string) { m.Folder = v },
	"x-mailfarm-uid-validity": func(m *Meta, v string) { m.UIDValidity = number32(v) },
}

// labelField is the message's own and tells what Gmail's label it had; it counts where the file says nothing of flags, as one of
// ours does of a message that once came from there.
const labelField = "x-gmail-labels"

// kept stands before the name of a field that a message has of its own and that a file would take for one of the file's.
const kept = "X-Mailfarm-Own-"

// unkept is such a line as the message has it.
func unkept(line []byte) ([]byte, bool) {
	if len(line) < len(kept) || !strings.EqualFold(string(line[:len(kept)]), kept) || !foreign(line[len(kept):]) {
		return line, false
	}
	return line[len(kept):], true
}

// foreign tells of a header line of a message that a reader would not give back, or take something from.
func foreign(line []byte) bool {
	return Foreign(fieldName(line))
}

// Foreign tells of the name of a field, in lower case, that files have for themselves.
func Foreign(name string) bool {
	_, own := ownFields[name]
	return own || name == "content-length" || name == "x-uidl" || strings.HasPrefix(name, strings.ToLower(kept))
}

// fieldName is a line's field name in lower case, empty where it begins none.
func fieldName(line []byte) string {
	i := bytes.IndexByte(line, ':')
	if i < 1 || i > 64 {
		return ""
	}
	return strings.ToLower(string(bytes.TrimRight(line[:i], " \t")))
}

func number32(v string) uint32 {
	n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func (m *Meta) add(flag string) {
	if !slices.Contains(m.Flags, flag) && len(m.Flags) < 64 {
		m.Flags = append(m.Flags, flag)
	}
}

// letters are those of Status and X-Status, which programs mix up. O, "old", is not \Recent.
var letters = map[byte]string{'R': `\Seen`, 'A': `\Answered`, 'F': `\Flagged`, 'T': `\Draft`, 'D': `\Deleted`}

func (m *Meta) status(v string) {
	for i := range len(v) {
		if f := letters[v[i]]; f != "" {
			m.add(f)
		}
	}
}

func (m *Meta) keywords(v string) {
	for k := range strings.FieldsSeq(v) {
		m.add(k)
	}
}

// base reads "UIDVALIDITY last-UID keyword…", of which the keywords are those that the folder has.
func (m *Meta) base(v string) {
	if w := strings.Fields(v); len(w) >= 2 {
		m.UIDValidity, m.LastUID = number32(w[0]), number32(w[1])
	}
}

// mozilla reads the bits of X-Mozilla-Status.
func (m *Meta) mozilla(v string) {
	bits, err := strconv.ParseUint(v, 16, 16)
	if err != nil {
		return
	}
	for i, f := range []string{`\Seen`, `\Answered`, `\Flagged`} {
		if bits&(1<<i) != 0 {
			m.add(f)
		}
	}
	if bits&8 != 0 {
		m.Removed = true
		m.add(`\Deleted`)
	}
	if bits&0x1000 != 0 {
		m.add("$Forwarded")
	}
}

// labels reads those that Google's Takeout writes, in the language that it has for most: others tell nothing.
func (m *Meta) labels(v string) {
	m.Labelled = true
	if text, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
		v = text
	}
	has := map[string]bool{}
	for l := range strings.SplitSeq(v, ",") {
		has[strings.TrimSpace(l)] = true
	}
	if !has["Unread"] && (has["Opened"] || has["Sent"] || has["Drafts"]) {
		m.add(`\Seen`)
	}
	if has["Starred"] {
		m.add(`\Flagged`)
	}
	if has["Drafts"] {
		m.add(`\Draft`)
	}
}

func (m *Meta) saved(v string) {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		m.Saved = time.Unix(n, 0)
	}
}

// header reads the fields of a header one by one. It gives the lines to keep, and takes the file's own.
type header struct {
	meta *Meta
	// lengths tells that Content-Length is the file's own; length is what it said, -1: nothing.
	lengths bool
	length  int64
	// begun tells that there was a field; own that the current field is the file's own, and value what it has said so far.
	begun, own bool
	name       string
	value      []byte
	// flagged tells that a field of the file's tells flags; labels is what labelField says.
	flagged bool
	labels  string
}

// line takes the begin of a line without its end, and tells whether it is the message's.
func (h *header) line(line []byte) (keep bool) {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') && h.begun {
		if (h.own || h.name == labelField) && len(h.value)+len(line) < maxField {
			h.value = append(append(h.value, ' '), bytes.TrimSpace(line)...)
		}
		return !h.own
	}
	h.endField()
	if !h.begun && quotes(line) == 1 {
		return false // QUIRK: UUCP's mailers put the earlier From lines there
	}
	h.begun = true
	h.name = fieldName(line)
	_, h.own = ownFields[h.name]
	if h.name == "content-length" || h.name == "x-uidl" {
		_, value, _ := bytes.Cut(line, []byte(":"))
		h.value = append(h.value[:0], bytes.TrimSpace(value)...)
		h.other()
		h.own = h.name == "content-length" && h.lengths
		return !h.own
	}
	if h.own || h.name == labelField {
		_, value, _ := bytes.Cut(line, []byte(":"))
		h.value = append(h.value[:0], bytes.TrimSpace(value)...)
	}
	return !h.own
}

// other reads fields that the message keeps.
func (h *header) other() {
	if h.name == "x-uidl" {
		if h.meta.UIDL == "" {
			h.meta.UIDL = string(h.value)
		}
		return
	}
	if n, err := strconv.ParseInt(string(h.value), 10, 63); err == nil && n >= 0 {
		h.length = n
	}
}

// endField takes the field that has ended.
func (h *header) endField() {
	if h.own {
		if set := ownFields[h.name]; set != nil {
			set(h.meta, string(h.value))
		}
		h.flagged = h.flagged || strings.HasSuffix(h.name, "status")
	} else if h.name == labelField && h.begun {
		h.labels = string(h.value)
	}
	h.own, h.name = false, ""
}

// end takes the last field, and what counts where no other field tells it.
func (h *header) end() {
	h.endField()
	if h.labels != "" && !h.flagged {
		h.meta.labels(h.labels)
	}
}
