package archive

import (
	"io"
	"testing"
	"testing/fstest"

	"github.com/mailfarm/mailfarm/internal/mbox"
)

// TestNotesOfProgramsAreNoMail: only what stands ahead of all messages and comes from MAILER-DAEMON is a program's own.
func TestNotesOfProgramsAreNoMail(t *testing.T) {
	const date = " Sat Nov 21 10:11:12 2026\n"
	const notes = "From MAILER-DAEMON" + date + "Subject: notes\nX-IMAP: 99 0000000007\n\nx\n\n"
	const mail = "From alice@example.org" + date + "Subject: mail\nX-IMAP: 1 2\n\nx\n\n"
	for _, tt := range []struct {
		name, file string
		want       int
	}{
		{"notes and mail", notes + mail + mail, 2},
		{"mail with such a field first", mail + mail, 2},
		{"notes that are not ahead", mail + notes, 2},
	} {
		r, err := openMbox(fstest.MapFS{"box": {Data: []byte(tt.file)}}, "box", mbox.RD)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for {
			if _, err = r.Next(); err != nil {
				break
			}
			got++
		}
		if err != io.EOF || got != tt.want {
			t.Errorf("%s: %d messages, %v, want %d", tt.name, got, err, tt.want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
