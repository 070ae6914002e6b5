package imap

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/metadata"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// metadataNamesMax is how many entries one command names.
const metadataNamesMax = 256

// metadataValueMax is the largest value, which SETMETADATA tells where one is larger (RFC 5464 §4.3).
const metadataValueMax = 32 << 10

// errNoMetadata is METADATA where it is not offered.
var errNoMetadata = no("CANNOT", "there are no annotations here")

// metadataRequest is a GETMETADATA.
type metadataRequest struct {
	names []string
	// depth is how many levels below the names are wanted; -1: all.
	depth int32
	// maxSize is the largest value that is wanted; -1: any.
	maxSize int64
}

// getMetadata tells entries of a mailbox, or with the name "" of the server (RFC 5464 §4.2).
func (s *session) getMetadata(l *wire.Lexer) (reply, error) {
	req := &metadataRequest{maxSize: -1}
	l.Space()
	// QUIRK: the grammar has the options before the mailbox, the examples of the RFC behind it; clients do either.
	before := l.Peek() == '('
	if before {
		l.List(func() { req.option(l) })
		l.Space()
	}
	name := s.mailboxName(l)
	l.Space()
	if !before && l.Peek() == '(' && l.PeekAt(1) != '/' && l.PeekAt(1) != '"' && l.PeekAt(1) != '{' {
		l.List(func() { req.option(l) })
		l.Space()
	}
	req.names = entryNames(l, req.depth != 0)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	var id uint64
	var n *node
	owner := s.account
	if name != "" {
		var err error
		if n, err = s.mailbox(name); err != nil {
			return reply{}, err
		}
		id, owner = n.GetId(), n.owner
	}
	noted, err := s.askMetadata(owner, []uint64{id}, req)
	if err != nil {
		return reply{}, err
	}
	entries := noted[id]
	if name == "" {
		entries = append(s.serverMetadata(req), entries...)
	} else {
		entries = n.withSpecialUse(entries, req)
	}
	asked := req.names
	if req.depth != 0 {
		asked = nil // what is not there is not told of
	}
	if longest := s.writeMetadata(name, entries, asked, req.maxSize); longest > 0 {
		return okCode("METADATA LONGENTRIES "+strconv.Itoa(longest), "larger entries were left out"), nil
	}
	return reply{}, nil
}

// option reads an option of GETMETADATA (RFC 5464 §4.2.1, §4.2.2).
func (req *metadataRequest) option(l *wire.Lexer) {
	switch string(l.Word()) {
	case "MAXSIZE":
		l.Space()
		req.maxSize = int64(l.Number())
	case "DEPTH":
		l.Space()
		switch string(l.Word()) {
		case "0":
			req.depth = 0
		case "1":
			req.depth = 1
		case "INFINITY":
			req.depth = -1
		default:
			l.Fail("DEPTH is 0, 1 or infinity")
		}
	default:
		l.Fail("unknown GETMETADATA option")
	}
}

// entryNames reads one name of an entry, or a list of them.
func entryNames(l *wire.Lexer, look bool) (names []string) {
	name := func() {
		if n := entryName(l, look); l.Err() == nil && !slices.Contains(names, n) {
			if names = append(names, n); len(names) > metadataNamesMax {
				l.Fail("too many entries")
			}
		}
	}
	if l.Peek() == '(' {
		l.List(name)
	} else {
		name()
	}
	if len(names) == 0 {
		l.Fail("no entries")
	}
	return names
}

func entryName(l *wire.Lexer, look bool) string {
	raw := l.AString()
	if l.Err() != nil {
		return ""
	}
	name, err := metadata.Name(string(raw), look)
	if err != nil {
		l.Fail("bad entry name")
	}
	return name
}

// askMetadata asks the store for entries of mailboxes of one account, by mailbox; id 0 is the account itself.
func (s *session) askMetadata(owner mailbox.AccountID, ids []uint64, req *metadataRequest) (map[uint64][]*storev1.Annotation, error) {
	if s.svc.deps.Annotations == nil {
		return nil, errNoMetadata
	}
	ctx, cancel := s.call()
	defer cancel()
	stream, err := s.svc.deps.Annotations.GetAnnotations(ctx, &storev1.GetAnnotationsRequest{
		Account: uint64(owner), Actor: uint64(s.account), Mailboxes: ids, Names: req.names, Depth: req.depth,
	})
	if err != nil {
		return nil, err
	}
	noted := map[uint64][]*storev1.Annotation{}
	for {
		page, err := stream.Recv()
		if err == io.EOF {
			return noted, nil
		}
		if err != nil {
			return nil, err
		}
		for _, a := range page.GetAnnotations() {
			noted[a.GetMailbox()] = append(noted[a.GetMailbox()], a)
		}
	}
}

// serverMetadata are the server's shared entries, which are the operator's (RFC 5464 §6.2.1).
func (s *session) serverMetadata(req *metadataRequest) (entries []*storev1.Annotation) {
	for _, e := range []struct{ name, value string }{
		{metadata.Shared + "/admin", s.svc.cfg.AdminContact}, {metadata.Shared + "/comment", s.svc.cfg.ServerComment},
	} {
		if e.value != "" && metadata.Wanted(e.name, req.names, req.depth) {
			entries = append(entries, &storev1.Annotation{Name: e.name, Value: []byte(e.value)})
		}
	}
	return entries
}

