package mailauth

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Limits of a signature's tags.
const (
	// maxSigned is how many names an "h" tag has.
	maxSigned = 1000
	// clockSkew is how far a signature's time may lie ahead of ours.
	clockSkew = time.Hour
)

// parse reads the tags of a signature (RFC 6376 §3.5); it sets Value where it cannot be verified.
func (s *signature) parse(value string, now time.Time) {
	tags, err := parseTags(value)
	if err != nil {
		s.fail(PermError, err.Error())
		return
	}
	s.tags = tags
	s.Algorithm = tags.solid("a")
	s.Domain, _ = resolve.Name(tags.solid("d"))
	s.Selector, _ = resolve.Name(tags.solid("s"))
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if !tags.has(name) {
			s.fail(PermError, "signature without "+name+" tag")
			return
		}
	}
	if s.sig, err = base64.StdEncoding.DecodeString(tags.solid("b")); err != nil {
		s.fail(PermError, "signature is not base64")
		return
	}
	s.Signature = firstEight(s.sig)
	if s.sum, err = base64.StdEncoding.DecodeString(tags.solid("bh")); err != nil {
		s.fail(PermError, "body hash is not base64")
		return
	}
	s.check(now)
}

// check looks at what the tags say.
func (s *signature) check(now time.Time) {
	if s.tags.get("v", "") != "1" {
		s.fail(PermError, "signature of another version")
		return
	}
	switch s.Algorithm {
	case "rsa-sha256", "ed25519-sha256":
	case "rsa-sha1":
		s.fail(PermError, "SHA-1 is too weak") // RFC 8301 §3.1
		return
	default:
		s.fail(PermError, "unknown algorithm")
		return
	}
	if s.Domain == "" || s.Selector == "" {
		s.fail(PermError, "domain or selector is not a name")
		return
	}
	if s.Identity = s.tags.solid("i"); s.Identity != "" {
		if id := s.identityDomain(); id != s.Domain && !strings.HasSuffix(id, "."+s.Domain) {
			s.fail(PermError, "identity is not of the domain")
			return
		}
	}
	if !s.tags.allows("q", "dns/txt") {
		s.fail(PermError, "unknown query method")
		return
	}
	if !s.canonicalizations() || !s.signedFields() || !s.length() {
		return
	}
	s.times(now)
}

// identityDomain is the domain of the "i" tag, or the signing domain without one.
func (s *signature) identityDomain() string {
	at := strings.LastIndexByte(s.Identity, '@')
	if at < 0 {
		if s.Identity == "" {
			return s.Domain
		}
		return ""
	}
	name, err := resolve.Name(s.Identity[at+1:])
	if err != nil {
		return ""
	}
	return name
}

func (s *signature) canonicalizations() bool {
	header, body, _ := strings.Cut(s.tags.solid("c"), "/")
	for _, c := range []string{header, body} {
		if c != "" && c != "simple" && c != "relaxed" {
			s.fail(PermError, "unknown canonicalization")
			return false
		}
	}
	s.relaxed = header == "relaxed"
	return true
}

func (s *signature) signedFields() bool {
	list := s.tags.get("h", "")
	if strings.Count(list, ":") >= maxSigned {
		s.fail(PermError, "too many signed fields")
		return false
	}
	for name := range strings.SplitSeq(list, ":") {
		s.names = append(s.names, strings.ToLower(strings.Trim(name, fws)))
	}
	if !slices.Contains(s.names, "from") {
		s.fail(PermError, "From is not signed")
		return false
	}
	return true
}

func (s *signature) length() bool {
	if l, ok := s.tags.find("l"); ok {
		if n, err := strconv.ParseInt(squeeze(l.value), 10, 64); err != nil || n < 0 {
			s.fail(PermError, "malformed body length")
			return false
		}
	}
	return true
}

// times wants a signature that is neither expired nor from the future.
func (s *signature) times(now time.Time) {
	var at [2]int64
	for i, name := range []string{"t", "x"} {
		t, ok := s.tags.find(name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(squeeze(t.value), 10, 63)
		if err != nil {
			s.fail(PermError, "malformed "+name+" tag")
			return
		}
		at[i] = int64(n)
	}
	switch unix := now.Unix(); {
	case at[1] != 0 && at[1] <= at[0]:
		s.fail(PermError, "signature expires before it was made")
	case s.tags.has("x") && unix > at[1]:
		s.fail(Fail, "signature has expired")
	case at[0] > unix+int64(clockSkew/time.Second):
		s.fail(Fail, "signature is from the future")
	}
}
