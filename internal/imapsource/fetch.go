package imapsource

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Message is what FETCH tells of one.
type Message struct {
	UID   uint32
	Flags []string
	// HasFlags tells that flags were told.
	HasFlags bool
	// Received is zero where the server told no date that can be read.
	Received time.Time
	Size     int64
}

// fetched reads the list of one FETCH (RFC 9051 §7.5.2).
func (c *Conn) fetched(r *response, bodies bodyFunc) error {
	if b, err := c.r.ReadByte(); err != nil || b != '(' {
		return fmt.Errorf("%w: FETCH without a list", errSyntax)
	}
	m := &Message{}
	r.message = m
	for {
		if err := c.space(); err != nil {
			return err
		}
		b, err := c.peek()
		if err != nil {
			return err
		}
		if b == ')' {
			c.r.Discard(1)
			return nil
		}
		name, err := c.word()
		if err != nil {
			return err
		}
		if name == "" {
			return fmt.Errorf("%w: FETCH with a list that does not end", errSyntax)
		}
		if err := c.space(); err != nil {
			return err
		}
		name = strings.ToUpper(name)
		if strings.HasPrefix(name, "BODY[") || name == "RFC822" {
			if err := c.body(r, bodies); err != nil {
				return err
			}
			continue
		}
		v, err := c.value(0)
		if err != nil {
			return err
		}
		m.take(name, v)
	}
}

func (m *Message) take(name string, v value) {
	switch name {
	case "UID":
		n, _ := strconv.ParseUint(v.text, 10, 32)
		m.UID = uint32(n)
	case "RFC822.SIZE":
		m.Size, _ = strconv.ParseInt(v.text, 10, 64)
	case "INTERNALDATE":
		m.Received = date(v.text)
	case "FLAGS":
		m.HasFlags = true
		for _, f := range v.list {
			if f.text != "" {
				m.Flags = append(m.Flags, f.text)
			}
		}
	}
}

// date reads a date-time (RFC 9051 §9); what is none, or none that can be kept, is zero.
func date(text string) time.Time {
	t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", strings.TrimSpace(text))
	if err != nil || t.Unix() <= 0 {
		return time.Time{}
	}
	return t
}

// body gives a body away, and passes over what is left of it.
func (c *Conn) body(r *response, bodies bodyFunc) error {
	announced, err := c.literalNext()
	if err != nil {
		return err
	}
	if !announced {
		v, err := c.value(0)
		if err != nil || v.isNil {
			return err
		}
		if bodies != nil {
			r.failed = bodies(r.message, int64(len(v.text)), strings.NewReader(v.text))
		}
		return nil
	}
	n, err := c.literal()
	if err != nil {
		return err
	}
	left := &io.LimitedReader{R: whole{c.r}, N: n}
	if bodies != nil {
		r.failed = bodies(r.message, n, left)
	}
	_, err = io.Copy(io.Discard, left)
	return err
}

// whole is a connection whose end within a body is an error.
type whole struct{ r io.Reader }

func (w whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		return n, nil
	}
	return n, broken(err)
}

// All tells the flags of all messages of the open folder, or with since of those that changed after it (RFC 7162 §3.1.4.1).
func (c *Conn) All(since uint64, each func(uid uint32, flags []string)) error {
	line := "UID FETCH 1:* (UID FLAGS)"
	if since > 0 {
		line += fmt.Sprintf(" (CHANGEDSINCE %d)", since)
	}
	return c.command(line, func(r *response) error {
		if m := r.message; m != nil && m.UID != 0 && m.HasFlags {
			each(m.UID, m.Flags)
		}
		return nil
	})
}

// Describe tells flags, dates and sizes of messages of the open folder, which must ascend.
func (c *Conn) Describe(uids []uint32) (map[uint32]*Message, error) {
	out := make(map[uint32]*Message, len(uids))
	err := c.command("UID FETCH "+Set(uids)+" (UID FLAGS INTERNALDATE RFC822.SIZE)", func(r *response) error {
		m := r.message
		if m == nil || m.UID == 0 {
			return nil
		}
		// Another session's change of flags comes as a FETCH without a size: the newer flags count.
		if had := out[m.UID]; had != nil {
			if m.HasFlags {
				had.Flags = m.Flags
			}
			if m.Size == 0 && m.Received.IsZero() {
				return nil
			}
			had.Size, had.Received = m.Size, m.Received
			return nil
		}
		out[m.UID] = m
		return nil
	})
	return out, err
}

// Bodies fetches the bodies of messages of the open folder: take gets those that come, left those that do not, with why. Servers may
// tell them in any order, and answer several commands at once: a body belongs to the UID that is told with it. What was told without one,
// or did not come, is asked for again alone. Any error that Bodies returns but those of take is the connection's end.
func (c *Conn) Bodies(uids []uint32, take func(uid uint32, size int64, r io.Reader) error, left func(uid uint32, why string)) error {
	missing := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		missing[uid] = true
	}
	if !c.uidLast {
		if err := c.bodies("UID FETCH "+Set(uids)+" (UID BODY.PEEK[])", func(m *Message, size int64, r io.Reader) error {
			if m.UID == 0 { // QUIRK: the UID comes behind the body
				c.uidLast = true
			}
			if !missing[m.UID] {
				return nil
			}
			delete(missing, m.UID)
			return take(m.UID, size, r)
		}); err != nil && !IsRefused(err) {
			return err
		}
	}
	for _, uid := range uids {
		if !missing[uid] {
			continue
		}
		err := c.bodies(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[])", uid), func(m *Message, size int64, r io.Reader) error {
			if !missing[uid] || m.UID != 0 && m.UID != uid {
				return nil
			}
			delete(missing, uid)
			return take(uid, size, r)
		})
		switch {
		case err != nil && !IsRefused(err):
			return err
		case missing[uid] && err != nil:
			left(uid, err.Error())
		case missing[uid]:
			left(uid, "the server tells no body")
		}
	}
	return nil
}

// bodies runs a command that tells bodies.
func (c *Conn) bodies(line string, each bodyFunc) error {
	tag, err := c.send(line)
	if err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.wait(tag, line, nil, each)
}

// Set writes UIDs that ascend as a sequence set.
func Set(uids []uint32) string {
	var b strings.Builder
	for i := 0; i < len(uids); {
		j := i
		for j+1 < len(uids) && uids[j+1] == uids[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(uids[i]), 10))
		if j > i {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(uint64(uids[j]), 10))
		}
		i = j + 1
	}
	return b.String()
}

// ParseSet reads a sequence set without "*" of at most limit numbers.
func ParseSet(text string, limit int) ([]uint32, error) {
	var out []uint32
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		a, b, ranged := strings.Cut(part, ":")
		first, err := strconv.ParseUint(a, 10, 32)
		last := first
		if err == nil && ranged {
			last, err = strconv.ParseUint(b, 10, 32)
		}
		if err != nil || first == 0 || last == 0 {
			return nil, fmt.Errorf("%w: set %.40q", errSyntax, part)
		}
		if first > last {
			first, last = last, first
		}
		if last-first >= uint64(limit-len(out)) {
			return nil, fmt.Errorf("%w: a set of more than %d numbers", errSyntax, limit)
		}
		for n := first; n <= last; n++ {
			out = append(out, uint32(n))
		}
	}
	return out, nil
}