// specialUseEntry is a mailbox's special use (RFC 6154 §4). It is the mailbox's own, and is not kept among the entries.
const specialUseEntry = metadata.Private + "/specialuse"

// withSpecialUse are entries of a mailbox with its special use, where that is wanted.
func (n *node) withSpecialUse(entries []*storev1.Annotation, req *metadataRequest) []*storev1.Annotation {
	entries = slices.DeleteFunc(entries, func(a *storev1.Annotation) bool { return a.GetName() == specialUseEntry })
	if use := n.GetSpecialUse(); use != "" && metadata.Wanted(specialUseEntry, req.names, req.depth) {
		entries = append(entries, &storev1.Annotation{Name: specialUseEntry, Value: []byte(use)})
	}
	return entries
}

// writeMetadata writes a METADATA response (RFC 5464 §4.4.1) with NIL for what of asked is not there, and without values larger
// than maxSize, of which it tells the largest size.
func (s *session) writeMetadata(name string, entries []*storev1.Annotation, asked []string, maxSize int64) (longest int) {
	b := s.out.Take()
	start := len(b)
	b = append(b, "* METADATA "...)
	b = append(wire.AppendMailbox(b, name, s.utf8OK()), " ("...)
	first := len(b)
	entry := func(name string) {
		if len(b) > first {
			b = append(b, ' ')
		}
		b = append(wire.AppendAString(b, name, true), ' ')
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.GetName()] = true
		if n := len(e.GetValue()); maxSize >= 0 && int64(n) > maxSize {
			longest = max(longest, n)
			continue
		}
		entry(e.GetName())
		b = wire.AppendValue(b, e.GetValue(), s.utf8OK())
	}
	for _, n := range asked {
		if !there[n] {
			entry(n)
			b = append(b, "NIL"...)
		}
	}
	if len(b) == first {
		s.out.Give(b[:start])
		return longest
	}
	s.out.Give(append(b, ")\r\n"...))
	return longest
}

// setMetadata writes entries, all or nothing (RFC 5464 §4.3).
func (s *session) setMetadata(l *wire.Lexer) (reply, error) {
	l.Space()
	name := s.mailboxName(l)
	l.Space()
	var changes []*storev1.AnnotationChange
	tooLarge := false
	l.List(func() {
		c := &storev1.AnnotationChange{Name: entryName(l, false)}
		l.Space()
		value, there := l.Value()
		c.Value, c.Remove = slices.Clone(value), !there
		tooLarge = tooLarge || len(value) > metadataValueMax
		if changes = append(changes, c); len(changes) > metadataNamesMax {
			l.Fail("too many entries")
		}
	})
	if len(changes) == 0 {
		l.Fail("no entries")
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if tooLarge {
		return no(fmt.Sprintf("METADATA MAXSIZE %d", metadataValueMax), "value too large"), nil
	}
	return reply{}, s.changeMetadata(name, changes)
}

func (s *session) changeMetadata(name string, changes []*storev1.AnnotationChange) error {
	if s.svc.deps.Annotations == nil {
		return errNoMetadata
	}
	req := &storev1.SetAnnotationsRequest{Account: uint64(s.account), Actor: uint64(s.account), Changes: changes}
	if name == "" {
		if slices.ContainsFunc(changes, func(c *storev1.AnnotationChange) bool { return metadata.Below(c.GetName(), metadata.Shared) }) {
			return no("NOPERM", "shared entries of the server are the operator's")
		}
	} else {
		n, err := s.mailbox(name)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(changes, func(c *storev1.AnnotationChange) bool { return c.GetName() == specialUseEntry }) {
			return no("USEATTR", "a mailbox has its special use from CREATE")
		}
		req.Account, req.Mailbox = uint64(n.owner), n.GetId()
	}
	ctx, cancel := s.call()
	defer cancel()
	_, err := s.svc.deps.Annotations.SetAnnotations(ctx, req)
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return no("METADATA TOOMANY", "too many entries")
	case codes.OutOfRange:
		return no(fmt.Sprintf("METADATA MAXSIZE %d", metadataValueMax), "value too large")
	}
	if err == nil && s.following != nil {
		s.following.changedOwn(req.Mailbox, changes)
	}
	return err
}

// listMetadata asks for what LIST returns of entries (RFC 9590 §3), for all mailboxes of an account at once.
func (s *session) listMetadata(nodes []node, req *listRequest) (map[uint64][]*storev1.Annotation, error) {
	if req.metadata == nil {
		return nil, nil
	}
	if s.svc.deps.Annotations == nil {
		return nil, errNoMetadata
	}
	ids := map[mailbox.AccountID][]uint64{}
	for i := range nodes {
		if n := &nodes[i]; n.GetExists() && req.wants(n) {
			ids[n.owner] = append(ids[n.owner], n.GetId())
		}
	}
	noted := map[uint64][]*storev1.Annotation{}
	for owner, boxes := range ids {
		some, err := s.askMetadata(owner, boxes, &metadataRequest{names: req.metadata})
		if owner != s.account && (status.Code(err) == codes.NotFound || status.Code(err) == codes.PermissionDenied) {
			continue // nothing of it may be read
		}
		if err != nil {
			return nil, err
		}
		for id, entries := range some {
			noted[id] = entries
		}
	}
	return noted, nil
}
