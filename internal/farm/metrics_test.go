package farm_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/prometheus/client_golang/prometheus"

	accountpostgres "github.com/mailfarm/mailfarm/internal/account/postgres"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/farm"
	fulltextpostgres "github.com/mailfarm/mailfarm/internal/fulltext/postgres"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

var update = flag.Bool("update", false, "write docs/operations/metrics.md anew")

// TestMetricsAreDocumented compares docs/operations/metrics.md with what farms on either infrastructure register.
func TestMetricsAreDocumented(t *testing.T) {
	pg := servers.Postgres(t)
	r := &recorder{families: map[string]family{}}
	defer farm.ReplaceRegistry(func() farm.Metrics {
		r.registry = prometheus.NewRegistry()
		return &recording{r.registry, r}
	})()

	s3Server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	defer s3Server.Close()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*farm.Config){
		nil,
		func(c *farm.Config) {
			c.Database.URL = pg.URL
			c.Blob.S3 = s3.Config{Endpoint: s3Server.URL, Bucket: "mailfarm", AccessKeyFile: key, SecretKeyFile: key}
		},
	} {
		cfg := newConfig(t, freePorts(t), change)
		if cfg.Database.URL != "" {
			for _, err := range []error{
				postgres.Migrate(t.Context(), pgdb.Config{URL: pg.URL}), accountpostgres.Migrate(t.Context(), pgdb.Config{URL: pg.URL}),
				fulltextpostgres.Migrate(t.Context(), pgdb.Config{URL: pg.URL}),
				s3.Prepare(t.Context(), cfg.Blob.S3),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		f, err := farm.New(t.Context(), cfg, farm.Whole, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.look(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	const file = "../../docs/operations/metrics.md"
	want := r.page()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is registered: write it anew with `go test ./internal/farm -run TestMetricsAreDocumented -update`\n%s", file, differences(string(got), string(want)))
	}
}

// TestMetricsOfARunningFarm looks at figures that alarms go by while a message goes its way.
func TestMetricsOfARunningFarm(t *testing.T) {
	ports := freePorts(t)
	r := start(t, newConfig(t, ports, nil), ports)
	if err := r.send(ports.SMTP, "", "carol@sender.example", bob, letter); err != nil {
		t.Fatal(err)
	}
	r.letters(bob, 1)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	lines := func() (all []string) {
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", ports.HTTP))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(text), "\n")
	}
	for _, want := range []string{
		`mailfarm_ready{part="process"} 1`, `mailfarm_role_ready{served="ingress"} 1`, `mailfarm_role_ready{served="store"} 1`,
		`mailfarm_bus_away 0`, `mailfarm_bus_dead_letters 0`, `mailfarm_bus_waiting{partition="0",subject="mail.local"} 0`,
		`mailfarm_queue_recipients{state="queued"} 0`, `mailfarm_queue_late_seconds 0`, `mailfarm_queue_withheld_messages 0`,
		`mailfarm_accepted_messages_total{role="ingress"} 1`, `mailfarm_auditor 1`, `mailfarm_unaccounted_recipients 0`,
		`mailfarm_rpc_served_total{code="OK",method="store.v1.Mailboxes/Deliver"} 1`, `mailfarm_log_records_total{level="error"} 0`,
	} {
		r.eventually(want, func() bool { return slices.Contains(lines(), want) })
	}
}

// differences are the lines that one text has and the other has not.
func differences(got, want string) string {
	var b strings.Builder
	has := func(text, line string) bool { return strings.Contains(text+"\n", line+"\n") }
	for _, line := range strings.Split(got, "\n") {
		if !has(want, line) {
			fmt.Fprintln(&b, "- "+line)
		}
	}
	for _, line := range strings.Split(want, "\n") {
		if !has(got, line) {
			fmt.Fprintln(&b, "+ "+line)
		}
	}
	return b.String()
}

// family is a metric with all its labels.
type family struct{ name, kind, help, labels string }

// recorder notes what is registered.
type recorder struct {
	registry   *prometheus.Registry
	mu         sync.Mutex
	collectors []prometheus.Collector
	families   map[string]family
}

// recording is a registry that tells the recorder.
type recording struct {
	*prometheus.Registry
	recorder *recorder
}

func (r *recording) Register(c prometheus.Collector) error {
	err := r.Registry.Register(c)
	if err == nil {
		r.recorder.mu.Lock()
		defer r.recorder.mu.Unlock()
		r.recorder.collectors = append(r.recorder.collectors, c)
	}
	return err
}

func (r *recording) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

var descriptor = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*?)"(?:, unit: ".*?")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// look notes the metrics of all collectors registered so far, also those of which there is none yet.
func (r *recorder) look() error {
	all, err := r.registry.Gather()
	if err != nil {
		return err
	}
	kinds := map[string]string{}
	for _, f := range all {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.collectors {
		descs := gathered(func(out chan *prometheus.Desc) { c.Describe(out) })
		for _, m := range gathered(func(out chan prometheus.Metric) { c.Collect(out) }) {
			descs = append(descs, m.Desc())
		}
		for _, d := range descs {
			f := descriptor.FindStringSubmatch(d.String())
			if f == nil || !strings.HasPrefix(f[1], "mailfarm_") {
				continue
			}
			var labels []string
			for l := range strings.SplitSeq(f[3], ",") {
				if name, _, ok := strings.Cut(l, "="); ok {
					labels = append(labels, name)
				}
			}
			if f[4] != "" {
				labels = append(labels, strings.Split(f[4], ",")...)
			}
			slices.Sort(labels)
			r.families[f[1]] = family{f[1], cmp.Or(kinds[f[1]], vectorKind(c), "gauge"), f[2], strings.Join(labels, ", ")}
		}
	}
	r.collectors = nil
	return nil
}

func gathered[T any](fill func(chan T)) (all []T) {
	out := make(chan T)
	go func() {
		defer close(out)
		fill(out)
	}()
	for v := range out {
		all = append(all, v)
	}
	return all
}

func vectorKind(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.HistogramVec:
		return "histogram"
	}
	return ""
}

const pageHead = `# Metrics

Every process answers Prometheus at ` + "`/metrics`" + ` of its ` + "`http`" + ` address (port 2080), beside the ` + "`go_`" + ` and ` + "`process_`" + ` metrics of its
runtime. [deploy/observe](../../deploy/observe) has alert rules and a dashboard made of these; [alarms.md](alarms.md) says what
to do. A farm has the figures of ` + "`mailfarm_queue_…`, `mailfarm_bus_waiting`, `mailfarm_bus_in_hand`, `mailfarm_bus_dead_letters`" + ` once: the
store process that measures shows them. Those of ` + "`mailfarm_audit_…` and `mailfarm_unaccounted_recipients`" + ` are the elected auditor's.

This page is made from what is registered: ` + "`go test ./internal/farm -run TestMetricsAreDocumented -update`" + `.
`

// pageEnd has the metrics that no process registers.
const pageEnd = `
## Of backups

` + "`mailfarm backup run /backup/mail --textfile FILE`" + ` writes these for node_exporter, behind each backup that ended well.

| name | type | labels | meaning |
|---|---|---|---|
| ` + "`mailfarm_backup_last_success_timestamp_seconds`" + ` | gauge |  | When the last backup began that ended well. |
| ` + "`mailfarm_backup_missing_messages`" + ` | gauge |  | Messages that the last backup could not read. |
| ` + "`mailfarm_backup_seconds`" + ` | gauge |  | How long the last backup took. |
`

// page is the documentation.
func (r *recorder) page() []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	b.WriteString("\n| name | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(r.families)) {
		f := r.families[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, f.kind, f.labels, strings.ReplaceAll(f.help, "|", "\\|"))
	}
	b.WriteString(pageEnd)
	return b.Bytes()
}
