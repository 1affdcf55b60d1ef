package liveview

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// newModel returns the view of a state on a screen.
func newModel(s *State, width, height int) *model {
	m := &model{source: func() State { return *s }, title: "Tapping " + hostile, clock: func() time.Time { return noon }, color: true}
	m.Init()
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return m
}

// press presses keys, one for each character; \r is Enter.
func press(m *model, keys string) {
	for _, r := range keys {
		k := tea.KeyPressMsg{Code: r, Text: string(r)}
		if r == '\r' {
			k = tea.KeyPressMsg{Code: tea.KeyEnter}
		}
		m.Update(k)
	}
}

// escapes are those that the view itself writes.
var escapes = regexp.MustCompile(`\x1b\[[0-9]+m`)

// TestSizes: at any size the view fits on the screen, has the keys in its last line, and has no escapes but its own, in the table and in the
// details of each edge. A screen of 5 lines has the answer and the selected edge.
func TestSizes(t *testing.T) {
	s := many(60)
	for i := range s.Edges[:9] {
		s.Edges[i].Reasons, s.Edges[i].Version, s.Edges[i].Cipher, s.Edges[i].Disagreement, s.Edges[i].Mesh = []string{hostile, "http_request_line"}, hostile, hostile, hostile, hostile
		s.Edges[i].Ends = []topology.End{{Side: hostile, Verdict: hostile}}
		s.Edges[i].Changes = []topology.Change{{At: noon, Verdict: hostile}}
	}
	m := newModel(&s, 80, 24)
	check := func(width, height int, what string) {
		t.Helper()
		lines := strings.Split(m.View().Content, "\n")
		if len(lines) > height {
			t.Errorf("%d columns, %d lines, %s: %d lines", width, height, what, len(lines))
		}
		for _, line := range lines {
			if n := ansi.StringWidth(line); n > width {
				t.Errorf("%d columns, %d lines, %s: %d columns: %q", width, height, what, n, line)
			}
			plain := escapes.ReplaceAllString(line, "")
			if strings.ContainsFunc(plain, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s: %q", what, plain)
			}
		}
	}
	for _, width := range []int{1, 2, 5, 10, 20, 38, 39, 60, 80, 200, 400} {
		for _, height := range []int{1, 2, 3, 5, 11, 12, 24, 50} {
			m.Update(tea.WindowSizeMsg{Width: width, Height: height})
			check(width, height, "table")
			press(m, "/")
			check(width, height, "filter")
			press(m, strings.Repeat("shop ", 10)+"\r")
			check(width, height, "filtered")
			m.Update(tea.KeyPressMsg{Code: tea.KeyEscape})
			press(m, "g")
			for range 9 {
				press(m, "\r")
				check(width, height, "details")
				press(m, "\rj")
			}
			press(m, "G")
			check(width, height, "end")
		}
	}
	m = newModel(&s, 20, 5)
	got := ansi.Strip(m.View().Content)
	if !regexp.MustCompile(`(?m)^> ■  sh…art  sho…379 *$`).MatchString(got) || !strings.HasPrefix(got, "2 of ") {
		t.Errorf("20 columns, 5 lines:\n%s", got)
	}
}

// TestNarrowDetails: on a narrow screen the details of an edge lose no word.
func TestNarrowDetails(t *testing.T) {
	s := shop()
	all := func(width int) string {
		return strings.Join(strings.Fields(strings.Join(why(&s.Edges[1], s.Findings, width), " ")), "")
	}
	if got, want := all(20), all(200); got != want {
		t.Errorf("20 columns have\n%s\nand not\n%s", got, want)
	}
	for _, line := range why(&s.Edges[1], s.Findings, 20) {
		if ansi.StringWidth(line) > 20 {
			t.Errorf("wider than 20 columns: %q", line)
		}
	}
}

