package fault

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestFoldersAreFlushed: a new file survives a power cut only if its folder was flushed behind its making. The system calls
// of a first start with one message tell.
func TestFoldersAreFlushed(t *testing.T) {
	harness.Need(t, "strace")
	f := harness.Dev(t)
	trace := filepath.Join(t.TempDir(), "trace")
	f.Wrap("strace", "-D", "-f", "-y", "-e", "trace=open,openat,fsync,fdatasync", "-o", trace)
	f.Start()
	if err := harness.Send(f.SMTP(), "carol@sender.example", []string{bob}, harness.Letter("flushed", "carol@sender.example", bob)); err != nil {
		t.Fatal(err)
	}
	f.Settle()
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
	var calls []byte
	harness.Eventually(t, "the end of the trace", func() bool {
		calls, _ = os.ReadFile(trace)
		return strings.Contains(string(calls), "+++ exited with 0 +++")
	})
	for _, file := range []string{`/index\.db`, `/directory\.db`, `/blob/\d+/\d+\.seg`} {
		made := regexp.MustCompile(`open(?:at)?\([^"]*"` + regexp.QuoteMeta(f.Data) + `(` + file + `)", [^)]*O_CREAT`).FindSubmatchIndex(calls)
		if made == nil {
			t.Errorf("%s was not made", file)
			continue
		}
		folder := filepath.Join(f.Data, filepath.Dir(string(calls[made[2]:made[3]])))
		flushed := regexp.MustCompile(`fsync\(\d+<` + regexp.QuoteMeta(folder) + `>`)
		if !flushed.Match(calls[made[1]:]) {
			t.Errorf("%s was made, and its folder %s never flushed", file, folder)
		}
	}
}
