package liveview

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// maxAlerts is the greatest number of findings, and of taps that no longer report, that are shown above the table.
const maxAlerts = 3

func (m *model) View() tea.View {
	v := tea.NewView("")
	v.AltScreen = true
	if m.width == 0 || m.table == nil {
		return v
	}
	lines := m.detailLines()
	if lines == nil {
		lines = m.tableLines()
	}
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "…")
	}
	v.SetContent(strings.Join(lines, "\n"))
	return v
}

func (m *model) paint(code, s string) string { return report.Paint(m.color, code, s) }

// verdict colors the cell of a verdict.
func (m *model) verdict(cell string) string {
	switch {
	case strings.HasPrefix(cell, "■"):
		return m.paint(report.Red, cell)
	case strings.HasPrefix(cell, "●"):
		return m.paint(report.Green, cell)
	}
	return m.paint(report.Yellow, cell)
}

// leastTable is how many lines the head leaves for the table and the last line, and lowHeight the height below which the head is only
// the answer.
const (
	leastTable = 4
	lowHeight  = 12
)

// headLines returns the lines above the table. If there are more than the screen has room for, the last of them has an ellipsis.
func (m *model) headLines() []string {
	var lines []string
	if m.height < lowHeight {
		lines = m.answerLines()
	} else {
		lines = m.allHeadLines()
	}
	most := max(1, m.height-leastTable)
	if len(lines) <= most {
		return lines
	}
	lines = lines[:most]
	lines[most-1] = ansi.Truncate(lines[most-1], m.width-1, "") + "…"
	return lines
}

func (m *model) answerLines() []string {
	lines := wrap("", report.CleanMessage(m.state.Answer), m.width)
	for i := range lines {
		lines[i] = m.paint(report.Bold, lines[i])
	}
	return lines
}

// allHeadLines returns the taps, the answer, the newest findings, and the taps that report no more.
func (m *model) allHeadLines() []string {
	first := report.CleanMessage(m.title)
	if !m.state.Until.IsZero() {
		first += ", " + left(m.now, m.state.Until) + " left"
	}
	lines := []string{m.paint(report.Bold, first)}
	lines = append(lines, wrap("", tapLine(m.state.Taps), m.width)...)
	lines = append(lines, m.answerLines()...)
	most := maxAlerts
	if m.height < 20 {
		most = 1
	}
	open := newest(m.state.Findings)
	for i, f := range open {
		if i == most {
			lines = append(lines, m.paint(report.Red, "! "+count(uint64(len(open)-i), "more finding")))
			break
		}
		for _, s := range shortWrap("! ", findingLine(f), m.width) {
			lines = append(lines, m.paint(report.Red, s))
		}
	}
	bad := badTaps(m.state.Taps)
	for i, s := range bad {
		if i == most {
			lines = append(lines, m.paint(report.Yellow, "~ "+silent(len(bad)-i)))
			break
		}
		for _, s := range shortWrap("~ ", s, m.width) {
			lines = append(lines, m.paint(report.Yellow, s))
		}
	}
	return append(lines, "")
}

// shortWrap returns at most two lines of a wrapped text.
func shortWrap(head, text string, width int) []string {
	lines := wrap(head, text, width)
	if len(lines) > 2 {
		lines = append(lines[:1], lines[1]+" …")
	}
	return lines
}

// room returns how many rows of the table fit on the screen.
func (m *model) room() int {
	return max(1, m.height-len(m.headLines())-2) // the header of the table and the last line
}

func (m *model) tableLines() []string {
	lines := m.headLines()
	t, room := m.table, m.room()
	at := m.at()
	if at >= 0 {
		m.top = min(m.top, at)
		m.top = max(m.top, at-room+1)
	}
	m.top = max(0, min(m.top, len(t.rows)-room))
	if at == 1 { // the title before the first edge
		m.top = 0
	}
	if len(t.rows) > 0 {
		lines = append(lines, m.paint(report.Dim, strings.Repeat(" ", marker)+t.headings()))
	}
	for i := m.top; i < len(t.rows) && i < m.top+room; i++ {
		lines = append(lines, m.rowLine(i, i == at))
	}
	switch {
	case len(m.state.Edges) == 0:
		lines = append(lines, wrap("", nothing, m.width)...)
	case len(t.rows) == 0:
		lines = append(lines, "No edge matches: the filter hides "+count(uint64(len(m.state.Edges)), "edge")+".")
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return append(lines[:max(0, m.height-1)], m.lastLine(min(len(t.rows), m.top+room)))
}

func (m *model) rowLine(i int, selected bool) string {
	r := &m.table.rows[i]
	switch {
	case r.edge == nil:
		return m.paint(report.Dim, r.title)
	case selected && m.color:
		return m.paint(report.Reverse, "> "+m.table.line(&r.cells, nil))
	case selected:
		return "> " + m.table.line(&r.cells, nil)
	}
	return "  " + m.table.line(&r.cells, m.verdict)
}

// lastLine returns the line at the bottom: the filter and what keys do.
func (m *model) lastLine(end int) string {
	if m.typing {
		typed := m.filter
		if over := ansi.StringWidth(typed) + 4 - m.width; over > 0 { // 4: what is around it, and an ellipsis. The end is being typed
			typed = ansi.TruncateLeft(typed, over, "…")
		}
		return "/" + typed + "▏ " + m.paint(report.Dim, m.shown()+"  enter apply  esc clear")
	}
	s := "/ filter  enter why  ↑↓ PgUp PgDn  q quit"
	if m.filter != "" {
		s = "filter \"" + m.filter + "\": " + m.shown() + "  esc clear  " + s
	}
	if n := len(m.table.rows); n > 0 && (m.top > 0 || end < n) {
		s = fmt.Sprintf("rows %d-%d of %d  ", m.top+1, end, n) + s
	}
	return m.paint(report.Dim, s)
}

func (m *model) shown() string {
	return fmt.Sprintf("%d of %s", m.table.edges, count(uint64(len(m.state.Edges)), "edge"))
}
