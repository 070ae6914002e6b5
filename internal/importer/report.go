package importer

// maxListed is how many messages that were left, and how many notes, are told one by one.
const maxListed = 10_000

// Report tells what a run did.
type Report struct {
	Format  string          `json:"format"`
	DryRun  bool            `json:"dry_run"`
	Folders []*FolderReport `json:"folders"`
	// Counts are those of all folders.
	Counts
	// Left are messages that were not brought, the first of them at most; Reasons counts all.
	Left    []Left         `json:"left"`
	Reasons map[string]int `json:"reasons"`
	// Notes are what was not kept of messages that were brought, and files that are no mail.
	Notes []string `json:"notes"`

	reasons map[string]int
}

// Counts of messages.
type Counts struct {
	// Messages were found; Filed are new, Present were brought before, Removed were brought before and removed since.
	Messages int `json:"messages"`
	Filed    int `json:"filed"`
	Present  int `json:"present"`
	Removed  int `json:"removed"`
	Skipped  int `json:"left_count"`
	// Octets of those that are filed.
	Octets int64 `json:"octets"`
}

// FolderReport is one folder's.
type FolderReport struct {
	Folder string `json:"folder"`
	From   string `json:"from"`
	Kind   string `json:"kind"`
	Counts
	// UIDsKept tells that UIDVALIDITY is what it was, and UIDsChanged how many messages have another UID nevertheless.
	UIDsKept    bool   `json:"uids_kept"`
	UIDsChanged int    `json:"uids_changed"`
	UIDValidity uint32 `json:"uid_validity"`
}

// Left is a message that was not brought.
type Left struct {
	Where string `json:"where"`
	Why   string `json:"why"`
}

func (r *Report) note(text string) {
	if len(r.Notes) < maxListed {
		r.Notes = append(r.Notes, text)
	}
}

// leave notes what could not be read.
func (r *Report) leave(where, why string) {
	r.Skipped++
	r.reasons[why]++
	if len(r.Left) < maxListed {
		r.Left = append(r.Left, Left{where, why})
	}
}

func (r *Report) leaveOf(f *FolderReport, where, why string) {
	f.Skipped++
	r.leave(where, why)
}

// Sum adds the folders up.
func (r *Report) Sum() {
	skipped := r.Skipped
	r.Counts = Counts{Skipped: skipped}
	for _, f := range r.Folders {
		r.Messages += f.Messages
		r.Filed += f.Filed
		r.Present += f.Present
		r.Removed += f.Removed
		r.Octets += f.Octets
	}
	r.Reasons = r.reasons
}
