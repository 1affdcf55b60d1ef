package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/migration"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// migrationDoc is a comparison as JSON. schema/migration.schema.json describes it.
type migrationDoc struct {
	Schema int                      `json:"schema"`
	Before migrationWatch           `json:"before"`
	After  migrationWatch           `json:"after"`
	Counts map[migration.Change]int `json:"changes"`
	Edges  []migrationEdge          `json:"edges"`
}

type migrationWatch struct {
	Start   record.Time `json:"start,omitzero"`
	End     record.Time `json:"end,omitzero"`
	Records uint64      `json:"records"`
	Repeats uint64      `json:"repeated_records"`
	Missing uint64      `json:"missing_records"`
	Within  uint64      `json:"records_within_pods"`
	NoRoom  uint64      `json:"records_without_room"`
	Skipped uint64      `json:"unread_lines"`
	Taps    int         `json:"taps"`
	Dropped uint64      `json:"dropped"`
	Folded  uint64      `json:"folded_connections"`
	Edges   bool        `json:"has_edges"`
}

type migrationEdge struct {
	From    migrationEnd     `json:"from"`
	To      migrationEnd     `json:"to"`
	Port    uint16           `json:"port,omitempty"`
	Change  migration.Change `json:"change"`
	Basis   migration.Basis  `json:"matched_by,omitempty"`
	Reasons []string         `json:"reasons,omitempty"`
	Before  migrationLook    `json:"before"`
	After   migrationLook    `json:"after"`
}

type migrationEnd struct {
	Name string `json:"name,omitempty"`
	IP   string `json:"ip,omitempty"`
}

type migrationLook struct {
	State       migration.State  `json:"state"`
	Ports       []uint16         `json:"ports,omitempty"`
	Connections *migrationCounts `json:"connections,omitempty"`
}

type migrationCounts struct {
	Sidecar   uint64 `json:"mtls_sidecar"`
	HBONE     uint64 `json:"mtls_hbone"`
	MTLS      uint64 `json:"mtls"`
	TLS       uint64 `json:"tls"`
	Unclear   uint64 `json:"tls_unclear"`
	Encrypted uint64 `json:"encrypted"`
	Plaintext uint64 `json:"plaintext"`
	Failed    uint64 `json:"failed"`
	Unjudged  uint64 `json:"unjudged"`
}

// MigrationJSON writes a comparison as one indented JSON object. It returns the error of w.
func MigrationJSON(w io.Writer, r *migration.Result) error {
	out := migrationDoc{
		Schema: 1, Before: watchOf(&r.Before, r.Folded[0]), After: watchOf(&r.After, r.Folded[1]),
		Counts: map[migration.Change]int{}, Edges: []migrationEdge{},
	}

	for _, c := range migration.Changes {
		out.Counts[c] = r.Count(c)
	}

	for i := range r.Edges {
		e := &r.Edges[i]
		out.Edges = append(out.Edges, migrationEdge{
			From: endOf(e.From), To: endOf(e.To), Port: e.Port, Change: e.Change, Basis: e.Basis, Reasons: e.Reasons, Before: lookOf(&e.Before), After: lookOf(&e.After),
		})
	}

	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return err
	}

	_, err := w.Write(escaped(b.Bytes()))
	return err
}

// escaped returns JSON with escapes for characters that a terminal interprets or does not show, such as
// bidirectional marks. Only strings contain characters beyond ASCII (RFC 8259).
func escaped(text []byte) []byte {
	hidden := func(r rune) bool { return r == 0x7f || r > 0x7f && !unicode.IsPrint(r) }
	if bytes.IndexFunc(text, hidden) < 0 {
		return text
	}
	var out []byte
	for _, r := range string(text) {
		switch {
		case !hidden(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			a, b := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, a, b)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func watchOf(w *migration.Watch, folded uint64) migrationWatch {
	return migrationWatch{
		Start: record.Time(w.Start), End: record.Time(w.End), Records: w.Records, Repeats: w.Repeats, Missing: w.Missing, Within: w.Within, NoRoom: w.OverBounds, Skipped: w.Skipped,
		Taps: w.Taps, Dropped: w.Dropped, Folded: folded, Edges: w.Edges,
	}
}

func endOf(p migration.Party) migrationEnd {
	if p.Name != "" || !p.Addr.IsValid() {
		return migrationEnd{Name: p.Name}
	}
	return migrationEnd{IP: p.Addr.String()}
}

func lookOf(l *migration.Observation) migrationLook {
	out := migrationLook{State: l.State, Ports: l.Ports}
	if l.State != migration.NotSeen {
		c := migrationCounts(l.Counts)
		out.Connections = &c
	}
	return out
}
