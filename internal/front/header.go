package front

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol, versions 1 and 2: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt.
const (
	// signature1 begins a header of version 1, a line; signature2 one of version 2, which has 16 octets and what they count.
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	// maxHeader1 is the longest line with its CRLF.
	maxHeader1 = 107
	// maxHeader2 is the longest rest of a header of version 2 that is read: addresses, and extensions that say nothing here.
	maxHeader2 = 4 << 10
)

// errNoHeader tells that what came first is no PROXY header.
var errNoHeader = errors.New("no PROXY header")

// header is what a PROXY header tells: the client, or the zero Addr where the proxy speaks for itself (LOCAL) or does not
// know (UNKNOWN, UNSPEC).
type header struct{ client netip.Addr }

// readHeader reads one header and no octet behind it. With an error, read is what was read until it was seen.
func readHeader(r io.Reader) (h header, read []byte, err error) {
	buf := make([]byte, 0, maxHeader1)
	for len(buf) < len(signature2) {
		// No header is shorter than 15 octets, so that this takes nothing of what comes behind one.
		n, err := r.Read(buf[len(buf):len(signature2)])
		buf = buf[:len(buf)+n]
		first, second := startsLike(buf, signature1), startsLike(buf, signature2)
		switch {
		case !first && !second:
			return header{}, buf, fmt.Errorf("%w but %q", errNoHeader, buf)
		case err != nil && len(buf) < len(signature2):
			return header{}, buf, fmt.Errorf("PROXY header after %d octets: %w", len(buf), err)
		case first && len(buf) == len(signature2):
			return readLine(r, buf)
		}
	}
	return readBinary(r, buf)
}

// startsLike tells whether octets and signature are alike as far as both go.
func startsLike(octets []byte, signature string) bool {
	n := min(len(octets), len(signature))
	return string(octets[:n]) == signature[:n]
}

// readLine reads the rest of a header of version 1, octet by octet so as to stop in time.
func readLine(r io.Reader, buf []byte) (header, []byte, error) {
	for !bytes.HasSuffix(buf, []byte("\r\n")) {
		if len(buf) == maxHeader1 {
			return header{}, buf, fmt.Errorf("PROXY header: line longer than %d octets", maxHeader1)
		}
		if _, err := io.ReadFull(r, buf[len(buf):len(buf)+1]); err != nil {
			return header{}, buf, fmt.Errorf("PROXY header after %d octets: %w", len(buf), err)
		}
		buf = buf[:len(buf)+1]
	}
	h, err := parseLine(string(buf[len(signature1) : len(buf)-2]))
	return h, buf, err
}

// parseLine reads what is between the signature and CRLF.
func parseLine(line string) (header, error) {
	if line == "UNKNOWN" || strings.HasPrefix(line, "UNKNOWN ") {
		return header{}, nil
	}
	fields := strings.Split(line, " ")
	if len(fields) != 5 || fields[0] != "TCP4" && fields[0] != "TCP6" {
		return header{}, fmt.Errorf("PROXY header %q: not TCP4 or TCP6 with two addresses and ports", line)
	}
	var client netip.Addr
	for i, text := range fields[1:3] {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" || addr.Is4() != (fields[0] == "TCP4") {
			return header{}, fmt.Errorf("PROXY header %q: %q is no address of %s", line, text, fields[0])
		}
		if i == 0 {
			client = addr.Unmap()
		}
	}
	for _, text := range fields[3:] {
		if _, err := strconv.ParseUint(text, 10, 16); err != nil {
			return header{}, fmt.Errorf("PROXY header %q: %q is no port", line, text)
		}
	}
	return header{client}, nil
}

// readBinary reads the rest of a header of version 2.
func readBinary(r io.Reader, buf []byte) (header, []byte, error) {
	fail := func(format string, args ...any) (header, []byte, error) {
		return header{}, buf, fmt.Errorf("PROXY header: "+format, args...)
	}
	fixed := buf[:16]
	if _, err := io.ReadFull(r, fixed[len(buf):]); err != nil {
		return fail("%w", err)
	}
	command, family, length := fixed[12], fixed[13], int(binary.BigEndian.Uint16(fixed[14:]))
	if command != 0x20 && command != 0x21 {
		return fail("version and command %#x are unknown", command)
	}
	if length > maxHeader2 {
		return fail("%d octets, of which %d at most are read", length, maxHeader2)
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return fail("%w", err)
	}
	if command == 0x20 {
		return header{}, buf, nil // LOCAL: the rest says nothing.
	}
	size := map[byte]int{0x11: 4, 0x21: 16}[family] // over TCP; IPv4 and IPv6
	switch {
	case family == 0x00:
		return header{}, buf, nil
	case size == 0:
		return fail("address family and protocol %#x are not TCP's", family)
	case length < 2*size+4:
		return fail("%d octets are too few for the addresses of family %#x", length, family)
	}
	client, _ := netip.AddrFromSlice(rest[:size])
	return header{client.Unmap()}, buf, nil
}
