package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var metricName = regexp.MustCompile(`\b(?:meshtls_tap|process|go)_[a-z0-9_]+`)

// exposed returns the names of the metrics in the sources of the tap and the webhook.
func exposed(t *testing.T) []string {
	t.Helper()
	var names []string
	tap := source(t, "cmd/tap/metric_table.go")
	for _, m := range regexp.MustCompile(`\{"([a-z_]+)", (?:counter|gauge),`).FindAllStringSubmatch(tap, -1) {
		names = append(names, m[1])
	}
	if len(names) < 20 {
		t.Fatalf("cmd/tap/metric_table.go: only %d metrics found: this test reads it wrong", len(names))
	}
	files, err := filepath.Glob(repository + "/webhook/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`"(meshtls_tap_[a-z_]+)`).FindAllStringSubmatch(string(content), -1) {
			names = append(names, name[1], name[1]+"_bucket", name[1]+"_sum", name[1]+"_count")
		}
	}
	return names
}

func source(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestMetrics: the dashboard and the alerts use only metrics that exist.
func TestMetrics(t *testing.T) {
	names := exposed(t)
	for _, file := range []string{"dashboard.json", "rules.yaml"} {
		content := source(t, "charts/tap/monitoring/"+file)
		used := metricName.FindAllString(content, -1)
		if len(used) < 5 {
			t.Errorf("%s uses %d metrics: this test reads it wrong", file, len(used))
		}
		for _, name := range used {
			if !slices.Contains(names, name) {
				t.Errorf("%s uses %s, which neither the tap nor the webhook exposes", file, name)
			}
		}
	}
}

// TestDashboard: the dashboard has the properties that Grafana needs, and no two panels overlap.
func TestDashboard(t *testing.T) {
	var d struct {
		UID           string
		Title         string
		SchemaVersion int
		Panels        []struct {
			ID         int
			Type       string
			Title      string
			GridPos    struct{ X, Y, W, H int }
			Datasource struct{ UID string }
			Targets    []struct{ Expr, RefID string }
		}
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
	}
	decoder := json.NewDecoder(strings.NewReader(source(t, "charts/tap/monitoring/dashboard.json")))
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 39 || len(d.Templating.List) == 0 {
		t.Errorf("uid %q, title %q, schemaVersion %d, %d variables", d.UID, d.Title, d.SchemaVersion, len(d.Templating.List))
	}
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("panel %q: %d queries to data source %q", p.Title, len(p.Targets), p.Datasource.UID)
		}
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q is wider than the grid", p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, ok := taken[at]; ok {
					t.Fatalf("panel %q lies on %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		for _, q := range p.Targets {
			if strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") || strings.Count(q.Expr, "{") != strings.Count(q.Expr, "}") {
				t.Errorf("panel %q: %s", p.Title, q.Expr)
			}
		}
	}
}

// TestAlerts: each alert describes what is wrong and what to do.
func TestAlerts(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(source(t, "charts/tap/monitoring/rules.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			if !strings.HasPrefix(r.Alert, "MeshtlsTap") || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %q lacks a severity, a summary or a description", r.Alert)
			}
			if strings.Count(r.Expr, "(") != strings.Count(r.Expr, ")") {
				t.Errorf("alert %s: %s", r.Alert, r.Expr)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d alerts", n)
	}
}
