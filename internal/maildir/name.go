package maildir

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64Names is that of mailbox names: "," for "/", no padding (RFC 3501 §5.1.3).
var base64Names = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// FolderName is the mailbox that a Maildir++ directory ".A.B" stands for: "A/B". Levels are in modified UTF-7, or in UTF-8
// where they have other octets than ASCII. A "/" within a level becomes "_".
func FolderName(directory string) string {
	levels := strings.Split(strings.TrimPrefix(directory, "."), ".")
	for i, l := range levels {
		levels[i] = strings.ReplaceAll(DecodeName(l), "/", "_")
	}
	return strings.Join(levels, "/")
}

const (
	// maxComponent is the longest name that file systems take, octets.
	maxComponent = 255
	// leastDigest is how many hexadecimal digits tell names apart at least, moreDigest how many are added where that is not enough.
	leastDigest = 16
	moreDigest  = 8
)

// directoryName is the Maildir++ directory of a mailbox. Where none can have its name, which is too long or has a "." within a
// level, it is much like it and ends in a digest; exact tells that it is the name. Of those with a digest try chooses one.
func directoryName(mailbox string, try int) (name string, exact bool) {
	name = "." + strings.ReplaceAll(EncodeName(strings.ReplaceAll(mailbox, ".", "_")), "/", ".")
	if try == 0 && len(name) <= maxComponent && FolderName(name) == mailbox {
		return name, true
	}
	return Shorten(name, mailbox, 120, try), false
}

// Shorten makes a name of at most max octets, and a digest of what it stands for behind. The larger try, the longer the digest.
func Shorten(name, of string, max, try int) string {
	for len(name) > max {
		name = strings.ToValidUTF8(name[:max], "")
	}
	if i := strings.LastIndexByte(name, '&'); i >= 0 && !strings.Contains(name[i:], "-") {
		name = name[:i] // the begin of a run of modified UTF-7
	}
	sum := sha256.Sum256([]byte(of))
	digits := hex.EncodeToString(sum[:])
	return name + "-" + digits[:min(leastDigest+moreDigest*try, len(digits))]
}

// Shortened tells whether a name ends in a digest of what it is said to stand for.
func Shortened(name, of string) bool {
	sum := sha256.Sum256([]byte(of))
	i := strings.LastIndexByte(name, '-')
	return i >= 0 && len(name)-i-1 >= leastDigest && strings.HasPrefix(hex.EncodeToString(sum[:]), name[i+1:])
}

// nameFile tells in a folder which mailbox it is of, as its directory's name may not.
const nameFile = "mailfarm-folder"

// folderOf is what it says. Directory is the name that the directory had: where it has another one, it was renamed since.
type folderOf struct {
	Directory string `json:"directory"`
	Mailbox   string `json:"mailbox"`
}

// readFolderOf reads it; empty where there is none.
func readFolderOf(fsys fs.FS, dir string) (of folderOf, err error) {
	f, err := fsys.Open(join(dir, nameFile))
	if errors.Is(err, fs.ErrNotExist) {
		return of, nil
	}
	if err != nil {
		return of, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err == nil {
		err = json.Unmarshal(b, &of)
	}
	if err != nil {
		return folderOf{}, fmt.Errorf("%s: %w", join(dir, nameFile), err)
	}
	return of, nil
}

// Ours tells of a directory that an export has made for a folder.
func Ours(fsys fs.FS, dir string) bool {
	of, err := readFolderOf(fsys, dir)
	return err == nil && of.Mailbox != ""
}

// Mailbox is the mailbox that a Maildir++ directory ".A.B" stands for: what an export has noted there, or "A/B"; noted tells
// which. The error tells why a note was not read.
func Mailbox(fsys fs.FS, dir string) (name string, noted bool, err error) {
	of, err := readFolderOf(fsys, dir)
	if of.Mailbox != "" && of.Directory == path.Base(dir) {
		return of.Mailbox, true, nil
	}
	return FolderName(path.Base(dir)), false, err
}

// DecodeName reads modified UTF-7; what is none is what it is.
func DecodeName(s string) string {
	if !strings.Contains(s, "&") {
		return strings.ToValidUTF8(s, "_")
	}
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, "&")
		b.WriteString(plain)
		if !found {
			break
		}
		coded, after, closed := strings.Cut(rest, "-")
		text, ok := decodeRun(coded)
		if !closed || !ok {
			b.WriteByte('&') // no modified UTF-7 after all
			s = rest
			continue
		}
		b.WriteString(text)
		s = after
	}
	return strings.ToValidUTF8(b.String(), "_")
}

func decodeRun(coded string) (string, bool) {
	if coded == "" {
		return "&", true
	}
	raw, err := base64Names.DecodeString(coded)
	if err != nil || len(raw)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	text := string(utf16.Decode(units))
	return text, !strings.ContainsRune(text, utf8.RuneError)
}

// EncodeName writes modified UTF-7.
func EncodeName(s string) string {
	var b strings.Builder
	var run []uint16
	flush := func() {
		if len(run) == 0 {
			return
		}
		raw := make([]byte, 0, 2*len(run))
		for _, u := range run {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteString("&" + base64Names.EncodeToString(raw) + "-")
		run = run[:0]
	}
	for _, r := range s {
		switch {
		case r == '&':
			flush()
			b.WriteString("&-")
		case r >= ' ' && r < 0x7f:
			flush()
			b.WriteRune(r)
		default:
			run = utf16.AppendRune(run, r)
		}
	}
	flush()
	return b.String()
}
