package liveview

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// wide is the width of the table where the output is not a terminal.
const wide = 1000

// Summary writes the last state: the answer, the findings, the edges, each tap with the reason for its end, and what could not be known.
// ended is why the view ended; it is written if the state has no reason of its own.
func Summary(out io.Writer, s State, ended string, o Options) error {
	if o.clock == nil {
		o.clock = time.Now
	}
	o.Out = out
	m := model{color: o.Color(), state: s, now: o.clock()}
	var b bytes.Buffer
	width := o.Width()
	line := func(head, text string) {
		if width == 0 {
			b.WriteString(head + text + "\n")
			return
		}
		b.WriteString(strings.Join(wrap(head, text, width), "\n") + "\n")
	}
	line("", report.CleanMessage(s.Answer))
	if width == 0 || o.Wide {
		width = wide
	}
	t := newTable(s.Edges, "", width, m.now)
	m.table = t
	if len(t.rows) > 0 {
		b.WriteString("\n" + strings.TrimRight(strings.Repeat(" ", marker)+t.headings(), " ") + "\n")
	}
	if len(t.rows) == 0 {
		line("", nothing)
	}
	for i := range t.rows {
		b.WriteString(strings.TrimRight(m.rowLine(i, false), " ") + "\n")
	}
	if slices.ContainsFunc(s.Edges, func(e topology.Edge) bool { return e.From.Claimed || e.To.Claimed }) {
		b.WriteString("  * Only the client claimed this name.\n")
	}
	width = o.Width()
	if open := newest(s.Findings); len(open) > 0 {
		b.WriteString("\nOpen findings\n")
		for _, f := range slices.Backward(open) {
			line("  ", findingLine(f))
		}
	}
	if len(s.Unknown) > 0 {
		b.WriteString("\nNot known\n")
	}
	for i := range s.Unknown {
		u := &s.Unknown[i]
		text := report.CleanMessage(u.Text)
		var names []string
		for j := range u.Workloads {
			names = append(names, name(&u.Workloads[j]))
		}
		if len(names) > 0 {
			text = topology.WithNames(text, len(names), strings.Join(names, ", "))
		}
		line("  ", text)
	}
	b.WriteString("\n")
	line("", tapLine(s.Taps)+".")
	for i := range s.Taps {
		line("  ", tapState(&s.Taps[i]))
	}
	if s.Ended != "" {
		ended = s.Ended
	}
	line("Ended: ", report.CleanMessage(ended))
	_, err := out.Write(b.Bytes())
	return err
}
