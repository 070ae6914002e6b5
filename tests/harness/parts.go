package harness

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// InParts tells whether the suite runs over a farm of processes on real servers: MAILFARM_SHAPE is "farm".
func InParts() bool { return os.Getenv("MAILFARM_SHAPE") == "farm" }

// OneProcess leaves a test out that is about one process and its data folder.
func OneProcess(t testing.TB) {
	t.Helper()
	if InParts() {
		t.Skip("about one process and its data folder")
	}
}

// Servers are what the processes of a farm share.
type Servers struct {
	Bus      *servers.Bus
	Database *servers.PG
	S3       *servers.S3Server
	names    *dnstest.Server
}

// Layout is how many processes of a role there are, where it is not one, and on which servers.
type Layout struct {
	Processes map[string]int
	// Nodes of NATS. Default 1.
	Nodes int
	// OwnDatabase has a PostgreSQL cluster of its own, which may be stopped.
	OwnDatabase bool
	// S3 is another endpoint through which the S3 server is reached, as a proxy; nil: its own.
	S3 func(endpoint string) string
	// Database and Bus are the same for their URLs.
	Database, Bus func(url string) string
}

// roles in the order in which they start.
var roles = []string{"directory", "store", "filter", "router", "delivery-local", "delivery-remote", "ingress", "submission", "imap", "pop3"}

// hosts is how many addresses of loopback the processes of one role are spread over.
const hosts = 5

// address is where the n-th process of a role listens, from 0: all have the same ports, each on an address of its own.
func (f *Farm) address(n, port int) string {
	return net.JoinHostPort(fmt.Sprintf("127.0.0.%d", 1+n), strconv.Itoa(port+f.offset))
}

// Parts prepares a farm with a process for each role, and as many of each as the layout says, on a NATS server, a database
// and a bucket of its own. Its flags are those of Dev, and so are its domain and accounts. Start starts it.
func Parts(t testing.TB, layout Layout, flags ...string) *Farm {
	t.Helper()
	f := &Farm{t: t, Data: filepath.Join(t.TempDir(), "data"), offset: freeOffset(t), log: &lockedBuffer{}}
	s := &Servers{Bus: servers.NATS(t, max(layout.Nodes, 1)), S3: sharedS3(t)}
	if layout.OwnDatabase {
		s.Database = servers.OwnPostgres(t, "synchronous_commit=on", "max_connections=200")
	} else {
		s.Database = servers.Postgres(t)
	}
	f.Servers = s
	f.names(t)
	base := f.shared(layout, flags)
	f.authority(t)
	for _, role := range roles {
		for n := range max(layout.Processes[role], 1) {
			name, data := role, filepath.Join(f.Data, "processes", fmt.Sprintf("%s-%d", role, n+1))
			if n > 0 {
				name = fmt.Sprintf("%s-%d", role, n+1)
			}
			if role == "store" && n == 0 {
				data = f.Data // where the operator's verbs knock
			}
			cfg := merge(base, f.own(role, n))
			http := f.address(n, portParts+1+2*slices.Index(roles, role))
			f.add(name, http, "run", role, "--data", data, "--config", writeConfig(t, cfg))
		}
	}
	f.setUp(t, base)
	f.cleanUp()
	return f
}

// Process finds a process by its name.
func (f *Farm) Process(name string) *Process {
	f.t.Helper()
	for _, p := range f.procs {
		if p.Name == name {
			return p
		}
	}
	f.t.Fatalf("no process is called %s", name)
	return nil
}

// Processes are all, in the order in which they start.
func (f *Farm) Processes() []*Process { return f.procs }

// At is where the n-th process of a front, from 0, has what the first has at address.
func (f *Farm) At(address string, n int) string {
	return net.JoinHostPort(fmt.Sprintf("127.0.0.%d", 1+n), Port(address))
}

// sharedS3 is a server for the test; buckets keep farms apart.
func sharedS3(t testing.TB) *servers.S3Server { return servers.S3(t) }

// names serves the names by which processes find each other.
func (f *Farm) names(t testing.TB) {
	t.Helper()
	f.Servers.names = dnstest.Start(t, "")
	for _, role := range []string{"directory", "store", "filter"} {
		f.Name(role, 1)
	}
}

// Name has a role's name stand for the addresses of its first n processes.
func (f *Farm) Name(role string, n int) {
	var records []string
	for i := range n {
		records = append(records, fmt.Sprintf("%s. 1 IN A 127.0.0.%d", role, 1+i))
	}
	f.Servers.names.Remove(role + ".")
	if err := f.Servers.names.Add(strings.Join(records, "\n") + "\n"); err != nil {
		f.t.Fatal(err)
	}
}

