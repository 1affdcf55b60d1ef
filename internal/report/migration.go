package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/migration"
)

// Migration writes the change of each edge. It first writes a summary ("4 edges: 1 lost mutual TLS, 3
// kept mutual TLS"). Then follow the edges, the reasons, and the extent of both inputs. It returns the
// error of w.
func Migration(w io.Writer, r *migration.Result, o Options) error {
	t := &text{Options: o}
	t.wrap("", migrationTally(r))
	t.migrationTable(r)
	t.migrationWhy(r)
	t.heading("Seen")
	t.migrationSide("before", &r.Before, r.Folded[0])
	t.migrationSide("after", &r.After, r.Folded[1])
	t.migrationNotes(r)
	_, err := w.Write(t.buf.Bytes())
	return err
}

// changes maps changes to words.
var changes = map[migration.Change]string{
	migration.Kept: "kept", migration.Lost: "lost", migration.Gained: "gained", migration.Covered: "covered", migration.Unchanged: "unchanged",
	migration.Other: "changed", migration.Gone: "gone", migration.New: "new", migration.NotEnough: "not enough seen",
}

// states maps states to words.
var states = map[migration.State]string{
	migration.NotSeen: "not seen", migration.MTLS: "mutual TLS", migration.MTLSSidecar: "mutual TLS by sidecar", migration.MTLSHBONE: "mutual TLS by HBONE",
	migration.Mixed: "partly mutual TLS", migration.TLS: "TLS", migration.TLSUnclear: "TLS, mutual or not", migration.Encrypted: "encrypted, not TLS",
	migration.Plaintext: "plaintext", migration.Failed: "failed handshakes", migration.Unjudged: "unjudged",
}

func migrationTally(r *migration.Result) string {
	if len(r.Edges) == 0 {
		return "No edges: neither side has a connection between workloads on the wire."
	}

	var parts []string
	for _, c := range migration.Changes {
		n := r.Count(c)
		if n == 0 {
			continue
		}
		what := changes[c]
		switch c { //nolint:exhaustive // the words for other changes need no addition
		case migration.Kept, migration.Lost, migration.Gained:
			what += " mutual TLS"
		case migration.Covered:
			what += " by HBONE"
		case migration.Unchanged, migration.Other:
			what += " without mutual TLS"
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, what))
	}
	return fmt.Sprintf("%s: %s", plural(uint64(len(r.Edges)), "edge"), strings.Join(parts, ", "))
}

// migrationTable writes a row for each edge.
func (t *text) migrationTable(r *migration.Result) {
	if len(r.Edges) == 0 {
		return
	}

	rows := [][columns]string{{"CHANGE", "FROM", "TO", "BEFORE", "AFTER", "MATCHED BY"}}
	for i := range r.Edges {
		e := &r.Edges[i]
		basis := string(e.Basis)
		if basis == "" {
			basis = "-"
		}
		rows = append(rows, [columns]string{changes[e.Change], clean(e.From.String()), clean(migrationTo(e)), state(&e.Before), state(&e.After), basis})
	}

	t.buf.WriteByte('\n')
	t.rows(rows, t.migrationRow)
}

func (t *text) migrationRow(cells [columns]string, widths [columns]int, head bool) {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", indent))
	for c, cell := range cells {
		pad := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell)+between)
		switch {
		case head:
			cell = t.paint(Dim, cell)
		case c == 0:
			cell = t.change(cell)
		}
		b.WriteString(cell + pad)
	}
	t.buf.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

// change returns a change in its color.
func (t *text) change(s string) string {
	switch s {
	case changes[migration.Lost]:
		return t.paint(Red, s)
	case changes[migration.Kept], changes[migration.Gained]:
		return t.paint(Green, s)
	case changes[migration.NotEnough]:
		return t.paint(Yellow, s)
	}
	return s
}

// migrationTo returns the server with its port.
func migrationTo(e *migration.Edge) string {
	to := e.To.String()
	switch {
	case e.Port == 0:
		return to + " (HBONE)"
	case strings.Count(to, ":") > 1 && !strings.Contains(to, "//"):
		to = "[" + to + "]"
	}
	return to + ":" + strconv.Itoa(int(e.Port))
}

// state returns the words for the state of an edge on one side. If the ports of the server differ from
// the edge's port, it includes them.
func state(l *migration.Observation) string {
	s := states[l.State]
	var ports []string
	for _, p := range l.Ports {
		ports = append(ports, strconv.Itoa(int(p)))
	}
	switch {
	case len(ports) == 0 || l.State == migration.MTLSHBONE:
		return s
	case len(ports) == 1:
		return s + " (port " + ports[0] + ")"
	}
	return s + " (ports " + strings.Join(ports, ", ") + ")"
}

