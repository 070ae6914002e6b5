package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/farm"
	"github.com/mailfarm/mailfarm/internal/join"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// TestJoin makes a site, sets a farm up and joins the two by the verbs.
func TestJoin(t *testing.T) {
	cfg := farm.Config{Hostname: "mail.example.org", Data: t.TempDir(), HTTP: "none"}
	cfg.Listen(farm.Ports{}) // any ports, on loopback
	cfg.HTTP, cfg.Admin.Listen = "none", "none"
	cfg.Defaults()
	cfg.Directory.SCRAMIterations = 4096
	site, err := farm.New(t.Context(), cfg, farm.Whole, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := site.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv := servers.S3(t)
	file := filepath.Join(t.TempDir(), "farm.yaml")
	text := fmt.Sprintf("hostname: mail.example.org\ndata: %s\ndatabase: {url: %q}\nbus: {servers: [%q]}\nblob: {s3: {endpoint: %q, bucket: %s, access_key: %q, secret_key: %q}}\n",
		t.TempDir(), servers.Postgres(t).URL, servers.NATS(t, 1).URLs()[0], srv.Endpoint, srv.Bucket(t), srv.AccessKey, srv.SecretKey)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(refusal string, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs(append(args, "--config", file))
		root.SetOut(&out)
		root.SetErr(io.Discard)
		err := root.ExecuteContext(t.Context())
		if refusal == "" && err != nil || refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
			t.Fatalf("%v: got %v, want %q", args, err, refusal)
		}
		return out.String()
	}
	run("", "setup")
	run("which site?", "join")
	run("stop it first", "join", "--from", cfg.Data)
	if err := site.Close(); err != nil {
		t.Fatal(err)
	}
	run("not the data folder", "join", "--from", t.TempDir())
	run("was not joined", "join", "--from", cfg.Data, "--verify-only")
	if got := run("", "join", "--from", cfg.Data); !strings.Contains(got, "directory_account") || !strings.Contains(got, "\nsame, in ") {
		t.Errorf("got %s", got)
	}
	var r join.Result
	if got := run("", "join", "--from", cfg.Data, "--verify-only", "--json"); json.Unmarshal([]byte(got), &r) != nil || !r.Same || len(r.Tables) < 10 {
		t.Errorf("got %s", got)
	}
	if got := run("", "join", "--from", cfg.Data); got != "" {
		t.Errorf("joined twice: %s", got)
	}
}
