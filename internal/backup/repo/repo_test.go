package repo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
)

func open(t *testing.T, b repo.Backend) *repo.Repo {
	t.Helper()
	r, err := repo.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	r.Temp = t.TempDir()
	t.Cleanup(func() { r.Close() })
	return r
}

// text is a body of about so many octets, the same for the same number.
func text(number, size int) []byte {
	r := rand.New(rand.NewPCG(uint64(number), 1))
	var b bytes.Buffer
	fmt.Fprintf(&b, "Subject: %d\r\n\r\n", number)
	for b.Len() < size {
		fmt.Fprintf(&b, "%x\r\n", r.Uint64())
	}
	return b.Bytes()
}

// save makes a snapshot of bodies, in an account's lines.
func save(ctx context.Context, r *repo.Repo, at time.Time, bodies ...[]byte) (*repo.Snapshot, error) {
	var lines bytes.Buffer
	for _, b := range bodies {
		d, _, err := r.Add(ctx, repo.Body, bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&lines, `{"table":"email","body":"%s"}`+"\n", d)
	}
	rows, err := r.AddBytes(ctx, repo.Rows, lines.Bytes())
	if err != nil {
		return nil, err
	}
	top, err := r.AddBytes(ctx, repo.Rows, fmt.Appendf(nil, `{"account":"7","rows":"%s"}`+"\n", rows))
	if err != nil {
		return nil, err
	}
	s := &repo.Snapshot{Format: repo.Format, Version: "test", Began: at, Ended: at, Accounts: []string{top.String()}}
	return s, r.Save(ctx, s)
}

func verify(t *testing.T, r *repo.Repo) *repo.Verified {
	t.Helper()
	v, err := r.Verify(t.Context(), func(int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEachObjectOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend func() repo.Backend) {
		var bodies [][]byte
		for i := range 40 {
			bodies = append(bodies, text(i, 3000))
		}
		bodies = append(bodies, text(99, 3<<20), []byte{})
		r := open(t, backend())
		r.PackBytes = 32 << 10
		if _, err := save(t.Context(), r, time.Unix(1_800_000_000, 0), bodies[:30]...); err != nil {
			t.Fatal(err)
		}
		if r.Written.Bodies != 30 || r.Written.Packs < 2 {
			t.Errorf("the first snapshot wrote %+v", r.Written)
		}
		// A run of another process, with what is new and what is there.
		r = open(t, backend())
		s, err := save(t.Context(), r, time.Unix(1_800_000_100, 0), append(bodies, bodies[40])...)
		if err != nil {
			t.Fatal(err)
		}
		if r.Written.Bodies != 12 || r.Written.Rows != 2 {
			t.Errorf("the second snapshot wrote %+v, want 12 bodies and 2 lists", r.Written)
		}
		r = open(t, backend())
		if v := verify(t, r); len(v.Problems) > 0 || v.Snapshots != 2 || v.Objects != 42+4 {
			t.Errorf("Verify: %+v", v)
		}
		last, err := r.At(t.Context(), time.Time{})
		if err != nil || last.Name != s.Name {
			t.Errorf("the latest snapshot is %+v, %v, want %s", last, err, s.Name)
		}
		first, err := r.At(t.Context(), time.Unix(1_800_000_050, 0))
		if err != nil || !first.Began.Equal(time.Unix(1_800_000_000, 0)) {
			t.Errorf("the snapshot of a time between is %+v, %v", first, err)
		}
		if _, err := r.At(t.Context(), time.Unix(1, 0)); !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("a snapshot of before all: %v, want ErrNotFound", err)
		}
		for i, want := range bodies {
			d, _, err := r.Add(t.Context(), repo.Body, bytes.NewReader(want)) // finds it
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.ReadAll(t.Context(), repo.Body, d); err != nil || !bytes.Equal(got, want) {
				t.Errorf("body %d: %d octets, %v, want %d", i, len(got), err, len(want))
			}
		}
		if r.Written.Bodies != 0 {
			t.Errorf("what is there was written again: %+v", r.Written)
		}
	})
}

