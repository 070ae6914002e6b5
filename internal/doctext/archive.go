package doctext

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
)

// entriesMax is how many files of an archive are looked at.
const entriesMax = 4096

// member is a file of a zip archive (APPNOTE.TXT 4.3.12).
type member struct {
	name   string
	method uint16
	packed []byte
}

// members lists the files of an archive by its central directory. archive/zip would hold as many entries as there are, which
// strangers decide.
func members(data []byte) (list []member) {
	const (
		endLen, dirLen, localLen = 22, 46, 30
		stored, deflated         = 0, 8
	)
	end := bytes.LastIndex(data, []byte("PK\x05\x06"))
	if end < 0 || end+endLen > len(data) {
		return nil
	}
	le := binary.LittleEndian
	dir := uint64(le.Uint32(data[end+16:]))
	for len(list) < entriesMax && dir+dirLen <= uint64(end) {
		e := data[dir:end]
		if le.Uint32(e) != 0x02014b50 {
			return list
		}
		name, extra, comment := uint64(le.Uint16(e[28:])), uint64(le.Uint16(e[30:])), uint64(le.Uint16(e[32:]))
		size, local := uint64(le.Uint32(e[20:])), uint64(le.Uint32(e[42:]))
		if dirLen+name > uint64(len(e)) {
			return list
		}
		m := member{name: string(e[dirLen : dirLen+name]), method: le.Uint16(e[10:])}
		dir += dirLen + name + extra + comment
		if local+localLen > uint64(len(data)) || le.Uint32(data[local:]) != 0x04034b50 || m.method != stored && m.method != deflated {
			continue
		}
		begin := local + localLen + uint64(le.Uint16(data[local+26:])) + uint64(le.Uint16(data[local+28:]))
		if begin+size <= uint64(len(data)) {
			m.packed = data[begin : begin+size]
			list = append(list, m)
		}
	}
	return list
}

// open reads the file, at most so much.
func (m *member) open(limit int64) io.Reader {
	var r io.Reader = bytes.NewReader(m.packed)
	if m.method != 0 {
		r = flate.NewReader(r)
	}
	return io.LimitReader(r, limit)
}
