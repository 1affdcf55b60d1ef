package chart_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestVariables: the programs read every variable that the chart sets.
func TestVariables(t *testing.T) {
	known := slices.Concat(variables(t, "cmd/tap/config.go"), variables(t, "cmd/tap-webhook/config.go"), variables(t, "cmd/tap-webhook/check.go"))
	if len(known) < 50 {
		t.Fatalf("only %d variables found: this test reads the programs wrong", len(known))
	}
	name := regexp.MustCompile(`\{?name: "?((?:WEBHOOK|TAP)_[A-Z_]+)`)
	for _, set := range sets {
		rendered, err := template(t, "helm4", set)
		if err != nil {
			t.Fatal(err)
		}
		used := name.FindAllStringSubmatch(rendered, -1)
		if len(used) < 20 {
			t.Errorf("%s: only %d variables found", set, len(used))
		}
		for _, m := range used {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s: %s is set, and nobody reads it", set, m[1])
			}
		}
	}
}

// TestInjectedVariables: the tap reads every variable that the webhook sets in pods.
func TestInjectedVariables(t *testing.T) {
	known := variables(t, "cmd/tap/config.go")
	set := regexp.MustCompile(`"((?:TAP|POD|HOST|NODE|SERVICE)_[A-Z_]+)"`).FindAllStringSubmatch(source(t, "internal/inject/container.go"), -1)
	if len(set) < 20 {
		t.Fatalf("only %d variables found: this test reads internal/inject/container.go wrong", len(set))
	}
	for _, m := range set {
		if !slices.Contains(known, m[1]) {
			t.Errorf("%s is set, and the tap does not read it", m[1])
		}
	}
}

// TestTapVariables: the chart's list of the tap's variables is complete, with those that only the webhook sets. Its list of rules
// is that of the tap.
func TestTapVariables(t *testing.T) {
	list, checks := source(t, "charts/tap/templates/_environment.tpl"), source(t, "charts/tap/templates/_checks.tpl")
	var have []string
	for _, m := range regexp.MustCompile(`(?m)^(TAP_[A-Z_]+):`).FindAllStringSubmatch(list, -1) {
		have = append(have, m[1])
	}
	_, reserved, _ := strings.Cut(checks, "{{- $reserved := list ")
	reserved, _, _ = strings.Cut(reserved, " }}")
	for name := range strings.FieldsSeq(reserved) {
		have = append(have, strings.Trim(name, `"`))
	}
	want := variables(t, "cmd/tap/config.go")
	want = slices.DeleteFunc(want, func(name string) bool { return !strings.HasPrefix(name, "TAP_") })
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the chart knows the variables\n%q\nand the tap has\n%q", have, want)
	}

	_, rules, _ := strings.Cut(list, `{{- $rules := "`)
	rules, _, _ = strings.Cut(rules, `"`)
	cmd := tapCheck(t, `env: [{name: TAP_MUTE, value: x}]`)
	said, _ := cmd.CombinedOutput()
	if !strings.Contains(string(said), "expected rules, of "+strings.ReplaceAll(rules, "|", ", ")+", tap-blind") {
		t.Errorf("the chart knows the rules %s, and the tap says: %s", rules, said)
	}
}

func variables(t *testing.T, file string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile("[` ]env:\"([A-Z_]+)\"").FindAllStringSubmatch(source(t, file), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestSettings: the rendered settings file is YAML, and internal/inject reads each of its keys.
func TestSettings(t *testing.T) {
	var keys []string
	for _, m := range regexp.MustCompile("json:\"([a-zA-Z]+)").FindAllStringSubmatch(source(t, "internal/inject/settings.go"), -1) {
		keys = append(keys, m[1])
	}
	if len(keys) < 10 {
		t.Fatalf("only %d keys found: this test reads internal/inject/settings.go wrong", len(keys))
	}
	for _, set := range sets {
		rendered, err := template(t, "helm4", set, "--show-only", "templates/settings.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var object struct{ Data map[string]string }
		var settings map[string]any
		if err := yaml.Unmarshal([]byte(rendered), &object); err != nil {
			t.Fatal(err)
		}
		if err := yaml.NewDecoder(strings.NewReader(object.Data["settings.yaml"])).Decode(&settings); err != nil {
			t.Fatalf("%s: %v", set, err)
		}
		for key := range settings {
			if !slices.Contains(keys, key) {
				t.Errorf("%s: settings.yaml has %q, which internal/inject does not know", set, key)
			}
		}
	}
}
