package doctext

import (
	"bytes"
	"compress/zlib"
	"io"
	"strconv"
)

// object is one of PDF (ISO 32000 §7.3): float64, string, name, ref, []object, dict, or nil for what is none of these.
type object any

type (
	name string
	// ref is the number of an indirect object; generations are passed over.
	ref  int
	dict map[name]object
	// operator is a word that is no object: what a content stream does.
	operator string
)

// stream is a dictionary with octets behind it, packed.
type stream struct {
	dict dict
	data []byte
}

const (
	// objectsMax is how many numbered objects of a PDF are looked at, elementsMax how many an array or dictionary has, and
	// nodesMax how many there are in all.
	objectsMax  = 200_000
	elementsMax = 100_000
	nodesMax    = 1 << 20
	// unpackCost is what unpacking a stream costs beside its octets.
	unpackCost = 512
	// trailersMax is how many trailers are looked at.
	trailersMax = 16
)

// pdf is a document: all its objects, found by going through it from begin to end. The last one of a number counts, as in a
// document that was added to. The cross-reference table, which may be damaged, is not needed for that.
type pdf struct {
	objects map[ref]object // stream: with octets
	left    int            // octets that may still be unpacked or gone through
	nodes   int            // objects that may still be kept
	out     output
	cmaps   map[ref]map[uint16]string // of fonts
}

// pdfText is the text of a PDF. One that is encrypted has none.
func pdfText(data []byte) []byte {
	p := &pdf{objects: map[ref]object{}, left: unpackMax, nodes: nodesMax, cmaps: map[ref]map[uint16]string{}}
	p.scan(data)
	if p.encrypted(data) {
		return nil
	}
	p.unpackObjects()
	p.pages()
	return p.out.b.Bytes()
}

// encrypted tells whether a trailer says so: its dictionary, or that of a cross-reference stream.
func (p *pdf) encrypted(data []byte) bool {
	rest := data
	for range trailersMax {
		_, behind, found := bytes.Cut(rest, []byte("trailer"))
		if !found {
			break
		}
		l := &lexer{b: behind, nodes: &p.nodes}
		if d, ok := l.next(0).(dict); ok && d["Encrypt"] != nil {
			return true
		}
		rest = behind
	}
	for _, o := range p.objects {
		if s, ok := o.(*stream); ok && s.dict["Type"] == name("XRef") && s.dict["Encrypt"] != nil {
			return true
		}
	}
	return false
}

var objWord, streamWord, endWord = []byte("obj"), []byte("stream"), []byte("endstream")

// scan finds all indirect objects: "12 0 obj".
func (p *pdf) scan(data []byte) {
	for at := 0; len(p.objects) < objectsMax; {
		i := bytes.Index(data[at:], objWord)
		if i < 0 {
			return
		}
		i += at
		at = i + len(objWord)
		number, ok := numberBefore(data, i)
		if !ok {
			continue
		}
		l := &lexer{b: data, at: at, nodes: &p.nodes}
		o := l.next(0)
		if _, isEnd := o.(operator); isEnd {
			continue
		}
		at = max(at, l.at)
		if d, ok := o.(dict); ok {
			if body, end := streamBody(data, l.at, d); body != nil {
				p.objects[ref(number)] = &stream{d, body}
				at = end
				continue
			}
		}
		p.objects[ref(number)] = o
	}
}

// numberBefore reads "12 0 " that ends at i.
func numberBefore(data []byte, i int) (int, bool) {
	field := func() (string, bool) {
		for i > 0 && isBlank(data[i-1]) {
			i--
		}
		end := i
		for i > 0 && end-i < 10 && data[i-1] >= '0' && data[i-1] <= '9' {
			i--
		}
		return string(data[i:end]), end > i
	}
	if i == 0 || !isBlank(data[i-1]) {
		return 0, false
	}
	if _, ok := field(); !ok {
		return 0, false
	}
	digits, ok := field()
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// streamBody is what lies between "stream" and "endstream": as long as the dictionary says, or up to the next such word.
func streamBody(data []byte, at int, d dict) (body []byte, end int) {
	for at < len(data) && isBlank(data[at]) {
		at++
	}
	if !bytes.HasPrefix(data[at:], streamWord) {
		return nil, 0
	}
	at += len(streamWord)
	if at < len(data) && data[at] == '\r' {
		at++
	}
	if at < len(data) && data[at] == '\n' {
		at++
	}
	if n, ok := d["Length"].(float64); ok && n >= 0 && at+int(min(n, DocumentMax)) <= len(data) {
		end := at + int(min(n, DocumentMax))
		if bytes.Contains(data[end:min(end+24, len(data))], endWord) {
			return data[at:end:end], end
		}
	}
	i := bytes.Index(data[at:], endWord)
	if i < 0 {
		return data[at:], len(data)
	}
	return data[at : at+i : at+i], at + i
}

// unpack gives a stream's octets. Filters other than deflation are of images, or rare.
func (p *pdf) unpack(s *stream) []byte {
	var filters []object
	switch f := p.value(s.dict["Filter"]).(type) {
	case name:
		filters = []object{f}
	case []object:
		filters = f
	}
	data := s.data
	if len(filters) > 1 || len(filters) == 1 && p.value(filters[0]) != name("FlateDecode") {
		return nil
	}
	if len(filters) == 1 {
		r, err := zlib.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil
		}
		// What came before damage is kept.
		var b bytes.Buffer
		b.ReadFrom(io.LimitReader(r, int64(max(p.left, 0))))
		data = b.Bytes()
	}
	data = data[:min(len(data), max(p.left, 0))]
	p.left -= len(data) + unpackCost
	return data
}

// unpackObjects finds the objects that lie in streams (§7.5.7). One that stands by itself counts more.
func (p *pdf) unpackObjects() {
	var packed []*stream
	for _, o := range p.objects {
		if s, ok := o.(*stream); ok && s.dict["Type"] == name("ObjStm") {
			packed = append(packed, s)
		}
	}
	for _, s := range packed {
		n, _ := s.dict["N"].(float64)
		first, _ := s.dict["First"].(float64)
		data := p.unpack(s)
		if first < 0 || int(first) > len(data) {
			continue
		}
		head := &lexer{b: data[:int(first)]}
		for range int(min(n, objectsMax)) {
			number, ok1 := head.next(0).(float64)
			offset, ok2 := head.next(0).(float64)
			if !ok1 || !ok2 || offset < 0 || int(first)+int(offset) > len(data) || len(p.objects) >= objectsMax {
				break
			}
			if _, there := p.objects[ref(number)]; !there {
				l := &lexer{b: data, at: int(first) + int(offset), nodes: &p.nodes}
				p.objects[ref(number)] = l.next(0)
				if p.left -= l.at - int(first) - int(offset); p.left <= 0 {
					return
				}
			}
		}
	}
}

// value follows a reference.
func (p *pdf) value(o object) object {
	for range depthMax {
		r, ok := o.(ref)
		if !ok {
			return o
		}
		o = p.objects[r]
	}
	return nil
}

// dictOf is a value that is a dictionary, or the one of a stream.
func (p *pdf) dictOf(o object) dict {
	switch v := p.value(o).(type) {
	case dict:
		return v
	case *stream:
		return v.dict
	}
	return nil
}
