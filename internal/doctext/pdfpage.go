package doctext

import (
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// pages writes the text of all pages, in the order of their objects.
func (p *pdf) pages() {
	var numbers []ref
	for n, o := range p.objects {
		if d, ok := o.(dict); ok && d["Type"] == name("Page") {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if p.left <= 0 || p.out.full() {
			return
		}
		page := p.objects[n].(dict)
		resources := p.inherited(page, "Resources")
		var content []byte
		switch c := p.value(page["Contents"]).(type) {
		case *stream:
			content = p.unpack(c)
		case []object:
			// One content in several streams (§7.8.2).
			for _, part := range c {
				if s, ok := p.value(part).(*stream); ok {
					content = append(append(content, p.unpack(s)...), '\n')
				}
			}
		}
		p.run(content, p.dictOf(resources), 0)
		p.out.space()
	}
}

// inherited is an attribute of a page, or of the nodes above it (§7.7.3.4).
func (p *pdf) inherited(page dict, key name) object {
	for range depthMax {
		if v := page[key]; v != nil {
			return v
		}
		if page = p.dictOf(page["Parent"]); page == nil {
			return nil
		}
	}
	return nil
}

const (
	// operandsMax is how many operands of one operator are kept.
	operandsMax = 64
	// formsMax is how many forms may lie within each other.
	formsMax = 4
	// runesMax is how many codes a font has, and targetMax how long the text of one is, octets.
	runesMax  = 1 << 16
	targetMax = 64
	// wordGap is how far apart parts of one TJ are that are different words, thousandths of the font's size.
	wordGap = 180
)

// run writes the text that a content stream shows (§9.4).
func (p *pdf) run(content []byte, resources dict, depth int) {
	l := &lexer{b: content}
	var operands []object
	var f *font
	last := func() object {
		if len(operands) == 0 {
			return nil
		}
		return operands[len(operands)-1]
	}
	for l.at < len(content) && !p.out.full() {
		o := l.next(0)
		op, ok := o.(operator)
		if !ok {
			if len(operands) < operandsMax {
				operands = append(operands, o)
			}
			continue
		}
		switch op {
		case "Tf":
			if len(operands) >= 2 {
				if n, ok := operands[len(operands)-2].(name); ok {
					f = p.font(p.dictOf(resources["Font"])[n])
				}
			}
		case "Tj", "'", "\"":
			if op != "Tj" {
				p.out.space()
			}
			if s, ok := last().(string); ok {
				p.show(f, s)
			}
		case "TJ":
			list, _ := last().([]object)
			for _, part := range list {
				switch v := part.(type) {
				case string:
					p.show(f, v)
				case float64:
					if v < -wordGap {
						p.out.space()
					}
				}
			}
		case "Td", "TD", "T*", "Tm", "ET", "BT":
			p.out.space()
		case "Do":
			if n, ok := last().(name); ok && depth < formsMax {
				p.form(p.dictOf(resources["XObject"])[n], resources, depth)
			}
		case "BI":
			// An inline image: octets that are no words.
			skipImage(l)
		}
		operands = operands[:0]
	}
}

// form runs a form (§8.10). p.left bounds how often.
func (p *pdf) form(o object, resources dict, depth int) {
	s, ok := p.value(o).(*stream)
	if !ok || s.dict["Subtype"] != name("Form") || p.left <= 0 {
		return
	}
	if own := p.dictOf(s.dict["Resources"]); own != nil {
		resources = own
	}
	p.run(p.unpack(s), resources, depth+1)
}

// skipImage goes behind EI.
func skipImage(l *lexer) {
	for l.at < len(l.b) {
		if l.next(0) == operator("EI") {
			return
		}
	}
}

// font is how the octets of a string become text.
type font struct {
	// wide has two octets for a character.
	wide bool
	// runes, of ToUnicode, say what characters are.
	runes map[uint16]string
	// left is how many codes may still be noted.
	left int
}

// font reads a font, and what its codes stand for once.
func (p *pdf) font(o object) *font {
	d := p.dictOf(o)
	f := &font{wide: d["Subtype"] == name("Type0")}
	r, ok := d["ToUnicode"].(ref) // a stream always is one
	if !ok {
		return f
	}
	if f.runes, ok = p.cmaps[r]; ok {
		return f
	}
	if s, ok := p.value(r).(*stream); ok {
		data := p.unpack(s)
		f.runes, f.left = map[uint16]string{}, min(2*runesMax, max(p.left, 0))
		p.left -= f.left
		f.toUnicode(data)
		p.left += max(f.left, 0)
	}
	p.cmaps[r] = f.runes
	return f
}

// toUnicode reads a CMap (§9.10.3): what single codes and ranges of them stand for.
func (f *font) toUnicode(cmap []byte) {
	l := &lexer{b: cmap}
	var args []object
	for l.at < len(cmap) && f.left > 0 {
		o := l.next(0)
		op, ok := o.(operator)
		if !ok {
			if len(args) < 3*runesMax {
				args = append(args, o)
			}
			continue
		}
		switch op {
		case "endbfchar":
			for ; len(args) >= 2; args = args[2:] {
				from, ok1 := args[0].(string)
				to, ok2 := args[1].(string)
				if f.left--; ok1 && ok2 {
					f.runes[code(from)] = utf16Text(to)
				}
			}
		case "endbfrange":
			for ; len(args) >= 3; args = args[3:] {
				first, ok1 := args[0].(string)
				last, ok2 := args[1].(string)
				if ok1 && ok2 {
					f.codes(code(first), code(last), args[2])
				}
			}
		}
		args = args[:0]
	}
}

// codes notes a range: to names the first's text, or that of each.
func (f *font) codes(first, last uint16, to object) {
	switch v := to.(type) {
	case string:
		if len(v) < 2 || len(v) > targetMax {
			return
		}
		base := []byte(v)
		for i := 0; i <= int(last)-int(first) && f.left > 0; i++ {
			f.left--
			n := uint16(base[len(base)-2])<<8 | uint16(base[len(base)-1])
			f.runes[first+uint16(i)] = utf16Text(string(base))
			n++
			base[len(base)-2], base[len(base)-1] = byte(n>>8), byte(n)
		}
	case []object:
		for i, o := range v {
			if s, ok := o.(string); ok && int(first)+i <= int(last) {
				f.runes[first+uint16(i)] = utf16Text(s)
				f.left--
			}
		}
	}
}

func code(s string) (n uint16) {
	for i := range len(s) {
		n = n<<8 | uint16(s[i])
	}
	return n
}

func utf16Text(s string) string {
	units := make([]uint16, min(len(s), targetMax)/2)
	for i := range units {
		units[i] = uint16(s[2*i])<<8 | uint16(s[2*i+1])
	}
	return string(utf16.Decode(units))
}

// show writes a string in a font. Without ToUnicode simple fonts are mostly in Windows' encoding, and others say nothing.
func (p *pdf) show(f *font, s string) {
	if f == nil {
		f = &font{}
	}
	step := 1
	if f.wide {
		step = 2
	}
	var room [utf8.UTFMax]byte
	for i := 0; i+step <= len(s) && !p.out.full(); i += step {
		c := code(s[i : i+step])
		if text, ok := f.runes[c]; ok {
			p.out.write([]byte(text))
		} else if !f.wide {
			p.out.write(room[:utf8.EncodeRune(room[:], charmap.Windows1252.DecodeByte(byte(c)))])
		}
	}
}
