package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
)

// Format is the version of what is written.
const Format = 1

// Snapshot is one backup.
type Snapshot struct {
	// Name is the file's, without its folder and ending.
	Name string `json:"-"`
	// Format is the version that wrote it.
	Format int `json:"format"`
	// Version is mailfarm's.
	Version string    `json:"version"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	// What it refers to are objects of kind Rows: of the directory, of the queue, and lists of accounts.
	Directory []string `json:"directory"`
	Queue     []string `json:"queue"`
	Accounts  []string `json:"accounts"`
	// Farm are the rows that belong to no account: limits of domains, and rules of domains and of all.
	Farm   string `json:"farm"`
	Counts Counts `json:"counts"`
	// Apart, where it is not empty, is why accounts are not as they were at one and the same moment, but each at one of its own.
	Apart string `json:"apart,omitempty"`
	// Missing are bodies that could not be read.
	Missing []Missing `json:"missing,omitempty"`
}

// Counts are of a whole backup.
type Counts struct {
	Accounts int   `json:"accounts"`
	Messages int64 `json:"messages"`
	Octets   int64 `json:"octets"`
	Queued   int64 `json:"queued"`
	// Rules are limits of domains, and rules of domains and of all; 0 in snapshots of before they were counted.
	Rules int64 `json:"rules"`
}

// Missing is a message whose body could not be read when the backup was made.
type Missing struct {
	Account uint64 `json:"account,string,omitempty"`
	Email   uint64 `json:"email,string,omitempty"`
	QueueID string `json:"queue_id,omitempty"`
	Reason  string `json:"reason"`
}

const timeLayout = "20060102T150405.000Z"

// Save writes a snapshot, behind everything that it refers to.
func (r *Repo) Save(ctx context.Context, s *Snapshot) error {
	if err := r.Flush(ctx); err != nil {
		return err
	}
	if err := r.about(ctx); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	sum := sha256.Sum256(b)
	s.Name = s.Began.UTC().Format(timeLayout) + "-" + hex.EncodeToString(sum[:8])
	if err := r.fault("snapshot"); err != nil {
		return err
	}
	if err := r.Put(ctx, snapshotName(s.Name), bytes.NewReader(b), int64(len(b))); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return r.fault("snapshot-written")
}

func snapshotName(name string) string { return "snapshots/" + name + ".json" }

// about leaves a word on how to read the repository.
func (r *Repo) about(ctx context.Context) error {
	body, err := r.Get(ctx, "README.txt", 0, -1)
	if err == nil {
		b, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err == nil && string(b) == readme {
			return nil
		}
	}
	if err := r.Put(ctx, "README.txt", strings.NewReader(readme), int64(len(readme))); err != nil {
		return fmt.Errorf("write README.txt: %w", err)
	}
	return nil
}

// Snapshots reads all, the oldest first. Those that cannot be read are told by the error, beside those that can.
func (r *Repo) Snapshots(ctx context.Context) (list []*Snapshot, err error) {
	files, err := r.List(ctx, "snapshots")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name, sealedSuffix) {
			return nil, fmt.Errorf("read snapshots of %s: %w: the secret key is needed", r, ErrSealed)
		}
		name, ok := strings.CutSuffix(strings.TrimPrefix(f.Name, "snapshots/"), ".json")
		if !ok {
			continue
		}
		s, e := r.snapshot(ctx, name)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, err
}

func (r *Repo) snapshot(ctx context.Context, name string) (*Snapshot, error) {
	body, err := r.Get(ctx, snapshotName(name), 0, -1)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(body, 64<<20))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", snapshotName(name), err)
	}
	sum := sha256.Sum256(b)
	if !strings.HasSuffix(name, "-"+hex.EncodeToString(sum[:8])) {
		return nil, fmt.Errorf("%s: %w: its digest is another one than its name says", snapshotName(name), ErrCorrupt)
	}
	s := &Snapshot{Name: name}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", snapshotName(name), ErrCorrupt, err)
	}
	if s.Format > Format {
		return nil, fmt.Errorf("%s was written by a later version (%s, format %d): read it by that one", snapshotName(name), s.Version, s.Format)
	}
	return s, nil
}

// At is the latest snapshot that had begun at a time; of the zero time the latest of all. ErrNotFound.
func (r *Repo) At(ctx context.Context, at time.Time) (*Snapshot, error) {
	list, err := r.Snapshots(ctx)
	for i := len(list) - 1; i >= 0; i-- {
		if at.IsZero() || !list[i].Began.After(at) {
			return list[i], nil
		}
	}
	if err != nil {
		return nil, err
	}
	if at.IsZero() || len(list) == 0 {
		return nil, fmt.Errorf("repository %s has no snapshot: %w", r, ErrNotFound)
	}
	return nil, fmt.Errorf("the earliest snapshot of repository %s is of %s: %w", r, list[0].Began.Local().Format("2006-01-02 15:04:05"), ErrNotFound)
}

// roots are the objects that a snapshot refers to itself.
func (s *Snapshot) roots() []string {
	all := append(append(append([]string{}, s.Directory...), s.Queue...), s.Accounts...)
	if s.Farm != "" {
		all = append(all, s.Farm)
	}
	return all
}
