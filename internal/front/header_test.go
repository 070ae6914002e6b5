package front

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// binaryHeader is a header of version 2.
func binaryHeader(command, family byte, rest []byte) string {
	h := append([]byte(signature2), command, family)
	h = binary.BigEndian.AppendUint16(h, uint16(len(rest)))
	return string(append(h, rest...))
}

// addresses are those of a header of version 2: source, destination, ports, and what follows.
func addresses(source, destination string, more string) []byte {
	rest := append(netip.MustParseAddr(source).AsSlice(), netip.MustParseAddr(destination).AsSlice()...)
	return append(append(rest, 0xd4, 0x31, 0, 25), more...)
}

func TestReadHeader(t *testing.T) {
	for _, row := range []struct{ name, in, client, fault string }{
		{"1 IPv4", "PROXY TCP4 192.0.2.1 198.51.100.1 54321 25\r\n", "192.0.2.1", ""},
		{"1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 54321 25\r\n", "2001:db8::1", ""},
		{"1 IPv4 within IPv6", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 54321 25\r\n", "192.0.2.1", ""},
		{"1 unknown", "PROXY UNKNOWN\r\n", "none", ""},
		{"1 unknown with more", "PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", "none", ""},
		{"1 address of the other family", "PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n", "", "no address of TCP4"},
		{"1 no address", "PROXY TCP4 192.0.2 198.51.100.1 1 25\r\n", "", `"192.0.2" is no address`},
		{"1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 25\r\n", "", "no address of TCP6"},
		{"1 no port", "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n", "", `"65536" is no port`},
		{"1 two spaces", "PROXY TCP4  192.0.2.1 198.51.100.1 1 25\r\n", "", "not TCP4"},
		{"1 UDP", "PROXY UDP4 192.0.2.1 198.51.100.1 1 25\r\n", "", "not TCP4"},
		{"1 longest", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", "none", ""},
		{"1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", "", "longer than 107"},
		{"1 cut", "PROXY TCP4 192.0.2.1 198", "", "EOF"},
		{"2 IPv4", binaryHeader(0x21, 0x11, addresses("192.0.2.1", "198.51.100.1", "")), "192.0.2.1", ""},
		{"2 IPv6", binaryHeader(0x21, 0x21, addresses("2001:db8::1", "2001:db8::2", "")), "2001:db8::1", ""},
		{"2 extensions", binaryHeader(0x21, 0x11, addresses("192.0.2.1", "198.51.100.1", strings.Repeat("e", 3000))), "192.0.2.1", ""},
		{"2 too long", binaryHeader(0x21, 0x11, addresses("192.0.2.1", "198.51.100.1", strings.Repeat("e", 5000))), "", "of which 4096"},
		{"2 LOCAL", binaryHeader(0x20, 0x00, nil), "none", ""},
		{"2 LOCAL with addresses", binaryHeader(0x20, 0x11, addresses("192.0.2.1", "198.51.100.1", "")), "none", ""},
		{"2 unspecified", binaryHeader(0x21, 0x00, []byte("whatever")), "none", ""},
		{"2 UDP", binaryHeader(0x21, 0x12, addresses("192.0.2.1", "198.51.100.1", "")), "", "not TCP's"},
		{"2 Unix", binaryHeader(0x21, 0x31, make([]byte, 216)), "", "not TCP's"},
		{"2 short", binaryHeader(0x21, 0x11, make([]byte, 11)), "", "too few"},
		{"2 other version", binaryHeader(0x11, 0x11, addresses("192.0.2.1", "198.51.100.1", "")), "", "unknown"},
		{"2 other command", binaryHeader(0x22, 0x11, addresses("192.0.2.1", "198.51.100.1", "")), "", "unknown"},
		{"2 cut", binaryHeader(0x21, 0x11, addresses("192.0.2.1", "198.51.100.1", ""))[:20], "", "EOF"},
		{"a command", "EHLO client.example\r\n", "", "no PROXY header"},
		{"a handshake", "\x16\x03\x01\x02\x00\x01\x00", "", "no PROXY header"},
		{"nothing", "", "", "EOF"},
		{"its beginning", "PROX", "", "EOF"},
	} {
		for _, pieces := range []struct {
			name string
			of   func(io.Reader) io.Reader
		}{
			{"whole", func(r io.Reader) io.Reader { return r }}, {"octet by octet", iotest.OneByteReader},
		} {
			t.Run(row.name+" "+pieces.name, func(t *testing.T) {
				const behind = "EHLO"
				all := strings.NewReader(row.in)
				if row.fault == "" {
					all = strings.NewReader(row.in + behind)
				}
				h, read, err := readHeader(pieces.of(all))
				if row.fault != "" {
					if err == nil || !strings.Contains(err.Error(), row.fault) {
						t.Errorf("%q: got %v, %v; want an error with %q", row.in, h, err, row.fault)
					}
					if errors.Is(err, errNoHeader) && !strings.HasPrefix(row.in, string(read)) {
						t.Errorf("%q: gives back %q", row.in, read)
					}
					return
				}
				if err != nil {
					t.Fatalf("%q: %v", row.in, err)
				}
				if want := row.client; want == "none" && h.client.IsValid() || want != "none" && h.client.String() != want {
					t.Errorf("%q: got client %v, want %s", row.in, h.client, want)
				}
				if rest, _ := io.ReadAll(all); string(rest) != behind {
					t.Errorf("%q: leaves %q, want %q", row.in, rest, behind)
				}
			})
		}
	}
}

// FuzzReadHeader: a header is read the same whole and in pieces, nothing behind it is taken, and a client that is told is
// one that stands there.
func FuzzReadHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 54321 25\r\nEHLO x\r\n", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "PROXY UNKNOWN\r\n",
		binaryHeader(0x21, 0x11, addresses("192.0.2.1", "198.51.100.1", "ext")) + "EHLO", binaryHeader(0x20, 0, nil),
		binaryHeader(0x21, 0x21, addresses("2001:db8::1", "2001:db8::2", "")), "EHLO x\r\n", signature2,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := bytes.NewReader(in)
		h, read, err := readHeader(whole)
		pieces := bytes.NewReader(in)
		h2, _, err2 := readHeader(iotest.OneByteReader(pieces))
		if h != h2 || (err == nil) != (err2 == nil) || err == nil && whole.Len() != pieces.Len() {
			t.Fatalf("%q: whole %v, %v with %d left; in pieces %v, %v with %d left", in, h, err, whole.Len(), h2, err2, pieces.Len())
		}
		if taken := len(in) - whole.Len(); taken > 16+maxHeader2 {
			t.Fatalf("%q: took %d octets", in, taken)
		}
		if errors.Is(err, errNoHeader) && !bytes.HasPrefix(in, read) {
			t.Fatalf("%q: gives back %q", in, read)
		}
		if err != nil || !h.client.IsValid() {
			return
		}
		if h.client.Zone() != "" || h.client.Is4In6() || !startsLike(in, signature1) && !startsLike(in, signature2) {
			t.Fatalf("%q: client %v", in, h.client)
		}
	})
}