// authority makes the certificates: one that clients see, and one for all processes.
func (f *Farm) authority(t testing.TB) {
	t.Helper()
	dir := filepath.Join(f.Data, "tls")
	addresses := []string{"localhost"}
	for n := range hosts {
		addresses = append(addresses, fmt.Sprintf("127.0.0.%d", 1+n))
	}
	for _, args := range [][]string{
		{"init"},
		{"issue", "front", "--use", "server", "--host", strings.Join(addresses, ",")},
		{"issue", "peer", "--host", strings.Join(append(addresses, "directory", "store", "filter"), ",")},
	} {
		run(t, Binary(t), append([]string{"ca", "--dir", dir}, args...)...)
	}
}

// shared is the configuration that all processes have alike.
func (f *Farm) shared(layout Layout, flags []string) map[string]any {
	f.t.Helper()
	through := func(by func(string) string, url string) string {
		if by == nil {
			return url
		}
		return by(url)
	}
	var urls []string
	for _, u := range f.Servers.Bus.URLs() {
		urls = append(urls, through(layout.Bus, u))
	}
	tls := func(name string) string { return filepath.Join(f.Data, "tls", name) }
	targets := map[string]any{}
	for _, role := range []string{"directory", "store", "filter"} {
		targets[role] = fmt.Sprintf("dns://%s/%s:%d", f.Servers.names.Addr(), role, f.offset+portParts+2*slices.Index(roles, role))
		f.Name(role, max(layout.Processes[role], 1))
	}
	s3 := f.Servers.S3
	base := map[string]any{
		"hostname": "localhost",
		"tls":      map[string]any{"certificate_file": tls("front.pem"), "key_file": tls("front.key")},
		"bus":      map[string]any{"servers": urls, "replicas": len(urls), "partitions": 4},
		"database": map[string]any{"url": through(layout.Database, f.Servers.Database.URL)},
		"blob": map[string]any{"s3": map[string]any{
			"endpoint": through(layout.S3, s3.Endpoint), "bucket": s3.Bucket(f.t), "access_key": s3.AccessKey, "secret_key": s3.SecretKey,
		}},
		"rpc": map[string]any{"ca_file": tls("ca.pem"), "certificate_file": tls("peer.pem"), "key_file": tls("peer.key"), "targets": targets},
	}
	for i := 0; i < len(flags); i++ {
		value := func() string { i++; return flags[i] }
		switch flags[i] {
		case "--dns":
			base = merge(base, map[string]any{"dns": map[string]any{"servers": []string{value()}}})
		case "--config":
			base = merge(base, readConfig(f.t, value()))
		case "--plaintext-login":
			networks := map[string]any{"plaintext_networks": []string{"127.0.0.0/8"}}
			base = merge(base, map[string]any{"submission": networks, "imap": networks, "pop3": networks})
		default:
			f.t.Skipf("%s is about one process", flags[i])
		}
	}
	return base
}

// own is what the n-th process of a role has of its own: where it listens.
func (f *Farm) own(role string, n int) map[string]any {
	port := portParts + 2*slices.Index(roles, role)
	at := func(port int) map[string]any { return map[string]any{"address": f.address(n, port)} }
	tls := func(port int) map[string]any {
		return map[string]any{"address": f.address(n, port), "implicit_tls": true}
	}
	cfg := map[string]any{"http": f.address(n, port+1)}
	if role == "store" && n == 0 {
		cfg["admin"] = map[string]any{"listen": f.AdminAddress()}
	}
	switch role {
	case "directory", "store", "filter":
		cfg["rpc"] = map[string]any{"listen": f.address(n, port)}
	case "ingress":
		cfg[role] = map[string]any{"listeners": []any{at(portSMTP)}, "lmtp": []any{at(portLMTP)}}
	case "submission":
		cfg[role] = map[string]any{"listeners": []any{at(portMSA), tls(portMSAS)}}
	case "imap":
		cfg[role] = map[string]any{"listeners": []any{at(portIMAP), tls(portIMAS)}}
	case "pop3":
		cfg[role] = map[string]any{"listeners": []any{at(portPOP), tls(portPOPS)}}
	}
	return cfg
}

// setUp prepares the servers and makes what `mailfarm dev` makes.
func (f *Farm) setUp(t testing.TB, base map[string]any) {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(DevPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, Binary(t), "setup", "--config", writeConfig(t, base), "--domain", "example.org", "--password-file", password,
		"--account", "alice@example.org", "--account", "bob@example.org",
		"--alias", "postmaster=alice@example.org", "--alias", "abuse=alice@example.org")
}

func run(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}

// merge puts more over base, map by map; neither is changed.
func merge(base, more map[string]any) map[string]any {
	out := maps.Clone(base)
	for k, v := range more {
		inner, ok := v.(map[string]any)
		if old, was := out[k].(map[string]any); ok && was {
			v = merge(old, inner)
		}
		out[k] = v
	}
	return out
}

func readConfig(t testing.TB, path string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := map[string]any{}
	if err := yaml.Unmarshal(b, &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func writeConfig(t testing.TB, cfg map[string]any) string {
	t.Helper()
	b, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ConfigFile(t, string(b))
}
