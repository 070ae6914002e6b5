package main

import (
	"fmt"
	"io"
	"os"

	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/migrate"
)

// writeReport writes the whole report for programs.
func writeReport(path string, r *migrate.Report) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write --report: %w", err)
	}
	err = printJSON(f, r)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write --report: %w", err)
	}
	return nil
}

// printMigrated prints the report: what there is there and here, folder by folder.
func printMigrated(w io.Writer, r *migrate.Report, json bool) error {
	if json {
		return printJSON(w, r)
	}
	var rows [][]string
	var left []importer.Left
	var notes []string
	for _, a := range r.Accounts {
		if a.Error != "" {
			rows = append(rows, []string{a.Account, "-", "", "", "", "", "", "", "", "failed"})
			notes = append(notes, fmt.Sprintf("%s (%s) was not brought to its end: %s", a.Account, a.Source, a.Error))
		}
		for _, f := range a.Folders {
			rows = append(rows, migratedRow(a, f))
			if f.Error != "" && a.Error == "" {
				notes = append(notes, fmt.Sprintf("%s: folder %q was not brought to its end: %s", a.Account, f.Source, f.Error))
			}
		}
		for _, l := range a.Left {
			left = append(left, importer.Left{Where: a.Account + ": " + l.Where, Why: l.Why})
		}
		for _, n := range a.Notes {
			notes = append(notes, a.Account+": "+n)
		}
	}
	if err := table(w, "ACCOUNT\tFOLDER\tTHERE\tHERE\tBROUGHT\tFLAGS\tREMOVED\tDELETED\tLEFT\tUIDS", rows); err != nil {
		return err
	}
	what := "brought"
	if r.DryRun {
		what = "would be brought"
	}
	fmt.Fprintf(w, "%d accounts, %d of them not to their end; %d messages there, %d here, %d %s (%d octets), %d left", len(r.Accounts), r.Failed, r.There, r.Here,
		r.Brought, what, r.Octets, r.Counts.Left)
	if r.Verified > 0 {
		fmt.Fprintf(w, "; %d have the same digest", r.Verified)
	}
	fmt.Fprintln(w)
	printLeft(w, left, r.Reasons, notes)
	return nil
}

func migratedRow(a *migrate.AccountReport, f *migrate.FolderReport) []string {
	name := f.Folder
	if f.Source != f.Folder {
		name = f.Source + " > " + f.Folder
	}
	uids := "new"
	switch {
	case f.Error != "":
		uids = "failed"
	case f.Excluded != "":
		uids = "(" + f.Excluded + ")"
	case f.UIDsKept && f.UIDsChanged > 0:
		uids = fmt.Sprintf("kept but %d", f.UIDsChanged)
	case f.UIDsKept:
		uids = "kept"
	}
	return []string{oneLine(a.Account, 60), oneLine(name, 60), fmt.Sprint(f.There), fmt.Sprint(f.Here), fmt.Sprint(f.Brought), fmt.Sprint(f.Flagged),
		fmt.Sprint(f.Removed), fmt.Sprint(f.Deleted), fmt.Sprint(f.Left), uids}
}
