package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PG is a database in a PostgreSQL cluster.
type PG struct {
	// URL is that of a role that owns the database and nothing else.
	URL string
	// AdminURL is that of the superuser, to the same database.
	AdminURL string
	cluster  *cluster
	database string
}

// cluster is a server with its files.
type cluster struct {
	dir  string
	port int
	// guard is a shell that ends the server, and removes the files of a shared one, when this process is gone.
	mu    sync.Mutex // guards guard and stdin
	guard *exec.Cmd
	stdin interface{ Close() error }
	log   string
}

// pgBin is the folder of the server's programs.
var pgBin = sync.OnceValue(func() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return pgVersion(a) - pgVersion(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p)
	}
	return ""
})

func pgVersion(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// shared is the cluster of this test binary. It does not flush: only a machine that stops would tell.
var shared = sync.OnceValues(func() (*cluster, error) {
	c, err := newCluster()
	if err != nil {
		return nil, err
	}
	return c, c.start(true, "fsync=off", "full_page_writes=off")
})

var databases atomic.Int64

// Postgres gives an empty database in the cluster of this test binary; it goes with the test.
func Postgres(t testing.TB) *PG {
	t.Helper()
	needPostgres(t)
	c, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	pg, err := c.database()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.admin("DROP DATABASE " + pg.database + " WITH (FORCE)"); err != nil {
			t.Logf("drop database: %v", err)
		}
	})
	return pg
}

// OwnPostgres gives a database in a cluster of its own, which flushes, may be stopped, and may have standbys. The settings
// are lines of postgresql.conf: "synchronous_commit=on".
func OwnPostgres(t testing.TB, settings ...string) *PG {
	t.Helper()
	needPostgres(t)
	c, err := newCluster()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.remove() })
	if err := c.start(false, settings...); err != nil {
		t.Fatal(err)
	}
	pg, err := c.database()
	if err != nil {
		t.Fatal(err)
	}
	return pg
}

func needPostgres(t testing.TB) {
	t.Helper()
	if pgBin() == "" {
		t.Skip("no PostgreSQL server on this machine (Debian: postgresql)")
	}
}

