package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/mail"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
)

// ShownFolder is a folder of an account in a snapshot.
type ShownFolder struct {
	Name     string `json:"name"`
	Messages int64  `json:"messages"`
	Octets   int64  `json:"octets"`
}

// Folders tells the folders of an account in a snapshot.
func Folders(ctx context.Context, snap *repo.Snapshot, r *repo.Repo, address string) (list []ShownFolder, err error) {
	_, line, err := newRestore(snap, RestoreDeps{Repo: r}).lookUp(ctx, address)
	if err != nil || line.Rows == "" {
		return []ShownFolder{}, err
	}
	list = []ShownFolder{}
	err = readLines(ctx, r, line.Rows, func(fields map[string]json.RawMessage) error {
		if stringOf(fields, "table") != "mailbox" {
			return nil
		}
		f := ShownFolder{Name: stringOf(fields, "name")}
		if json.Unmarshal(fields["messages"], &f.Messages) != nil || json.Unmarshal(fields["size"], &f.Octets) != nil {
			return fmt.Errorf("%w: mailbox %s", ErrLine, f.Name)
		}
		list = append(list, f)
		return nil
	})
	return list, err
}

// ShownMessage is a message of a folder in a snapshot.
type ShownMessage struct {
	Email    uint64   `json:"-"`
	UID      uint32   `json:"uid"`
	Received string   `json:"received"`
	Size     int64    `json:"size"`
	Flags    []string `json:"flags"`
	From     string   `json:"from"`
	Subject  string   `json:"subject"`
}

// Messages tells the messages of a folder in a snapshot, one after the other.
func Messages(ctx context.Context, snap *repo.Snapshot, r *repo.Repo, address, folder string, each func(ShownMessage) error) error {
	rs := newRestore(snap, RestoreDeps{Repo: r})
	_, line, err := rs.lookUp(ctx, address)
	if err != nil || line.Rows == "" {
		return err
	}
	m := &merger{restore: rs, boxes: map[int64]*box{}}
	if err := m.learn(ctx, line.Rows); err != nil {
		return err
	}
	id := ""
	for _, b := range m.boxes {
		if b.Name == folder {
			id = fmt.Sprint(b.ID)
		}
	}
	if id == "" {
		return fmt.Errorf("account %s had no folder %s in snapshot %s", address, folder, snap.Name)
	}
	return readLines(ctx, r, line.Rows, func(fields map[string]json.RawMessage) error {
		if stringOf(fields, "table") != "chunk" || stringOf(fields, "mailbox") != id {
			return nil
		}
		var list []entry
		if err := json.Unmarshal(fields["messages"], &list); err != nil {
			return fmt.Errorf("%w: %w", ErrLine, err)
		}
		for _, e := range list {
			shown := ShownMessage{Email: e.Email, UID: e.UID, Received: e.Received, Size: e.Size, Flags: e.Flags}
			if err := m.header(ctx, &shown); err != nil {
				return err
			}
			if err := each(shown); err != nil {
				return err
			}
		}
		return nil
	})
}

// header reads sender and subject, as far as they can be read.
func (m *merger) header(ctx context.Context, s *ShownMessage) error {
	e, err := m.emails.find(ctx, s.Email)
	if err != nil || e.Missing != "" {
		return err
	}
	d, err := repo.ParseDigest(e.Body)
	if err != nil {
		return err
	}
	return m.Repo.Read(ctx, repo.Body, d, func(body io.Reader, _ int64) error {
		msg, err := mail.ReadMessage(io.LimitReader(body, 256<<10))
		if err != nil {
			return nil // it has no header that can be read
		}
		words := mime.WordDecoder{}
		s.From, s.Subject = msg.Header.Get("From"), msg.Header.Get("Subject")
		if text, err := words.DecodeHeader(s.From); err == nil {
			s.From = text
		}
		if text, err := words.DecodeHeader(s.Subject); err == nil {
			s.Subject = text
		}
		return nil
	})
}
