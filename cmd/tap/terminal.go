package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// descriptor is a writer that may be a terminal.
type descriptor interface{ Fd() uintptr }

func isTerminal(w io.Writer) bool {
	f, ok := w.(descriptor)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns the number of columns of a terminal, 0 for any other writer.
func width(w io.Writer) int {
	if f, ok := w.(descriptor); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}

// colored reports whether output to w has colors. when is a value of --color. With auto, colors need a terminal that interprets escapes,
// and an environment without NO_COLOR (https://no-color.org).
func colored(w io.Writer, when string) bool {
	if when == "auto" {
		return isTerminal(w) && os.Getenv("NO_COLOR") == "" && !isDumb()
	}
	return when == "always"
}

// isDumb reports whether terminals interpret no escapes (terminfo(5), "dumb").
func isDumb() bool { return os.Getenv("TERM") == "dumb" }

// layout returns how a report for out is laid out.
func (o *readOptions) layout(out io.Writer) report.Options {
	return report.Options{Width: width(out), Color: colored(out, o.color)}
}
