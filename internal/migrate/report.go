package migrate

import (
	"time"

	"github.com/mailfarm/mailfarm/internal/importer"
)

// maxListed is how many messages that were left, and how many notes, an account tells one by one.
const maxListed = 10_000

// Report tells what a pass did.
type Report struct {
	Began    time.Time        `json:"began"`
	DryRun   bool             `json:"dry_run"`
	Accounts []*AccountReport `json:"accounts"`
	Counts
	// Failed are accounts that were not brought to their end.
	Failed  int            `json:"failed_accounts"`
	Reasons map[string]int `json:"reasons"`
}

// Counts are of messages.
type Counts struct {
	// There and Here are how many messages the folders have, and how many octets; -1: the source does not tell.
	There       int64 `json:"messages_there"`
	Here        int64 `json:"messages_here"`
	OctetsThere int64 `json:"octets_there"`
	OctetsHere  int64 `json:"octets_here"`
	// Brought are new in this pass, and Octets theirs.
	Brought int   `json:"brought"`
	Octets  int64 `json:"octets_brought"`
	// Removed were brought by an earlier pass and removed or moved here since; they are not brought again.
	Removed int `json:"removed_here"`
	// Left were not brought; Left lists tell why.
	Left int `json:"left_count"`
	// Flagged had their flags changed as they were there.
	Flagged int `json:"flags_changed"`
	// GoneThere were brought and are not there any more; Deleted of them were deleted here.
	GoneThere int `json:"gone_there"`
	Deleted   int `json:"deleted"`
	// Verified have the same digest there and here.
	Verified int `json:"verified"`
}

func (c *Counts) add(o *Counts) {
	c.There += o.There
	c.Here += o.Here
	c.OctetsHere += o.OctetsHere
	if c.OctetsThere < 0 || o.OctetsThere < 0 {
		c.OctetsThere = -1
	} else {
		c.OctetsThere += o.OctetsThere
	}
	c.Brought += o.Brought
	c.Octets += o.Octets
	c.Removed += o.Removed
	c.Left += o.Left
	c.Flagged += o.Flagged
	c.GoneThere += o.GoneThere
	c.Deleted += o.Deleted
	c.Verified += o.Verified
}

// AccountReport is one account's.
type AccountReport struct {
	Source  string          `json:"source"`
	Account string          `json:"account"`
	Error   string          `json:"error,omitempty"`
	Folders []*FolderReport `json:"folders"`
	Counts
	Left    []importer.Left `json:"left"`
	Notes   []string        `json:"notes"`
	Seconds float64         `json:"seconds"`

	noted map[string]bool
}

// FolderReport is one folder's.
type FolderReport struct {
	Source string `json:"source"`
	Folder string `json:"folder"`
	Counts
	// Unchanged tells that nothing was asked but the folder's counters.
	Unchanged bool `json:"unchanged"`
	// Excluded tells why the folder was not brought.
	Excluded    string `json:"excluded,omitempty"`
	UIDsKept    bool   `json:"uids_kept"`
	UIDsChanged int    `json:"uids_changed"`
	Error       string `json:"error,omitempty"`

	left    []importer.Left
	reasons map[string]int
}

func (a *AccountReport) note(text string) {
	if len(a.Notes) < maxListed && !a.noted[text] {
		if a.noted == nil {
			a.noted = map[string]bool{}
		}
		a.noted[text] = true
		a.Notes = append(a.Notes, text)
	}
}

// leave notes n messages that were not brought.
func (f *FolderReport) leave(n int, where, why string) {
	f.Left += n
	if f.reasons == nil {
		f.reasons = map[string]int{}
	}
	f.reasons[why] += n
	if len(f.left) < maxListed {
		f.left = append(f.left, importer.Left{Where: where, Why: why})
	}
}

// Complete tells whether nothing was left and no account failed.
func (r *Report) Complete() bool { return r.Failed == 0 && r.Counts.Left == 0 }

func (r *Report) sum() {
	for _, a := range r.Accounts {
		failed := a.Error != ""
		a.Counts, a.Left = Counts{}, []importer.Left{}
		for _, f := range a.Folders {
			a.add(&f.Counts)
			a.Left = append(a.Left, f.left[:min(len(f.left), maxListed-len(a.Left))]...)
			failed = failed || f.Error != ""
			for why, n := range f.reasons {
				r.Reasons[why] += n
			}
		}
		r.add(&a.Counts)
		if failed {
			r.Failed++
		}
	}
}