// migrationWhy writes the numbers of connections on both sides of each edge, and the reasons.
func (t *text) migrationWhy(r *migration.Result) {
	if len(r.Edges) == 0 {
		return
	}
	t.heading("Why")
	for i := range r.Edges {
		e := &r.Edges[i]
		parts := []string{"before " + counted(&e.Before) + ", after " + counted(&e.After)}
		for i, code := range e.Reasons {
			word := migration.Reasons[code]
			if word == "" {
				word = clean(code)
			}
			if i == 0 {
				word = unseenSide(e) + word
			}
			parts = append(parts, word)
		}
		t.wrap("  "+t.change(changes[e.Change])+"  ", clean(e.From.String())+" > "+clean(migrationTo(e))+": "+strings.Join(parts, "; "))
	}
}

// unseenSide returns the side that the reasons of an edge are about, as the start of a sentence: the one on which the edge was not
// seen, if that is the cause of "not enough seen". It returns "" for any other edge.
func unseenSide(e *migration.Edge) string {
	before, after := e.Before.State == migration.NotSeen, e.After.State == migration.NotSeen
	switch {
	case e.Change != migration.NotEnough || before == after:
		return ""
	case before:
		return "before the change, "
	}
	return "after the change, "
}

// counted returns the numbers of connections by kind.
func counted(l *migration.Observation) string {
	c := &l.Counts
	var parts []string
	for _, k := range []struct {
		n    uint64
		what string
	}{
		{c.Plaintext, "plaintext"}, {c.TLS, "TLS without a client certificate"}, {c.Encrypted, "encrypted by other means than TLS"},
		{c.Sidecar, "mutual TLS by sidecar"}, {c.HBONE, "mutual TLS by HBONE"}, {c.MTLS, "mutual TLS"},
		{c.Unclear, "TLS that may be mutual or not"}, {c.Unjudged, "unjudged"}, {c.Failed, "failed"},
	} {
		if k.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", k.n, k.what))
		}
	}

	if len(parts) == 0 {
		return "not seen"
	}
	return strings.Join(parts, " and ")
}

// migrationSide writes the extent and the losses of one side's input.
func (t *text) migrationSide(name string, w *migration.Watch, folded uint64) {
	span := "unknown time"
	if w.Start != 0 {
		span = timeRange(w.Start, w.End)
	}

	t.wrap("  ", fmt.Sprintf("%s: %s of %s, %s; %d packets lost", name, plural(w.Records, "record"), sources(w), span, w.Dropped))
	for _, line := range []struct {
		n    uint64
		what string
	}{
		{w.Repeats, "%s came again; each counts once"},
		{w.Missing, "%s missing, by the sequence numbers"},
		{w.Within, "%s of traffic within a pod, which is not compared"},
		{w.OverBounds, "%s beyond the bounds of the comparison: their edges are not listed"},
	} {
		if line.n > 0 {
			t.wrap("  ", name+": "+fmt.Sprintf(line.what, plural(line.n, "record")))
		}
	}

	if w.Skipped > 0 {
		t.wrap("  ", fmt.Sprintf("%s: %s not read: not a record", name, plural(w.Skipped, "line")))
	}

	if folded > 0 {
		t.wrap("  ", fmt.Sprintf("%s: %s that may be less than mutual TLS counted without their edge, because the tap had too many edges", name, plural(folded, "connection")))
	}

	if w.Records > 0 && !w.Edges {
		t.wrap("  ", name+": only findings, which lack the edges that break no rule: add postures")
	}
}

// sources returns the numbers of taps and captures of one side.
func sources(w *migration.Watch) string {
	taps, captures := uint64(w.Taps), plural(uint64(w.Captures), "capture")
	switch {
	case w.Captures == 0:
		return plural(taps, "tap")
	case w.Taps == w.Local:
		return captures
	}
	return plural(taps-uint64(w.Local), "tap") + " and " + captures
}

// migrationNotes writes the limits of the comparison that apply to these edges.
func (t *text) migrationNotes(r *migration.Result) {
	has := func(f func(*migration.Edge) bool) uint64 {
		n := uint64(0)
		for i := range r.Edges {
			if f(&r.Edges[i]) {
				n++
			}
		}
		return n
	}

	pairs := has(func(e *migration.Edge) bool {
		return e.Basis == migration.ByPair || e.Port != 0 && slices.Contains(e.After.Ports, 15008)
	})

	if pairs > 0 {
		t.wrap("  ", "HBONE has one port (15008) and encrypts the port and the service inside: it represents all services between two workloads.")
	}

	if n := has(func(e *migration.Edge) bool { return e.Basis == migration.ByAddress }); n > 0 {
		t.wrap("  ", fmt.Sprintf("%s matched by address: the match is right only if no other pod had the address in between.", plural(n, "edge")))
	}

	if n := has(func(e *migration.Edge) bool {
		return e.Basis == "" && e.Change == migration.NotEnough && (nameless(e.From) || nameless(e.To))
	}); n > 0 {
		t.wrap("  ", fmt.Sprintf("%s with an end that only has an address could not be matched: pods get new addresses when they restart, and a waypoint (a proxy of an ambient mesh between pods) replaces a peer.", plural(n, "edge")))
	}
}

func nameless(p migration.Party) bool { return p.Name == "" }
