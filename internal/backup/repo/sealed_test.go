package repo_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
)

func newKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealed encrypts a place with a new key.
func sealed(t *testing.T, open func() repo.Backend) func() repo.Backend {
	k := newKey(t)
	return func() repo.Backend { return seal(t, open(), k, nil) }
}

func seal(t *testing.T, b repo.Backend, k *age.X25519Identity, to io.Reader) repo.Backend {
	t.Helper()
	s, err := repo.Seal(b, strings.NewReader(k.String()+"\n"), to, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSealedIsUnreadable looks for what messages say in all files, and reads them by each key that they are encrypted to, by
// another one, without any, and by the age program.
func TestSealedIsUnreadable(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "repository")
	place := func() repo.Backend {
		d, err := repo.OpenDir(folder, true)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	mine, vault, other := newKey(t), newKey(t), newKey(t)
	to := "# kept elsewhere\n" + vault.Recipient().String() + "\n"
	r := open(t, seal(t, place(), mine, strings.NewReader(to)))
	secret := []byte("Subject: the secret\r\n\r\nnobody knows\r\n")
	large := text(5, 300<<10)
	s, err := save(t.Context(), r, time.Unix(1_700_000_000, 0), secret, large)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "README.txt" {
			return err
		}
		b, err := os.ReadFile(path)
		for _, word := range []string{"secret", "body/", "accounts", "(\xb5\x2f\xfd"} {
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s says %q", path, word)
			}
		}
		if !strings.HasSuffix(path, ".age") {
			t.Errorf("%s is not encrypted", path)
		}
		files++
		return err
	})
	if err != nil || files != 3 {
		t.Fatalf("%d files, %v", files, err)
	}
	for name, k := range map[string]*age.X25519Identity{"own key": mine, "the vault's": vault} {
		again := open(t, seal(t, place(), k, nil))
		if v, err := again.Verify(t.Context(), func(int, int) {}); err != nil || len(v.Problems) > 0 || v.Objects != 4 {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		at, err := again.At(t.Context(), time.Time{})
		if err != nil || at.Name != s.Name {
			t.Errorf("%s: %+v, %v", name, at, err)
		}
	}
	for name, b := range map[string]repo.Backend{"another key": seal(t, place(), other, nil), "no key": place()} {
		if _, err := repo.Open(t.Context(), b); !errors.Is(err, repo.ErrSealed) {
			t.Errorf("%s: %v, want ErrSealed", name, err)
		}
		if list, err := (&repo.Repo{Backend: b}).Snapshots(t.Context()); !errors.Is(err, repo.ErrSealed) || len(list) != 0 {
			t.Errorf("%s: %d snapshots, %v, want ErrSealed", name, len(list), err)
		}
	}
	// What is not encrypted does not go on as if it were.
	clear := filepath.Join(t.TempDir(), "clear")
	d, err := repo.OpenDir(clear, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := save(t.Context(), open(t, d), time.Unix(1_700_000_000, 0), secret); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Open(t.Context(), seal(t, d, mine, nil)); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("a key for what is not encrypted: %v", err)
	}
	for name, keys := range map[string][2]string{"no secret key": {"nonsense", ""}, "no public key": {mine.String(), "nonsense"}, "nothing": {"", ""}} {
		if _, err := repo.Seal(d, strings.NewReader(keys[0]), strings.NewReader(keys[1]), ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	program, err := exec.LookPath("age")
	if err != nil {
		t.Skip("age is not there")
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(vault.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(folder, "packs", "*.tar.zst.age"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs: %v, %v", packs, err)
	}
	out, err := exec.Command("sh", "-c", `"$1" -d -i "$2" "$3" | zstd -dc | tar -xOf -`, "sh", program, key, packs[0]).Output()
	if err != nil || !bytes.Contains(out, secret) || !bytes.Contains(out, large) {
		t.Errorf("age, zstd and tar read %d octets, %v", len(out), err)
	}
}

// TestSealedDamage flips each of some octets of a pack: reading says so, and gives nothing else.
func TestSealedDamage(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "repository")
	d, err := repo.OpenDir(folder, true)
	if err != nil {
		t.Fatal(err)
	}
	k := newKey(t)
	body := text(1, 200<<10)
	if _, err := save(t.Context(), open(t, seal(t, d, k, nil)), time.Unix(1_700_000_000, 0), body); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(folder, "packs", "*.tar.zst.age"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	whole, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 10; at < len(whole); at += len(whole)/13 + 1 {
		b := bytes.Clone(whole)
		b[at] ^= 4
		if err := os.WriteFile(packs[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := open(t, seal(t, d, k, nil))
		if v, err := r.Verify(t.Context(), func(int, int) {}); err != nil || len(v.Problems) == 0 {
			t.Errorf("octet %d: %+v, %v", at, v, err)
		}
	}
	if err := os.WriteFile(packs[0], whole[:len(whole)-100], 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := open(t, seal(t, d, k, nil)).Verify(t.Context(), func(int, int) {}); err != nil || len(v.Problems) == 0 {
		t.Errorf("cut off: %+v, %v", v, err)
	}
}
