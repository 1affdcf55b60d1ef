package webhook

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestMetricsDocument: docs/metrics.md has a row for each metric of the webhook, with its kind, labels and sentence.
func TestMetricsDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## The webhook\n")
	form := regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)", .*constLabels: \{\}, variableLabels: \{([^}]*)\}`)
	for _, m := range ours {
		descriptions := make(chan *prometheus.Desc, 1)
		m.Describe(descriptions)
		d := form.FindStringSubmatch((<-descriptions).String())
		if d == nil {
			t.Fatalf("client_golang describes a metric in another form: %s", m)
		}
		row := fmt.Sprintf("| `%s` | %s | `%s` | %s |\n", d[1], kindOf(m), strings.ReplaceAll(d[3], ",", "`, `"), d[2])
		if !strings.Contains(table, row) {
			t.Errorf("docs/metrics.md lacks this row under \"The webhook\":\n%s", row)
		}
	}
	if rows := strings.Count(table, "| `meshtls_tap_"); rows != len(ours) {
		t.Errorf("docs/metrics.md has %d metrics of the webhook, and there are %d", rows, len(ours))
	}
}

func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.HistogramVec:
		return "histogram"
	default:
		return "gauge"
	}
}
