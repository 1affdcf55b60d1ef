package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// liveOptions returns the options of a screen.
func liveOptions(width, height int) report.LiveOptions {
	return report.LiveOptions{
		Options: report.Options{Width: width}, Height: height, Head: "tap run, shop/web-1, 3m12s, 6m48s left (q quits)",
		Problems: []string{"capture on eth1: look up the interface: no such interface: there are lo, eth0"},
		Log:      `time=2026-11-24T12:00:00Z level=INFO msg=capturing interface=eth0`, Now: time.Unix(0, noon),
	}
}

// TestLive: golden screens of several sizes.
func TestLive(t *testing.T) {
	for name, c := range map[string]struct {
		summary       finding.Summary
		width, height int
	}{
		"live-60":      {everything(), 60, 50},
		"live-80":      {everything(), 80, 40},
		"live-200":     {everything(), 200, 40},
		"live-80-24":   {everything(), 80, 24},
		"live-nothing": {summarize(finding.Config{}), 80, 10},
	} {
		var l report.Live
		lines := l.Lines(&c.summary, liveOptions(c.width, c.height))
		if len(lines) != c.height {
			t.Errorf("%s: %d lines, want %d", name, len(lines), c.height)
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > c.width {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		golden(t, name+".txt", []byte(strings.Join(lines, "\n")+"\n"))
	}
}

// TestLiveSizes: no size of a terminal, however small, makes the screen larger than the terminal, with colors or without.
func TestLiveSizes(t *testing.T) {
	s := everything()
	for width := 1; width < 120; width += 7 {
		for height := 1; height < 60; height++ {
			for _, color := range []bool{false, true} {
				var l report.Live
				o := liveOptions(width, height)
				o.Color = color
				lines := l.Lines(&s, o)
				if len(lines) != height {
					t.Fatalf("%d columns, %d lines: %d lines", width, height, len(lines))
				}
				for _, line := range lines {
					if n := utf8.RuneCountInString(withoutColors(line)); n > width || !color && strings.Contains(line, "\x1b") || strings.Count(line, "\x1b[")%2 > 0 {
						t.Fatalf("%d columns, %d lines, color %v: %q", width, height, color, line)
					}
				}
			}
		}
	}
}

func withoutColors(line string) string {
	var b strings.Builder
	for i, part := range strings.Split(line, "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		b.WriteString(part)
	}
	return b.String()
}

// TestLiveOrder: the newest finding is on top, also if an older one is more severe; a resolved one says so; edges keep their order while their verdicts
// stay; edges without room are counted.
func TestLiveOrder(t *testing.T) {
	const lines = 30
	s := finding.Summary{}
	for n := range 100 {
		v := []string{"plaintext", "mtls"}[n/50]
		s.Edges = append(s.Edges, finding.Edge{Key: fmt.Sprint(n), From: fmt.Sprint("client-", n), To: fmt.Sprint("server-", n), Port: 80, Scope: "wire", Class: "workload", Verdict: v, Seen: []finding.Seen{{Verdict: v, Connections: 1}}})
	}
	s.Findings = []finding.Finding{{Rule: "first-rule", Edge: "1", Severity: 99, Open: true, Message: "one"}}
	var l report.Live
	o := liveOptions(100, lines)
	before := l.Lines(&s, o)

	o.Now = o.Now.Add(time.Minute)
	s.Findings = append(s.Findings, finding.Finding{Rule: "second-rule", Edge: "1", Severity: 20, Open: true, Message: "two"})
	s.Findings[0].Open = false
	s.Edges[0].Seen[0].Connections = 7
	after := strings.Join(l.Lines(&s, o), "\n")
	second, first := strings.Index(after, "  12:01:00        20  second-rule  two"), strings.Index(after, "  12:00:00  resolved  first-rule   one")
	if second < 0 || first < second {
		t.Error(after)
	}
	rows := func(screen []string) (out []string) {
		for _, line := range screen {
			if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[1], "client-") {
				out = append(out, f[1])
			}
		}
		return out
	}
	shown, again := rows(before), rows(strings.Split(after, "\n"))
	if len(shown) < 10 || strings.Join(shown[:len(again)], " ") != strings.Join(again, " ") || !strings.Contains(after, fmt.Sprintf("\n  and %d more edges\n", 100-len(again))) {
		t.Errorf("%q, then %q:\n%s", shown, again, after)
	}
}

// TestLiveHostile: names, log lines and problems cannot control the terminal.
func TestLiveHostile(t *testing.T) {
	const evil = "a\x1b[2J\x1b]0;x\x07\u202e\r\n\xff"
	j := &verdict.Judged{Protocol: evil, PeerName: evil, PeerNameBasis: "sni"}
	s := finding.Summary{
		Edges:    []finding.Edge{{Key: "k", From: evil, To: evil, Scope: "wire", Class: "workload", Verdict: "plaintext", Seen: []finding.Seen{{Verdict: "plaintext", Connections: 1, Last: j}}}},
		Findings: []finding.Finding{{Rule: evil, Message: evil, Edge: "k"}}, Filter: evil,
	}
	o := liveOptions(200, 20)
	o.Head, o.Problems, o.Log = evil, []string{evil}, evil
	var l report.Live
	for _, line := range l.Lines(&s, o) {
		if strings.ContainsAny(line, "\x1b\x07\u202e\r\n") || !utf8.ValidString(line) {
			t.Errorf("%q", line)
		}
	}
}

// BenchmarkLive draws 1,000 edges, of which each screen shows as many as fit.
func BenchmarkLive(b *testing.B) {
	s := finding.Summary{}
	for n := range 1000 {
		s.Edges = append(s.Edges, finding.Edge{Key: fmt.Sprint(n), From: fmt.Sprint("client-", n), To: fmt.Sprint("server-", n), Port: 80, Scope: "wire", Class: "workload", Verdict: "mtls", Seen: []finding.Seen{{Verdict: "mtls", Connections: 1}}})
	}
	var l report.Live
	for b.Loop() {
		l.Lines(&s, liveOptions(200, 50))
	}
}
