package main

import (
	"io"
	"os"

	"golang.org/x/term"
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

// colored reports whether output to w may have colors; see https://no-color.org.
func colored(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }
