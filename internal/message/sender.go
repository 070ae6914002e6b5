package message

// Sender is the first address of the From field as people read it: the name, decoded, and the address in angle brackets.
// Empty where there is none.
func (ix *Index) Sender() string {
	items, _ := envelopeItems(string(ix.envelope))
	r := wireReader{s: items[envFrom]}
	if list := r.take('('); !list || !r.take('(') {
		return ""
	}
	// Name, source route, mailbox and host (RFC 9051 §9, address).
	var parts [4]string
	for i := range parts {
		if i > 0 {
			r.expect(' ')
		}
		parts[i], _ = r.nstring()
	}
	if r.bad {
		return ""
	}
	address := parts[2]
	if parts[3] != "" {
		address += "@" + parts[3]
	}
	if name := DecodeWords(parts[0]); name != "" {
		return name + " <" + address + ">"
	}
	return address
}