// Standby makes a streaming standby of pg's cluster. With synchronous every commit on pg waits for it.
func (pg *PG) Standby(t testing.TB, synchronous bool) *PG {
	t.Helper()
	c, err := emptyCluster()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.remove() })
	out, err := as(exec.Command(filepath.Join(pgBin(), "pg_basebackup"), "-D", c.data(), "-R", "-X", "stream", "-c", "fast",
		"-d", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres application_name=standby", pg.cluster.port))).CombinedOutput()
	if err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	if err := c.start(false, "hot_standby=on", "synchronous_standby_names="); err != nil {
		t.Fatal(err)
	}
	standby := c.named(pg.database)
	if synchronous {
		for _, q := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
			if err := pg.cluster.admin(q); err != nil {
				t.Fatal(err)
			}
		}
		pg.wait(t, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
	} else {
		pg.wait(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
	}
	return standby
}

// wait waits until a query tells 1.
func (pg *PG) wait(t testing.TB, query string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		var n int
		err := pg.cluster.row(query, &n)
		if err == nil && n == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d, %v", query, n, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Promote makes a standby the primary and returns once it takes writes.
func (pg *PG) Promote(t testing.TB) {
	t.Helper()
	if err := pg.cluster.ctl("promote", "-w"); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the server: at once as a crash does, or after a checkpoint.
func (pg *PG) Stop(t testing.TB, immediate bool) {
	t.Helper()
	if err := pg.cluster.stop(immediate); err != nil {
		t.Fatal(err)
	}
}

// Start starts a server that was stopped.
func (pg *PG) Start(t testing.TB) {
	t.Helper()
	if err := pg.cluster.start(false); err != nil {
		t.Fatal(err)
	}
}

// Restart stops and starts the server.
func (pg *PG) Restart(t testing.TB, immediate bool) {
	t.Helper()
	pg.Stop(t, immediate)
	pg.Start(t)
}

// Admin runs a statement as the superuser.
func (pg *PG) Admin(t testing.TB, statement string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), pg.AdminURL)
	if err == nil {
		_, err = conn.Exec(context.Background(), statement)
		err = errors.Join(err, conn.Close(context.Background()))
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Addr is the server's address.
func (pg *PG) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(pg.cluster.port)) }

// Name is the database's.
func (pg *PG) Name() string { return pg.database }

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

// emptyCluster is a folder and a port.
func emptyCluster() (*cluster, error) {
	dir, err := os.MkdirTemp("", "mailfarm-pg-")
	if err != nil {
		return nil, err
	}
	if cred := credential(); cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &cluster{dir: dir, port: l.Addr().(*net.TCPAddr).Port, log: filepath.Join(dir, "log")}, nil
}

func newCluster() (*cluster, error) {
	c, err := emptyCluster()
	if err != nil {
		return nil, err
	}
	out, err := as(exec.Command(filepath.Join(pgBin(), "initdb"), "-D", c.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8",
		"--locale=C.UTF-8", "--no-sync")).CombinedOutput()
	if err != nil {
		os.RemoveAll(c.dir)
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return c, nil
}

// start runs the server and waits until it answers. temporary has the files removed when this process is gone.
func (c *cluster) start(temporary bool, settings ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(settings) > 0 {
		f, err := os.OpenFile(filepath.Join(c.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		for _, s := range settings {
			key, value, _ := cutSetting(s)
			fmt.Fprintf(f, "%s = '%s'\n", key, value)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	script := `"$1" -D "$2/data" -p "$3" -k "$2" -c listen_addresses=127.0.0.1 -c max_connections=200 -c max_wal_senders=4 ` +
		`-c shared_buffers=64MB -c logging_collector=off >>"$2/log" 2>&1 & pid=$!; read gone; kill -QUIT $pid 2>/dev/null; wait $pid`
	if temporary {
		script += `; rm -rf "$2"`
	}
	guard := as(exec.Command("/bin/sh", "-c", script, "postgres", filepath.Join(pgBin(), "postgres"), c.dir, strconv.Itoa(c.port)))
	stdin, err := guard.StdinPipe()
	if err != nil {
		return err
	}
	if err := guard.Start(); err != nil {
		return err
	}
	c.guard, c.stdin = guard, stdin
	deadline := time.Now().Add(time.Minute)
	for {
		err := c.admin("SELECT 1")
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(c.log)
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func cutSetting(s string) (key, value string, ok bool) {
	for i := range len(s) {
		if s[i] == '=' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// stop ends the server and its guard; files stay, but for those of a shared cluster.
func (c *cluster) stop(immediate bool) error {
	mode := "fast"
	if immediate {
		mode = "immediate"
	}
	err := c.ctl("stop", "-w", "-m", mode)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guard != nil {
		c.stdin.Close()
		c.guard.Wait()
		c.guard = nil
	}
	return err
}

// remove ends the server, however it is, and removes its files.
func (c *cluster) remove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guard != nil {
		c.stdin.Close()
		c.guard.Wait()
		c.guard = nil
	}
	os.RemoveAll(c.dir)
}

func (c *cluster) ctl(args ...string) error {
	out, err := as(exec.Command(filepath.Join(pgBin(), "pg_ctl"), append([]string{"-D", c.data(), "-t", "60"}, args...)...)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_ctl %v: %w\n%s", args, err, out)
	}
	return nil
}

// database makes a database that a role of its own owns.
func (c *cluster) database() (*PG, error) {
	name := fmt.Sprintf("mailfarm_%d", databases.Add(1))
	for _, q := range []string{"CREATE ROLE " + name + " LOGIN", "CREATE DATABASE " + name + " OWNER " + name} {
		if err := c.admin(q); err != nil {
			return nil, fmt.Errorf("%s: %w", q, err)
		}
	}
	return c.named(name), nil
}

func (c *cluster) named(name string) *PG {
	url := func(role string) string {
		return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", role, c.port, name)
	}
	return &PG{URL: url(name), AdminURL: url("postgres"), cluster: c, database: name}
}

func (c *cluster) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port))
}

func (c *cluster) admin(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

func (c *cluster) row(query string, dest ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(conn.QueryRow(ctx, query).Scan(dest...), conn.Close(ctx))
}

// credential is the user that the server runs as, where this process is root, which PostgreSQL refuses.
var credential = sync.OnceValue(func() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	name := "nobody"
	if _, err := user.Lookup("postgres"); err == nil {
		name = "postgres"
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
})

func as(c *exec.Cmd) *exec.Cmd {
	c.Dir = "/"
	// A group of its own, so that an interrupt at the terminal reaches the guard by its closed input.
	c.SysProcAttr = &syscall.SysProcAttr{Credential: credential(), Setpgid: true}
	return c
}
