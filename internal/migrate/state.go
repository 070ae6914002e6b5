package migrate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/imapsource"
	"github.com/mailfarm/mailfarm/internal/importer"
)

// saved is the state of a folder as it lies in a file.
type saved struct {
	Version int    `json:"version"`
	Source  string `json:"source"`
	User    string `json:"user"`
	Folder  string `json:"folder"`
	// UIDValidity, UIDNext, ModSeq and Messages are what the source told when the last pass was done.
	UIDValidity uint32 `json:"uid_validity"`
	UIDNext     uint32 `json:"uid_next"`
	ModSeq      uint64 `json:"modseq"`
	Messages    uint32 `json:"messages"`
	// Complete tells that this pass left nothing.
	Complete bool `json:"complete"`
	// Account, Target, Mailbox and TargetValidity are where the messages are.
	Account        string `json:"account"`
	Target         string `json:"target"`
	Mailbox        uint64 `json:"mailbox"`
	TargetValidity uint32 `json:"target_uid_validity"`
	Subscribed     bool   `json:"subscribed"`
	ACL            string `json:"acl"`
	Sets           []set  `json:"sets"`
}

// set are messages that were brought, and had the same flags there when they were looked at last.
type set struct {
	// Unknown tells that these are in the store, and nobody knows with which flags they came.
	Unknown bool     `json:"unknown,omitempty"`
	Flags   []string `json:"flags"`
	UIDs    string   `json:"uids"`
}

const stateVersion = 1

// state is what is known of a folder.
type state struct {
	saved
	path string
	// known are the messages that were brought, with what flags they had there: an index into flags.
	known map[uint32]int32
	flags flagTable
}

// unknownFlags is the place of a message that came by a pass whose state is lost.
const unknownFlags = -1

// flagTable numbers sets of flags, of which a folder has few.
type flagTable struct {
	byKey map[string]int32
	list  [][]string
}

// number is a set's; what IMAP cannot have, and \Recent, are left out.
func (t *flagTable) number(names []string) int32 {
	kept, _ := importer.Flags(names)
	kept = slices.Clone(kept)
	slices.SortFunc(kept, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	kept = slices.CompactFunc(kept, strings.EqualFold)
	key := strings.ToLower(strings.Join(kept, " "))
	n, ok := t.byKey[key]
	if !ok {
		if t.byKey == nil {
			t.byKey = map[string]int32{}
		}
		n = int32(len(t.list))
		t.byKey[key], t.list = n, append(t.list, kept)
	}
	return n
}

func (t *flagTable) names(n int32) []string {
	if n == unknownFlags {
		return nil
	}
	return t.list[n]
}

// identity is what a folder's messages are known by, together with UIDVALIDITY and UID.
func identity(source, user, folder string) []byte {
	sum := sha256.Sum256([]byte(source + "\x00" + user + "\x00" + folder))
	return sum[:16]
}

// key is what the store knows a message by.
func (s *state) key(uid uint32) []byte {
	b := append([]byte("imap:"), identity(s.Source, s.User, s.Folder)...)
	b = binary.BigEndian.AppendUint32(b, s.UIDValidity)
	return binary.BigEndian.AppendUint32(b, uid)
}

func statePath(dir string, a *Account) string {
	sum := sha256.Sum256([]byte(a.Source + "\x00" + a.Login.User + "\x00" + strings.ToLower(a.Target)))
	return filepath.Join(dir, hex.EncodeToString(sum[:12]))
}

// load reads the state of a folder; one that cannot be read is as if there were none.
func load(dir string, a *Account, folder string) (*state, error) {
	s := &state{path: filepath.Join(dir, hex.EncodeToString(identity(a.Source, a.Login.User, folder))+".json"), known: map[uint32]int32{}}
	err := s.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		s.saved, s.known, s.flags = saved{}, map[uint32]int32{}, flagTable{}
	}
	s.Version, s.Source, s.User, s.Folder, s.Account = stateVersion, a.Source, a.Login.User, folder, a.Target
	return s, err
}

func (s *state) read() error {
	text, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &s.saved); err != nil {
		return fmt.Errorf("read state %s: %w", s.path, err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("read state %s: version %d is not known", s.path, s.Version)
	}
	for _, set := range s.Sets {
		uids, err := imapsource.ParseSet(set.UIDs, maxMessages)
		if err != nil {
			return fmt.Errorf("read state %s: %w", s.path, err)
		}
		n := int32(unknownFlags)
		if !set.Unknown {
			n = s.flags.number(set.Flags)
		}
		for _, uid := range uids {
			s.known[uid] = n
		}
	}
	s.Sets = nil
	return nil
}

// save writes the state so that a crash leaves the old one or the new.
func (s *state) save() error {
	bySet := map[int32][]uint32{}
	for uid, n := range s.known {
		bySet[n] = append(bySet[n], uid)
	}
	out := s.saved
	for _, n := range slices.Sorted(maps.Keys(bySet)) {
		slices.Sort(bySet[n])
		out.Sets = append(out.Sets, set{Unknown: n == unknownFlags, Flags: s.flags.names(n), UIDs: imapsource.Set(bySet[n])})
	}
	text, err := json.Marshal(&out)
	if err != nil {
		return err
	}
	if err := replace(s.path, append(text, '\n')); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func replace(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// forgotten are the folders in dir that have state and are not listed.
func forgotten(dir string, listed []*imapsource.Folder) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var s saved
		if json.Unmarshal(text, &s) == nil && !slices.ContainsFunc(listed, func(f *imapsource.Folder) bool { return f.Raw == s.Folder }) {
			names = append(names, s.Folder)
		}
	}
	return names, nil
}
