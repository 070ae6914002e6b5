// Package observe_test checks alert rules, dashboard and their documentation against each other.
package observe_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const operations = "../../docs/operations/"

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rule of rules.yaml.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal([]byte(read(t, "rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// documented gives the types of all metrics by name.
func documented(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(read(t, operations+"metrics.md"), -1) {
		all[m[1]] = m[2]
	}
	if len(all) < 100 {
		t.Fatalf("metrics.md tells of %d metrics only", len(all))
	}
	return all
}

var (
	metricName = regexp.MustCompile(`mailfarm_[a-z0-9_]+`)
	series     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// checkMetrics tells of metrics in an expression that there are not.
func checkMetrics(t *testing.T, where, expr string, known map[string]string) {
	t.Helper()
	for _, name := range metricName.FindAllString(expr, -1) {
		if known[name] == "histogram" {
			t.Errorf("%s: %s is a histogram: ask for its _bucket, _sum or _count", where, name)
		}
		if known[name] == "" && known[series.ReplaceAllString(name, "")] != "histogram" {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
}

func TestRules(t *testing.T) {
	known, tests := documented(t), read(t, "rules_test.yaml")
	var names, headings []string
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(read(t, operations+"alarms.md"), -1) {
		headings = append(headings, m[1])
	}
	for _, r := range rules(t) {
		names = append(names, r.Alert)
		checkMetrics(t, r.Alert, r.Expr, known)
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s: no summary", r.Alert)
		}
		if got, want := r.Annotations["runbook_url"], "docs/operations/alarms.md#"+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s: runbook_url is %q, want %q", r.Alert, got, want)
		}
		if !slices.Contains(headings, r.Alert) {
			t.Errorf("%s: alarms.md does not tell of it", r.Alert)
		}
		if !strings.Contains(tests, "alertname: "+r.Alert+"\n        eval_time") || !strings.Contains(tests, "{alertname: "+r.Alert+", ") {
			t.Errorf("%s: rules_test.yaml does not show when it fires and when not", r.Alert)
		}
	}
	for _, h := range headings {
		if !slices.Contains(names, h) {
			t.Errorf("alarms.md tells of %s, which is no alarm", h)
		}
	}
}

func TestRulesFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool on this machine (Debian: prometheus)")
	}
	for _, args := range [][]string{
		{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}, {"check", "config", "--syntax-only", "../compose/prometheus.yaml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// panel of the dashboard.
type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct{ RefID, Expr, LegendFormat string }
}

func TestDashboard(t *testing.T) {
	var dashboard struct {
		Title, UID string
		Panels     []panel
		Templating struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title == "" || dashboard.UID == "" || len(dashboard.Templating.List) != 1 || dashboard.Templating.List[0].Name != "datasource" {
		t.Errorf("title %q, uid %q, variables %v", dashboard.Title, dashboard.UID, dashboard.Templating.List)
	}
	known := documented(t)
	ids, at := map[int]bool{}, map[[2]int]string{}
	var rows []string
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: another panel has id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := at[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				at[[2]int{x, y}] = p.Title
			}
		}
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("%s: place %+v", p.Title, p.GridPos)
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: data source %q, %d queries", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, q := range p.Targets {
			if q.Expr == "" || q.LegendFormat == "" || q.RefID == "" {
				t.Errorf("%s: query %+v", p.Title, q)
			}
			checkMetrics(t, p.Title, q.Expr, known)
		}
	}
	if want := []string{"Mail flow", "Queue", "Latency", "Stores", "Fronts", "Health", "Reading: IMAP and POP3 by command"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
}
