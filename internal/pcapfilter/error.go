package pcapfilter

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error reports where an expression is wrong, and what was expected there.
type Error struct {
	Text    string // the expression
	Offset  int    // offset of the error in Text, in bytes
	Problem string
}

// Error returns one line.
func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.Column(), e.Problem) }

// Column returns the position of the error in characters, from 1.
func (e *Error) Column() int {
	return utf8.RuneCountInString(e.Text[:min(e.Offset, len(e.Text))]) + 1
}

// shown is how many characters of a long expression Caret shows before and after the error.
const shown = 60

// Caret returns two lines: the expression, and a caret below the error. A long expression is
// abbreviated to the part around the error.
func (e *Error) Caret() string {
	at := min(e.Offset, len(e.Text))
	before, after := []rune(e.Text[:at]), []rune(e.Text[at:])
	if len(before) > shown {
		before = append([]rune("..."), before[len(before)-shown:]...)
	}
	if len(after) > shown {
		after = append(after[:shown:shown], []rune("...")...)
	}
	line := strings.Map(printable, string(before)+string(after))
	return line + "\n" + strings.Repeat(" ", len(before)) + "^"
}

// printable replaces line breaks and the control characters of terminals by spaces.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}