// TestDiesAnywhere ends runs at each step in turn: what was there stays whole, and the next run ends well.
func TestDiesAnywhere(t *testing.T) {
	died := errors.New("died")
	eachBackend(t, func(t *testing.T, backend func() repo.Backend) {
		r := open(t, backend())
		if _, err := save(t.Context(), r, time.Unix(1_800_000_000, 0), text(0, 2000)); err != nil {
			t.Fatal(err)
		}
		steps := 0
		for at := 1; ; at++ {
			r := open(t, backend())
			r.PackBytes = 4 << 10
			n := 0
			r.Fault = func(string) error {
				if n++; n == at {
					return died
				}
				return nil
			}
			_, err := save(t.Context(), r, time.Unix(1_800_000_000+int64(at), 0), text(0, 2000), text(1, 6000), text(2, 6000), text(1000+at, 6000))
			if err == nil {
				_, err = r.Prune(t.Context(), 1)
			}
			if v := verify(t, open(t, backend())); len(v.Problems) > 0 || v.Snapshots == 0 {
				t.Fatalf("died at step %d: %+v", at, v)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, died) {
				t.Fatalf("step %d: %v", at, err)
			}
			steps++
		}
		if steps < 6 {
			t.Errorf("%d steps were tried", steps)
		}
		if v := verify(t, open(t, backend())); v.Snapshots != 1 || v.Objects < 6 || v.Objects > 12 {
			t.Errorf("at the end: %+v, want one snapshot and little more than its 6 objects", v)
		}
	})
}

func TestPruneKeepsWhatIsWanted(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend func() repo.Backend) {
		r := open(t, backend())
		// One pack, little of which the second snapshot wants.
		var first [][]byte
		for i := range 20 {
			first = append(first, text(i, 4000))
		}
		for i, bodies := range [][][]byte{first, {first[3], text(50, 4000)}} {
			if _, err := save(t.Context(), r, time.Unix(1_800_000_000+int64(i), 0), bodies...); err != nil {
				t.Fatal(err)
			}
		}
		out, err := open(t, backend()).Prune(t.Context(), 1)
		if err != nil || len(out.Snapshots) != 1 || out.Packs != 1 || out.Rewritten != 1 {
			t.Errorf("Prune: %+v, %v", out, err)
		}
		r = open(t, backend())
		if v := verify(t, r); len(v.Problems) > 0 || v.Objects != 4 {
			t.Errorf("Verify: %+v, want 2 bodies and 2 lists", v)
		}
		d, _, err := r.Add(t.Context(), repo.Body, bytes.NewReader(first[3]))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.ReadAll(t.Context(), repo.Body, d); err != nil || !bytes.Equal(got, first[3]) {
			t.Errorf("what is wanted still: %d octets, %v", len(got), err)
		}
	})
}

// TestKindsApart has bodies of the same octets as rows, which are told apart.
func TestKindsApart(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend func() repo.Backend) {
		var lists [][]byte
		for i := range 2 {
			r := open(t, backend())
			s, err := save(t.Context(), r, time.Unix(1_800_000_000+int64(i), 0), append(lists, []byte{}, text(1, 100))...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.AddBytes(t.Context(), repo.Rows, nil); err != nil {
				t.Fatal(err)
			}
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			d, err := repo.ParseDigest(s.Accounts[0])
			if err != nil {
				t.Fatal(err)
			}
			top, err := r.ReadAll(t.Context(), repo.Rows, d)
			if err != nil {
				t.Fatal(err)
			}
			lists = append(lists, top)
		}
		r := open(t, backend())
		if _, err := r.Prune(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r = open(t, backend())
		if v := verify(t, r); len(v.Problems) > 0 {
			t.Errorf("Verify: %+v", v)
		}
		for _, want := range [][]byte{{}, lists[0]} {
			if got, err := r.ReadAll(t.Context(), repo.Body, repo.Digest(sha256.Sum256(want))); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %q, %v, want the body %q", got, err, want)
			}
		}
	})
}

