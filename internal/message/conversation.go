package message

import "strings"

// Conversation are the message ids in an encoded index, without angle brackets: own is the message's, empty where it has none,
// and answers are those it answers or refers to, each once, the nearest first and at most limit of them; where there are
// more, the last one is the first of References, with which the conversation began. Nothing is told of an index of another
// version.
func Conversation(encoded []byte, limit int) (own string, answers []string) {
	t := texts(encoded)
	if t.envelope == nil {
		return "", nil
	}
	items, ok := envelopeItems(string(t.envelope))
	if !ok {
		return "", nil
	}
	id := func(it envItem) string {
		r := wireReader{s: items[it]}
		s, _ := r.nstring()
		return s
	}
	if ids := messageIDs(id(envMessageID)); len(ids) > 0 {
		own = ids[0]
	}
	add := func(id string) bool {
		if id == own {
			return true
		}
		for _, have := range answers {
			if have == id {
				return true
			}
		}
		answers = append(answers, id)
		return len(answers) < limit
	}
	for _, id := range messageIDs(id(envInReplyTo)) {
		if limit == 0 || !add(id) {
			return own, answers
		}
	}
	refs := messageIDs(string(t.refs))
	for i := len(refs) - 1; i >= 0; i-- {
		if limit == 0 || !add(refs[i]) {
			if limit > 0 && i > 0 {
				answers[limit-1] = refs[0]
			}
			break
		}
	}
	return own, answers
}

// messageIDs are what stands in angle brackets; a text without any, and without spaces, is one itself.
func messageIDs(s string) []string {
	var ids []string
	for rest := s; ; {
		open := strings.IndexByte(rest, '<')
		if open < 0 {
			break
		}
		rest = rest[open+1:]
		end := strings.IndexByte(rest, '>')
		if end < 0 {
			break
		}
		if id := strings.TrimSpace(rest[:end]); id != "" {
			ids = append(ids, id)
		}
		rest = rest[end+1:]
	}
	if s = strings.TrimSpace(s); ids == nil && s != "" && !strings.ContainsAny(s, "<> \t") {
		ids = append(ids, s)
	}
	return ids
}
