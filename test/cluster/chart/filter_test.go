package chart_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestFilters compares the chart's check of filters with the parser of internal/pcapfilter. The expressions are those
// of that package's tests.
func TestFilters(t *testing.T) {
	good, wrong := expressions(t)
	if len(good) < 80 || len(wrong) < 50 {
		t.Fatalf("%d good and %d wrong expressions: this test reads testdata wrong", len(good), len(wrong))
	}
	results := reduced(t, slices.Concat(good, wrong))
	for i, text := range good {
		if results[i] != "condition" {
			t.Errorf("the chart refuses %q, which is left with %q", text, results[i])
		}
	}
	taken := 0
	for i, text := range wrong {
		if results[len(good)+i] == "condition" {
			taken++
			t.Logf("the chart accepts %q, which pcapfilter refuses", text)
		}
	}
	if taken > len(wrong)/5 { // the chart cannot find every wrong expression
		t.Errorf("the chart accepts %d of %d wrong expressions", taken, len(wrong))
	}
}

var (
	goodExpression    = regexp.MustCompile(`(?m)^== [^:]*: (.+)$`)
	matchedExpression = regexp.MustCompile("(?m)^\t\t(\"(?:[^\"\\\\]|\\\\.)*\"|`.*`): +\"")
	packetName        = regexp.MustCompile(`^(plain|taken|inside|half|nested)$`)
	wrongExpression   = regexp.MustCompile(`(?m)^column \d+: .*\n(.+)\n *\^`)
)

func expressions(t *testing.T) (good, wrong []string) {
	t.Helper()
	for _, m := range goodExpression.FindAllStringSubmatch(source(t, "internal/pcapfilter/testdata/programs.golden"), -1) {
		good = append(good, m[1])
	}
	for _, m := range matchedExpression.FindAllStringSubmatch(source(t, "internal/pcapfilter/match_test.go"), -1) {
		text, err := strconv.Unquote(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if text != "" && !packetName.MatchString(text) {
			good = append(good, text)
		}
	}
	for _, m := range wrongExpression.FindAllStringSubmatch(source(t, "internal/pcapfilter/testdata/errors.golden"), -1) {
		if len(m[1]) < 2048 && !strings.Contains(m[1], "\t") {
			wrong = append(wrong, m[1])
		}
	}
	slices.Sort(good)
	return slices.Compact(good), wrong
}

// reduced applies the chart's check to each expression and returns the results. The check reduces an expression that it
// accepts to "condition". reduced renders a template in extraObjects.
func reduced(t *testing.T, texts []string) []string {
	t.Helper()
	var templates []string
	for _, text := range texts {
		templates = append(templates, fmt.Sprintf(`{{ include "tap.filterReduced" (include "tap.filterTokens" (b64dec %q)) | b64enc }}`, base64.StdEncoding.EncodeToString([]byte(text))))
	}
	b, err := json.Marshal(map[string]any{"extraObjects": []any{map[string]any{"list": templates}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	rendered, err := run(t, "helm4", "template", release, chart, "--values", file, "--show-only", "templates/extra.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct{ List [][]byte }
	var text struct{ List []string }
	if err := yaml.Unmarshal([]byte(rendered), &text); err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(map[string]any{"List": text.List})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(quoted, &object); err != nil || len(object.List) != len(texts) {
		t.Fatalf("%v: %d results of %d expressions", err, len(object.List), len(texts))
	}
	var out []string
	for _, result := range object.List {
		out = append(out, string(bytes.TrimSpace(result)))
	}
	return out
}
