package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// journalName is the file beside mboxes that tells how far an export is. It goes with its end.
	journalName = "mailfarm-export.journal"
	// lockName is the file beside mboxes that an export holds while it writes there. It is left behind.
	lockName = ".mailfarm-export.lock"
	// journalFor is for how long an export that was cut off can go on: flags that were written are those of its begin.
	journalFor = 7 * 24 * time.Hour
)

// journal tells how far an export is: a line for whose it is and then, as it goes, one for the state of a file. Lines are durable
// behind what they tell of.
type journal struct {
	f      *os.File
	states map[string]*state
}

// head is a journal's first line: another run goes on only where all of it is the same.
type head struct {
	Version int    `json:"mailfarm_export"`
	Of      string `json:"of"`
	Dialect string `json:"dialect"`
}

// state is how far the file of a folder is.
type state struct {
	File        string `json:"file"`
	Folder      string `json:"folder"`
	UIDValidity uint32 `json:"uid_validity"`
	UIDNext     uint32 `json:"uid_next"`
	// Last is up to which UID messages are in the file, but for Missing.
	Last    uint32   `json:"last"`
	Missing []uint32 `json:"missing,omitempty"`
	// Octets of the file end behind a whole message. Numbers is where the last UID of the folder stands in it.
	Octets  int64 `json:"octets"`
	Numbers int64 `json:"numbers"`
	Done    bool  `json:"done,omitempty"`
}

// openJournal reads the journal of an export that was cut off, or begins one. Its caller has locked out other exports.
func openJournal(root string, h head) (*journal, error) {
	path := filepath.Join(root, journalName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, states: map[string]*state{}}
	if err := j.read(h); err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return j, syncDir(root)
}

// read takes the lines that are whole, and cuts off what is not.
func (j *journal) read(h head) error {
	text, err := io.ReadAll(j.f)
	if err != nil {
		return err
	}
	info, err := j.f.Stat()
	if err != nil {
		return err
	}
	var was head
	first, rest, whole := bytes.Cut(text, []byte("\n"))
	if !whole || json.Unmarshal(first, &was) != nil || was != h || time.Since(info.ModTime()) > journalFor {
		if err := j.cut(0); err != nil {
			return err
		}
		return j.line(h)
	}
	at := len(first) + 1
	for {
		line, more, whole := bytes.Cut(rest, []byte("\n"))
		var s state
		if !whole || json.Unmarshal(line, &s) != nil {
			return j.cut(int64(at))
		}
		j.states[s.File] = &s
		at, rest = at+len(line)+1, more
	}
}

func (j *journal) cut(at int64) error {
	if err := j.f.Truncate(at); err != nil {
		return err
	}
	_, err := j.f.Seek(at, io.SeekStart)
	return err
}

// put notes how far a file is, whose octets are durable.
func (j *journal) put(s *state) error {
	j.states[s.File] = s
	return j.line(s)
}

func (j *journal) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := j.f.Write(append(b, '\n')); err != nil {
		return err
	}
	return j.f.Sync()
}

// remove ends the journal.
func (j *journal) remove() error {
	return errors.Join(j.f.Close(), os.Remove(j.f.Name()), syncDir(filepath.Dir(j.f.Name())))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
