package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// text builds the output of a command for people.
type text struct {
	bytes.Buffer
	width int  // columns of the terminal; 0: lines are not wrapped
	wide  bool // -o wide
}

// textOf returns an empty text for the standard output.
func textOf(o *options, wide bool) *text { return textFor(o.Out, wide) }

// textFor returns an empty text for out. Its lines are wrapped if out is a terminal.
func textFor(out io.Writer, wide bool) *text {
	t := &text{wide: wide}
	if f, ok := out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil { //nolint:gosec // a descriptor is small
			t.width = w
		}
	}
	return t
}

func (t *text) flush(w io.Writer) error {
	_, err := t.WriteTo(w)
	return err
}

// announce writes sentences, each on a line of its own.
func announce(out io.Writer, sentences []string) {
	t := textFor(out, false)
	for _, s := range sentences {
		t.aligned(s+"\n", 0)
	}
	_ = t.flush(out)
}

// aligned writes lines. An indented line begins with a label, and its text begins after column bytes. Further lines are aligned with the text.
func (t *text) aligned(lines string, column int) {
	for line := range strings.Lines(lines) {
		switch {
		case t.width == 0:
			t.WriteString(line)
		case strings.HasPrefix(line, " ") && len(line) > column:
			t.wrap(line[:column], line[column:])
		default:
			t.wrap("", line)
		}
	}
}

// wrap writes words in lines of at most width columns. Further lines have the indentation of the first.
func (t *text) wrap(head, words string) {
	at := utf8.RuneCountInString(head)
	t.WriteString(head)
	indent := at
	for i, word := range strings.Fields(words) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case t.width > 0 && at+1+n > t.width:
			t.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			t.WriteByte(' ')
			at++
		}
		t.WriteString(word)
		at += n
	}
	t.WriteByte('\n')
}

// A column of a table. Its cells are one line each, and are never shortened.
type column struct {
	head     string
	right    bool // aligned right
	optional int  // columns are left out in the order of this number if the table is too wide; 0: never
}

// row is a row of a table, with lines about it that follow it.
type row struct {
	cells []string
	notes []string
}

const gap = 2 // columns between two cells

// table writes rows. If they are too wide, optional columns are left out; if that does not suffice, each row becomes a block of lines, so that no name is
// shortened and two names never look the same.
func (t *text) table(columns []column, rows []row) {
	shown := make([]bool, len(columns))
	for i := range columns {
		shown[i] = slices.ContainsFunc(rows, func(r row) bool { return r.cells[i] != "" })
	}
	widths := func() (w []int, total int) {
		w = make([]int, len(columns))
		total = -gap
		for i := range columns {
			if !shown[i] {
				continue
			}
			w[i] = utf8.RuneCountInString(columns[i].head)
			for _, r := range rows {
				w[i] = max(w[i], utf8.RuneCountInString(r.cells[i]))
			}
			total += w[i] + gap
		}
		return w, total
	}
	w, total := widths()
	for step := 1; t.width > 0 && total > t.width && step <= len(columns); step++ {
		for i := range columns {
			if columns[i].optional == step {
				shown[i] = false
			}
		}
		w, total = widths()
	}
	if t.width > 0 && total > t.width {
		t.blocks(columns, rows)
		return
	}
	heads := make([]string, len(columns))
	for i := range columns {
		heads[i] = columns[i].head
	}
	for _, r := range append([]row{{cells: heads}}, rows...) {
		var line strings.Builder
		for i, cell := range r.cells {
			if !shown[i] {
				continue
			}
			pad := strings.Repeat(" ", w[i]-utf8.RuneCountInString(cell))
			if columns[i].right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString(strings.Repeat(" ", gap))
		}
		t.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		for _, n := range r.notes {
			t.wrap("  ! ", n)
		}
	}
}

// blocks writes each row as lines: the first cell, then the others with their headings.
func (t *text) blocks(columns []column, rows []row) {
	for _, r := range rows {
		fmt.Fprintf(t, "%s\n", r.cells[0])
		for i := 1; i < len(columns); i++ {
			if r.cells[i] != "" {
				fmt.Fprintf(t, "  %-11s %s\n", columns[i].head, r.cells[i])
			}
		}
		for _, n := range r.notes {
			t.wrap("  ! ", n)
		}
	}
}