// TestDamage changes one octet of each file in turn, and takes each away: Verify tells.
func TestDamage(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "repository")
	dir, err := repo.OpenDir(folder, true)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, dir)
	r.PackBytes = 8 << 10
	if _, err := save(t.Context(), r, time.Unix(1_800_000_000, 0), text(1, 5000), text(2, 5000), text(3, 5000)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(folder + "/*/*")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	look := func() []string {
		r, err := repo.Open(t.Context(), dir)
		if err != nil {
			return []string{err.Error()}
		}
		v := verify(t, r)
		if v.Snapshots == 0 {
			return append(v.Problems, "no snapshot")
		}
		return v.Problems
	}
	if p := look(); len(p) > 0 {
		t.Fatalf("before: %q", p)
	}
	for _, f := range files {
		whole, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{len(whole) / 3, len(whole) - 2} {
			bad := bytes.Clone(whole)
			bad[at] ^= 4
			for what, b := range map[string][]byte{"changed": bad, "cut": whole[:at]} {
				if err := os.WriteFile(f, b, 0o600); err != nil {
					t.Fatal(err)
				}
				if p := look(); len(p) == 0 {
					t.Errorf("%s, %s at %d of %d: no problem was told", filepath.Base(f), what, at, len(whole))
				}
			}
		}
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
		if p := look(); len(p) == 0 {
			t.Errorf("%s, removed: no problem was told", filepath.Base(f))
		}
		if err := os.WriteFile(f, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p := look(); len(p) > 0 {
		t.Errorf("behind it: %q", p)
	}
}

// TestPlainTools reads a repository as README.txt says.
func TestPlainTools(t *testing.T) {
	for _, tool := range []string{"tar", "zstd", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	folder := filepath.Join(t.TempDir(), "repository")
	dir, err := repo.OpenDir(folder, true)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, dir)
	r.PackBytes = 8 << 10
	bodies := [][]byte{text(1, 5000), text(2, 2<<20), {}, text(3, 511)}
	s, err := save(t.Context(), r, time.Unix(1_800_000_000, 0), bodies...)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(folder + "/README.txt")
	if err != nil || !strings.Contains(string(readme), `for p in packs/*.tar.zst; do zstd -dc "$p" | tar -xf - -C out; done`) {
		t.Fatalf("README.txt: %v\n%s", err, readme)
	}
	sh := exec.Command("sh", "-ec", `mkdir out; for p in packs/*.tar.zst; do zstd -dc "$p" | tar -xf - -C out; done
		for p in packs/*.tar.zst; do echo "$(basename "$p" .tar.zst)  $p"; done | sha256sum -c --quiet
		for f in out/*/*; do n=$(basename "$f"); echo "${n%%.*}  $f"; done | sha256sum -c --quiet
		sha256sum snapshots/*`)
	sh.Dir = folder
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.HasPrefix(string(out), s.Name[strings.LastIndexByte(s.Name, '-')+1:]) {
		t.Errorf("snapshot %s has the SHA-256 %s", s.Name, out)
	}
	files, err := filepath.Glob(folder + "/out/body/*.eml")
	if err != nil || len(files) != len(bodies) {
		t.Errorf("%d messages were unpacked, want %d, %v", len(files), len(bodies), err)
	}
	top, err := os.ReadFile(folder + "/out/rows/" + s.Accounts[0] + ".jsonl")
	if err != nil || !json.Valid(bytes.TrimSpace(top)) {
		t.Errorf("accounts: %q, %v", top, err)
	}
}

func TestAddTellsWhatReadingFailsWith(t *testing.T) {
	dir, err := repo.OpenDir(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, dir)
	lost := errors.New("lost")
	if _, _, err := r.Add(t.Context(), repo.Body, io.MultiReader(strings.NewReader("half of it"), failing{lost})); !errors.Is(err, lost) {
		t.Errorf("Add: %v, want %v", err, lost)
	}
	if r.Written.Bodies != 0 {
		t.Errorf("written: %+v", r.Written)
	}
	if _, err := repo.OpenDir(dir.String()+"/none", false); err == nil {
		t.Error("a repository that is not there was opened")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
