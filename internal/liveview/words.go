package liveview

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// kind is a verdict of an edge as it is shown. The shape is there because a verdict must not depend on its color.
type kind struct{ verdict, shape, label string }

// kinds are the verdicts of edges from the worst to the best.
var kinds = []kind{
	{"plaintext", "■", "plaintext"},
	{"partly plaintext", "■", "partly plaintext"},
	{"tls", "▲", "TLS"},
	{"encrypted", "◆", "encrypted"},
	{"failed", "×", "failed"},
	{"unknown", "?", "unjudged"},
	{"mtls", "●", "mutual TLS"},
}

// kindOf returns the index in kinds of the verdict of an edge.
func kindOf(e *topology.Edge) int {
	v := cmp.Or(e.Verdict, "unknown")
	if n := e.Connections; v == "plaintext" && n.MTLS+n.TLS+n.Encrypted > 0 {
		v = "partly plaintext"
	}
	for i := range kinds {
		if kinds[i].verdict == v {
			return i
		}
	}
	return slices.IndexFunc(kinds, func(k kind) bool { return k.verdict == "unknown" })
}

// ofWire reports whether an edge is traffic between workloads on the wire. Rules apply to nothing else.
func ofWire(e *topology.Edge) bool {
	return e.Scope != "pod" && (e.Class == "" || e.Class == "workload")
}

// nothing is shown where there are no edges.
const nothing = "No edge has been reported yet, which does not mean that there are none."

// silent returns that n further taps no longer report.
func silent(n int) string {
	if n == 1 {
		return "1 more tap no longer reports"
	}
	return strconv.Itoa(n) + " more taps no longer report"
}

// count formats a number with a noun.
func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatUint(n, 10) + " " + what + "s"
}

// name returns a workload as NAMESPACE/NAME. A name that only the client claimed is marked and followed by its first address.
func name(w *topology.Workload) string {
	s := report.CleanMessage(w.String())
	if w.Claimed {
		s += "*"
		if len(w.Addresses) > 0 {
			s += " " + w.Addresses[0].String()
		}
	}
	return s
}

// server returns the server with its port.
func server(e *topology.Edge) string {
	s := name(&e.To)
	if e.Folded && e.Port == 0 {
		return s
	}
	if strings.Count(s, ":") > 1 { // an IPv6 address
		s = "[" + s + "]"
	}
	return s + ":" + strconv.Itoa(int(e.Port))
}

// protocol returns the protocol; for TLS, its version and cipher suite too.
func protocol(e *topology.Edge) string {
	s := report.ProtocolName(e.Protocol)
	if e.Version == "" {
		return s
	}
	v := report.CleanMessage(e.Version)
	if v[0] >= '0' && v[0] <= '9' {
		v = "TLS " + v
	}
	if s != "" && !strings.EqualFold(s, "TLS") {
		s += ", "
	} else {
		s = ""
	}
	return strings.TrimSpace(s + v + " " + report.CleanMessage(e.Cipher))
}

func connections(n *record.ByVerdict) uint64 {
	return n.Plaintext + n.TLS + n.Encrypted + n.MTLS + n.Failed + n.Unknown
}

// ago returns how long before now a time was, in at most 4 characters.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := max(0, now.Sub(t)); {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 100*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	default:
		return strconv.Itoa(int(d.Hours()/24)) + "d"
	}
}

// left returns the time until a moment, such as "9m41s".
func left(now, until time.Time) string {
	return max(0, until.Sub(now)).Round(time.Second).String()
}

// newest returns the open findings, the newest first. Of equally old ones, the most severe is first.
func newest(findings []topology.Finding) []*topology.Finding {
	var open []*topology.Finding
	for i := range findings {
		if findings[i].Open() {
			open = append(open, &findings[i])
		}
	}
	slices.SortStableFunc(open, func(a, b *topology.Finding) int {
		return cmp.Or(b.First.Compare(a.First), cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Rule, b.Rule))
	})
	return open
}

// findingLine returns a finding in one line.
func findingLine(f *topology.Finding) string {
	s := fmt.Sprintf("%s (severity %d): ", report.CleanMessage(f.Rule), f.Severity)
	if f.Message != "" {
		return s + report.CleanMessage(f.Message)
	}
	return s + fmt.Sprintf("%s to %s port %d", name(&f.From), name(&f.To), f.Port)
}

// tapLine returns the states of the taps in one line: a count of each, then the losses.
func tapLine(taps []Tap) string {
	var counts [len(phases)]uint64
	var dropped, older uint64
	for i := range taps {
		counts[taps[i].Phase]++
		dropped += taps[i].Dropped
		older += taps[i].Older
	}
	parts := []string{count(uint64(len(taps)), "tap")}
	for _, p := range [...]Phase{Running, Starting, Ended, Lost, Failed} {
		if counts[p] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[p], phases[p]))
		}
	}
	parts = append(parts, count(dropped, "packet")+" lost")
	if older > 0 {
		parts = append(parts, count(older, "connection")+" older than the taps")
	}
	return strings.Join(parts, ", ")
}

// badTaps returns the taps that report no more, each in a line.
func badTaps(taps []Tap) []string {
	var lines []string
	for i := range taps {
		if t := &taps[i]; t.Phase == Ended || t.Phase == Lost || t.Phase == Failed {
			lines = append(lines, tapState(t))
		}
	}
	return lines
}

func tapState(t *Tap) string {
	s := "tap of " + report.CleanMessage(t.Pod) + ": " + phases[t.Phase]
	if t.Reason != "" {
		s += ": " + report.CleanMessage(t.Reason)
	}
	return s
}
