package farm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Roles are the names that `mailfarm run` takes, in the order in which they start.
var Roles = []string{"directory", "store", "filter", "router", "delivery-local", "delivery-remote", "ingress", "submission", "imap", "pop3"}

// All names all roles together.
const All = "all"

// role says what a role needs beside the bus.
type role struct {
	// calls are the roles that it calls.
	calls []string
	// blobs, resolver and fronts: it reads or writes frames, looks up names, speaks with clients.
	blobs, resolver, fronts bool
	build                   func(*Farm, clients, kit) error
}

// roles is filled by init: the builders refer to what refers to it.
var roles map[string]role

func init() {
	roles = map[string]role{
		"directory":       {build: (*Farm).buildDirectory},
		"store":           {calls: []string{"directory"}, blobs: true, build: (*Farm).buildStore},
		"filter":          {blobs: true, resolver: true, build: (*Farm).buildFilter},
		"router":          {calls: []string{"directory", "store"}, blobs: true, build: (*Farm).buildRouter},
		"delivery-local":  {calls: []string{"store"}, blobs: true, build: (*Farm).buildLocal},
		"delivery-remote": {calls: []string{"store"}, blobs: true, resolver: true, build: (*Farm).buildRemote},
		"ingress":         {calls: []string{"directory", "filter"}, blobs: true, fronts: true, build: (*Farm).buildIngress},
		"submission":      {calls: []string{"directory", "filter"}, blobs: true, fronts: true, build: (*Farm).buildSubmission},
		"imap":            {calls: []string{"directory", "store"}, fronts: true, build: (*Farm).buildIMAP},
		"pop3":            {calls: []string{"directory", "store"}, fronts: true, build: (*Farm).buildPOP3},
	}
}

// Shape is which roles a process runs, and so what it needs.
type Shape struct{ roles []string }

// Whole is all roles in one process.
var Whole = Shape{Roles}

// ShapeOf reads the arguments of `mailfarm run`: names of roles, or "all".
func ShapeOf(names []string) (Shape, error) {
	var s Shape
	for _, n := range names {
		switch {
		case n == All:
			s = Whole
		case !slices.Contains(Roles, n):
			return s, fmt.Errorf("no role is called %q: they are %s, or all of them with %q", n, strings.Join(Roles, ", "), All)
		}
	}
	if len(s.roles) == 0 {
		for _, r := range Roles { // in their order, each once
			if slices.Contains(names, r) {
				s.roles = append(s.roles, r)
			}
		}
	}
	if len(s.roles) == 0 {
		return s, errors.New("name the roles to run, or all")
	}
	return s, nil
}

// has tells whether the process runs a role.
func (s Shape) has(name string) bool { return slices.Contains(s.roles, name) }

// any tells whether one of its roles is so.
func (s Shape) any(is func(role) bool) bool {
	return slices.ContainsFunc(s.roles, func(n string) bool { return is(roles[n]) })
}

// calls tells whether one of its roles calls a role.
func (s Shape) calls(name string) bool {
	return s.any(func(r role) bool { return slices.Contains(r.calls, name) })
}

// alone tells that all roles are here, so that nobody else need share anything.
func (s Shape) alone() bool { return len(s.roles) == len(Roles) }

func (s Shape) String() string {
	if s.alone() {
		return All
	}
	return strings.Join(s.roles, "+")
}

// check tells at once what the configuration lacks for a process that shares the work with others.
func (c *Config) check(s Shape) error {
	if s.alone() {
		return nil
	}
	var errs []error
	need := func(missing bool, key, why string) {
		if missing {
			errs = append(errs, fmt.Errorf("%s: %s", key, why))
		}
	}
	need(len(c.Bus.Servers) == 0, "bus.servers", "roles apart from each other need NATS servers")
	need(c.Database.URL == "" && (s.has("store") || s.has("directory")), "database.url", "several processes cannot share one SQLite file: roles apart from each other need PostgreSQL")
	need(c.Blob.S3.Endpoint == "" && s.any(func(r role) bool { return r.blobs }), "blob.s3.endpoint", "several processes cannot share one blob directory: roles apart from each other need an S3 server")
	need(c.TLS.CertificateFile == "" && s.any(func(r role) bool { return r.fronts }), "tls.certificate_file", "clients must see the same certificate at every process: `mailfarm ca issue` makes one")
	for _, name := range []string{"directory", "store", "filter"} {
		need(s.calls(name) && !s.has(name) && c.RPC.Targets.Of(name) == "", "rpc.targets."+name, "where is that role? Such as dns:///"+name+":2070")
		need(s.has(name) && c.RPC.Listen == "", "rpc.listen", "other processes need the role "+name+": where does it listen? Such as 0.0.0.0:2070")
	}
	if len(errs) > 0 {
		return fmt.Errorf("run %s:\n%w\n(`mailfarm run all` is one process that needs no servers)", s, errors.Join(errs...))
	}
	return nil
}

// shared tells whether other processes may work on the same mail.
func (c *Config) shared() bool { return c.Database.URL != "" }

// nameOf names this process in leases and claims. Where the data folder's lock keeps other processes out it is always the
// same, so that the next start may take over at once what this one held.
func (c *Config) nameOf(started time.Time) string {
	if !c.shared() {
		return All
	}
	host, _ := os.Hostname()
	return host + "/" + strconv.Itoa(os.Getpid()) + "/" + started.UTC().Format("20060102T150405.000000")
}

// instanceOf is a name for people: the host, which in containers is a process's own, and the process.
func instanceOf(s Shape) string {
	host, _ := os.Hostname()
	return s.String() + "@" + host + ":" + strconv.Itoa(os.Getpid())
}
