package message_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/message"
)

var update = flag.Bool("update", false, "write the golden files")

// corpus reads testdata/*.eml.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	all := make(map[string][]byte)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".eml")] = b
	}
	return all
}

func TestGolden(t *testing.T) {
	for name, body := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			got := dump(index(body), body)
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("index of %s:\n%s\nwant:\n%s", name, got, want)
			}
		})
	}
}

// What Decode reads is what Encode was given.
func TestEncodeDecode(t *testing.T) {
	for name, body := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			ix := index(body)
			encoded := ix.Encode(nil)
			again, err := message.Decode(encoded)
			if err != nil {
				t.Fatalf("decode: %v", err)
			}
			if got, want := dump(again, body), dump(ix, body); got != want {
				t.Errorf("decoded:\n%s\nwant:\n%s", got, want)
			}
			if got := again.Encode(nil); !bytes.Equal(got, encoded) {
				t.Errorf("encoded again:\n%q\nwant:\n%q", got, encoded)
			}
			if !bytes.Equal(message.EnvelopeOf(encoded), ix.Envelope()) || !bytes.Equal(message.BodyStructureOf(encoded), ix.BodyStructure()) {
				t.Error("EnvelopeOf or BodyStructureOf differ from the index")
			}
			want, wantOK := ix.SentDate()
			if got, ok := message.SentDateOf(encoded); ok != wantOK || !got.Equal(want) || got.String() != want.String() {
				t.Errorf("SentDateOf %v %t, want %v %t", got, ok, want, wantOK)
			}
			t.Logf("%d octets of index for %d of message", len(encoded), len(body))
		})
	}
}
