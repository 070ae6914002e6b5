package servers

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Bus is one nats-server with JetStream, or a cluster of them.
type Bus struct {
	t       testing.TB
	path    string
	dir     string
	log     output
	ports   []int
	routes  []int
	monitor []int
	nodes   []*process // nil where one does not run
}

// NATS starts nodes nats-servers, one cluster where there are more than one.
func NATS(t testing.TB, nodes int) *Bus {
	t.Helper()
	ports := freePorts(t, 3*nodes)
	b := &Bus{t: t, path: Binary(t, "nats-server"), dir: t.TempDir(),
		ports: ports[:nodes], routes: ports[nodes : 2*nodes], monitor: ports[2*nodes:], nodes: make([]*process, nodes)}
	t.Cleanup(func() {
		for i := range b.nodes {
			b.Kill(i)
		}
		if t.Failed() {
			t.Logf("nats-server:\n%s", b.log.tail())
		}
	})
	b.StartAll()
	return b
}

// URLs are the addresses of all nodes.
func (b *Bus) URLs() (all []string) {
	for _, p := range b.ports {
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	return all
}

// Nodes is how many there are.
func (b *Bus) Nodes() int { return len(b.nodes) }

// StartAll starts the nodes that do not run, and returns once JetStream is ready on all.
func (b *Bus) StartAll() {
	b.t.Helper()
	for i := range b.nodes {
		b.launch(i)
	}
	for i := range b.nodes {
		b.await(i)
	}
}

// Start starts a node, with what it kept.
func (b *Bus) Start(i int) {
	b.t.Helper()
	b.launch(i)
	b.await(i)
}

func (b *Bus) launch(i int) {
	b.t.Helper()
	if b.nodes[i] != nil {
		return
	}
	args := []string{"--addr", "127.0.0.1", "--port", fmt.Sprint(b.ports[i]), "--http_port", fmt.Sprint(b.monitor[i]),
		"--jetstream", "--store_dir", b.store(i), "--server_name", fmt.Sprintf("n%d", i)}
	if len(b.nodes) > 1 {
		var routes []string
		for _, p := range b.routes {
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p))
		}
		args = append(args, "--cluster_name", "test", "--cluster", fmt.Sprintf("nats://127.0.0.1:%d", b.routes[i]), "--routes", strings.Join(routes, ","))
	}
	p, err := start(&b.log, b.path, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.nodes[i] = p
}

func (b *Bus) await(i int) {
	b.t.Helper()
	if err := b.nodes[i].ready(func() bool { return b.healthy(i) }); err != nil {
		b.t.Fatalf("%v\n%s", err, b.log.tail())
	}
}

// healthy asks a node whether JetStream is ready there.
func (b *Bus) healthy(i int) bool {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", b.monitor[i]))
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (b *Bus) store(i int) string { return filepath.Join(b.dir, fmt.Sprint(i)) }

// Kill ends a node as kill -9 does.
func (b *Bus) Kill(i int) {
	if b.nodes[i] != nil {
		b.nodes[i].end(syscall.SIGKILL)
		b.nodes[i] = nil
	}
}

// Wipe kills all nodes, removes all that they kept, and starts them again.
func (b *Bus) Wipe() {
	b.t.Helper()
	for i := range b.nodes {
		b.Kill(i)
		if err := os.RemoveAll(b.store(i)); err != nil {
			b.t.Fatal(err)
		}
	}
	b.StartAll()
}