// twins returns a state with two edges that differ only in the kind of the server: a Service, and a Deployment of the same name.
func twins() State {
	s := shop()
	a := s.Edges[1]
	b := a
	b.To.Kind, b.Verdict, b.Connections = "Service", "mtls", record.ByVerdict{MTLS: 1}
	f := s.Findings[1]
	f.From, f.To, f.Port = a.From, a.To, a.Port
	g := f
	g.To.Kind, g.State = "Service", "resolved"
	s.Edges, s.Findings = []topology.Edge{a, b}, []topology.Finding{f, g}
	return s
}

// TestTwins: workloads of the same name and another kind are told apart. The selection moves from one to the other, and a line is written
// once for each.
func TestTwins(t *testing.T) {
	s := twins()
	m := newModel(&s, 80, 24)
	press(m, "j")
	if at := m.at(); at != 1 {
		t.Errorf("row %d is selected, want 1", at)
	}
	c := newChanges()
	c.next(&s)
	if again := c.next(&s); len(again) != 0 {
		t.Errorf("the same state gives %q", again)
	}
	if lines := strings.Join(why(&s.Edges[1], s.Findings, 80), "\n"); strings.Contains(lines, "[ongoing]") {
		t.Errorf("the details have the finding of the other edge:\n%s", lines)
	}
}

// TestFreshHandshake: an edge gets another line when one of its connections is the first with a verdict, also if the edge keeps its own.
func TestFreshHandshake(t *testing.T) {
	edge := topology.Edge{From: topology.Workload{Namespace: "shop", Name: "web"}, To: topology.Workload{Namespace: "shop", Name: "db"}, Port: 5432, Verdict: "tls"}
	c := newChanges()
	for _, step := range []struct {
		verdict string
		n       record.ByVerdict
		want    string
	}{
		{"tls", record.ByVerdict{TLS: 1}, "TLS: shop/web to shop/db:5432"},
		{"tls", record.ByVerdict{TLS: 2}, ""},
		{"tls", record.ByVerdict{TLS: 2, MTLS: 1}, "TLS: shop/web to shop/db:5432; connections: 2 TLS, 1 mutual TLS"},
		{"tls", record.ByVerdict{TLS: 2, MTLS: 9}, ""},
		{"mtls", record.ByVerdict{MTLS: 9}, "mutual TLS: shop/web to shop/db:5432, before: TLS"},
		{"tls", record.ByVerdict{TLS: 1, MTLS: 9}, "TLS: shop/web to shop/db:5432; connections: 1 TLS, 9 mutual TLS, before: mutual TLS"},
	} {
		edge.Verdict, edge.Connections = step.verdict, step.n
		if got := strings.Join(c.next(&State{Edges: []topology.Edge{edge}}), "\n"); got != step.want {
			t.Errorf("%+v: %q, want %q", step.n, got, step.want)
		}
	}
}

// TestPaste: text that is pasted goes into the filter while that is typed, without what cannot be shown.
func TestPaste(t *testing.T) {
	s := shop()
	m := newModel(&s, 80, 24)
	m.Update(tea.PasteMsg{Content: "q"})
	if m.filter != "" || m.quit {
		t.Error("a pasted text is taken for keys")
	}
	press(m, "/")
	m.Update(tea.PasteMsg{Content: "redis\x1b[2J\n\u202e" + strings.Repeat("x", 200)})
	if want := "redis[2J" + strings.Repeat("x", maxFilter-8); m.filter != want {
		t.Errorf("the filter is %q, want %q", m.filter, want)
	}
	if shown := ansi.Strip(m.View().Content); !strings.Contains(shown, fmt.Sprintf("…%s▏", strings.Repeat("x", 76))) {
		t.Errorf("the end of the filter is not shown:\n%s", shown)
	}
}

// TestOpenFindings: a finding whose state is not known is open.
func TestOpenFindings(t *testing.T) {
	if n := len(newest([]topology.Finding{{State: "open"}, {State: "ongoing"}, {State: "muted"}, {State: "resolved"}, {State: "withdrawn"}})); n != 3 {
		t.Errorf("%d open findings, want 3", n)
	}
}
