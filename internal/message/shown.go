package message

// Items is a set of the items of ENVELOPE.
type Items uint16

// Has tells whether the n-th item is in the set; the first, the date, is 0.
func (s Items) Has(n int) bool { return s>>n&1 != 0 }

// itemOf is the item that shows a field; envItems for none.
var itemOf = func() (items [len(names)]envItem) {
	for n := range items {
		items[n] = envItems
	}
	for it, n := range envNames {
		items[n] = envItem(it)
	}
	return items
}()

// shown adds up the fields of a header that ENVELOPE shows.
type shown struct {
	count [envItems]int
	first [envItems]int64 // octets of the first field's value
	all   [envItems]int64 // octets of all values
}

func (s *shown) add(n name, octets int64) {
	it := itemOf[n]
	if it == envItems {
		return
	}
	if s.count[it]++; s.count[it] == 1 {
		s.first[it] = octets
	}
	s.all[it] += octets
}

// cut are the items of which the header may have more than an envelope of so many octets shows: where a limit of this package
// may have cut them, or some fields are not listed.
func (s *shown) cut(truncated bool, envelope int) Items {
	var cut Items
	for it := envDate; it < envItems; it++ {
		var may bool
		switch {
		case it.isAddresses():
			// What was left out of a list that is shorter than half the limit would have taken the other half, and an address takes no
			// more than twice its octets, but for a few.
			may = truncated || envelope > MaxAddressBytes/2 || s.all[it] > MaxAddressBytes/8
		case it == envDate:
			may = truncated && s.count[it] == 0
		default:
			may = truncated && s.count[it] == 0 || s.first[it] >= MaxString
		}
		if may {
			cut |= 1 << it
		}
	}
	return cut
}

// ShownOf tells of an encoded index of which items of ENVELOPE the header may have more than it shows, and that there is no
// more than one Subject field. All items, and false, where that is not known.
func ShownOf(encoded []byte) (cut Items, oneSubject bool) {
	const unknown = 1<<envItems - 1
	t, err := split(encoded)
	if err != nil {
		return unknown, false
	}
	var ix Index
	var s shown
	d := decoder{b: t.rest}
	d.numbers(&ix)
	d.skip()
	for n := d.count(MaxDeliveredTo, 1); n > 0; n-- {
		d.skip()
	}
	for n := d.count(MaxFields, 2); n > 0 && d.err == nil; n-- {
		code := d.uvarint()
		number := code >> fieldShift
		if number == uint64(nameOther) {
			d.skip()
		}
		if code&fieldGap != 0 {
			d.uvarint()
			d.uvarint()
		}
		if octets := d.uvarint(); number < uint64(len(names)) {
			s.add(name(number), int64(octets))
		}
	}
	if d.err != nil {
		return unknown, false
	}
	truncated := ix.Flags&Truncated != 0
	return s.cut(truncated, len(t.envelope)), !truncated && s.count[envSubject] <= 1
}

// skip passes over a string.
func (d *decoder) skip() {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail("string")
		return
	}
	d.b = d.b[n:]
}

// Cut are the items of which the header may have more, as readers see it, than their envelope shows.
func (v View) Cut(envelope []byte) Items {
	var s shown
	v.each(func(f Field) { s.add(numbers[f.Name], f.Value.Length) })
	return s.cut(v.Index.Flags&Truncated != 0, len(envelope))
}
