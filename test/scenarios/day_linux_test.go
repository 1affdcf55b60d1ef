// Package scenarios_test plays a day in miniature: see README.md.
package scenarios_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// TestDay plays each scenario with real TLS stacks and live taps, and compares the findings with a golden file.
func TestDay(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: make test runs it")
	}
	requireLab(t)
	tap := buildTap(t)
	var table bytes.Buffer
	for i := range scenarios {
		s := &scenarios[i]
		t.Run(s.name, func(t *testing.T) { table.WriteString(undropped(t, tap, s)) })
	}
	if t.Failed() {
		return
	}
	const golden = "testdata/day.txt"
	if *update {
		must(t, os.WriteFile(golden, table.Bytes(), 0o644)) //nolint:gosec // a file of the repository
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(want, table.Bytes()) {
		t.Errorf("%s differs; with -update it is rewritten. Now:\n%s", golden, table.Bytes())
	}
}

// undropped plays a scenario, again if packets were dropped, as they may be on a busy machine. It returns the scenario's part of
// the golden file.
func undropped(t *testing.T, tap string, s *scenario) (part string) {
	t.Helper()
	const attempts = 3
	for n := range attempts {
		dropped := false
		t.Run(fmt.Sprint("attempt ", n+1), func(t *testing.T) { part, dropped = play(t, tap, s) })
		if !dropped {
			return part
		}
	}
	t.Fatalf("packets were dropped in each of %d attempts", attempts)
	return ""
}

var droppedPackets = regexp.MustCompile(`"dropped":[1-9]`)

func play(t *testing.T, tap string, s *scenario) (part string, dropped bool) {
	l := newLab(t, tap)
	s.play(t, l)
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n%s\n", s.name, s.story)
	for _, p := range l.pods {
		if p.cmd == nil {
			continue
		}
		lines := p.stop(t)
		dropped = dropped || slices.ContainsFunc(lines, droppedPackets.MatchString)
		fmt.Fprintf(&out, "\ntap of %s\n%s", p.name, summary(t, lines))
	}
	out.WriteString("\n")
	return out.String(), dropped
}

// record has the fields of a tap's record that the golden file shows.
type record struct {
	Event struct {
		Kind, Dataset, Action string
		Severity              int
	}
	Rule        struct{ ID string }
	Message     string
	Destination struct{ Port int }
	Meshtls     struct {
		Verdict, Class string
		TLS            struct {
			ClientAuth string `json:"client_auth"`
			Outcome    string
		}
	}
}

// verdict returns what the golden file says of a connection.
func (r *record) verdict() string {
	v := cmp.Or(r.Meshtls.Verdict, "without data")
	if r.Meshtls.Class != "workload" {
		v += ", class " + r.Meshtls.Class
	}
	if t := r.Meshtls.TLS; t.Outcome != "" {
		v += ", client certificate " + t.ClientAuth + ", handshake " + t.Outcome
	}
	return v
}

// times matches what differs between two runs in a message.
var times = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`)

// summary lists the findings of a tap in their order, as far as they tell news, and its connections by verdict.
func summary(t *testing.T, lines []string) string {
	t.Helper()
	var findings []string
	verdicts := map[string]uint64{}
	for _, line := range lines {
		var r record
		must(t, json.Unmarshal([]byte(line), &r))
		switch r.Event.Dataset {
		case "meshtls.finding":
			findings = append(findings, fmt.Sprintf("  %s %s %d %s: %s\n", r.Event.Kind, r.Event.Action, r.Event.Severity, r.Rule.ID, times.ReplaceAllString(r.Message, "TIME")))
		case "meshtls.flow":
			if r.Meshtls.Class != "tap" && r.Destination.Port != healthPort {
				verdicts[r.verdict()]++
			}
		}
	}
	var out strings.Builder
	for _, f := range findings {
		out.WriteString(f)
	}
	if len(findings) == 0 {
		out.WriteString("  no finding\n")
	}
	for _, v := range slices.Sorted(maps.Keys(verdicts)) {
		fmt.Fprintf(&out, "  %d %s\n", verdicts[v], v)
	}
	return out.String()
}
