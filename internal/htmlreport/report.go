package htmlreport

import (
	"bufio"
	"crypto/sha256"
	_ "embed" // the parts of the page
	"encoding/base64"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// Report is the content of a page. Its texts may contain any bytes.
type Report struct {
	Title    string
	Answer   string // one sentence
	Edges    []topology.Edge
	Findings []topology.Finding
	Unknown  []topology.Unknown
	Made     Made
}

// Made describes how a report was made.
type Made struct {
	At      time.Time
	Version string // of the program
	Sources []Source
	Losses  []string // sentences about what was lost: packets, records, connections
}

// Source is an origin of records: a tap, a topic or a capture file.
type Source struct {
	Kind string // "tap", "topic", "capture file"
	Name string
	Note string // a sentence, such as how many records there were; may be empty
}

// Bounds of a page. What exceeds them is counted on the page.
const (
	maxEdges      = 5000
	maxChanges    = 20000 // of all edges
	maxFindings   = 1000
	maxNamespaces = 60 // in the matrix
	maxPrinted    = 6  // columns of a matrix that fit on paper; one with more is printed as a list
	maxNeighbors  = 25 // in each column of a picture
	maxListed     = 1000
)

//go:embed page.html.tmpl
var pageText string

//go:embed style.css
var style string

//go:embed shared.js
var sharedScript string

//go:embed pictures.js
var picturesScript string

//go:embed report.js
var reportScript string

var script = sharedScript + picturesScript + reportScript

//go:embed charts.min.js
var charts string

// hash returns the source expression of a Content-Security-Policy for a text (CSP Level 3, section 2.3.1).
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

var policy = fmt.Sprintf("default-src 'none'; script-src %s %s; style-src %s; base-uri 'none'; form-action 'none'", hash(charts), hash(script), hash(style))

// Write writes a page. An error is one of w.
func Write(w io.Writer, r *Report) error {
	p, err := newPage(r)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	execute(b, "page", reflect.ValueOf(p))
	return b.Flush()
}
