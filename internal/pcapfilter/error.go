package pcapfilter

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error says where an expression is wrong, and what was expected there.
type Error struct {
	Text    string // the expression
	Offset  int    // byte of it at which the fault begins
	Problem string
}

// Error returns one line.
func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.Column(), e.Problem) }

// Column returns the place of the fault in characters, from 1.
func (e *Error) Column() int {
	return utf8.RuneCountInString(e.Text[:min(e.Offset, len(e.Text))]) + 1
}

// shown is how many characters of a long expression Caret shows before and behind the
// fault.
const shown = 60

// Caret returns two lines: the expression, cut to the surroundings of the fault if it is
// long, and a caret below the fault.
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

// printable keeps an expression in one line, and away from the terminal's controls.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}
