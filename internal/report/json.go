package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// The summary as JSON. Words are those of the record's schema.
type summary struct {
	Start    string    `json:"start,omitempty"` // RFC 3339, packet time
	End      string    `json:"end,omitempty"`
	Edges    []edge    `json:"edges"`
	Findings []fault   `json:"findings"`
	Silent   uint64    `json:"connections_without_payload"`
	Gone     uint64    `json:"edges_gone"`
	Merged   uint64    `json:"edges_folded,omitempty"`
	Coverage *coverage `json:"coverage,omitempty"` // absent: not known
	Filter   string    `json:"filter,omitempty"`
}

type edge struct {
	Key         string        `json:"key"`
	Direction   string        `json:"direction,omitempty"`
	Scope       string        `json:"scope"`
	Class       string        `json:"class"`
	From        string        `json:"from,omitempty"`
	To          string        `json:"to,omitempty"`
	Port        uint16        `json:"port,omitempty"`
	Folded      bool          `json:"folded,omitempty"`
	Expectation string        `json:"expectation"`
	Verdict     string        `json:"verdict"`
	Seen        []seenVerdict `json:"seen"`
	FirstProof  string        `json:"first_proof,omitempty"`
	LastProof   string        `json:"last_proof,omitempty"`
	Accepted    bool          `json:"accepted_plaintext"`
	MissedStart uint64        `json:"missed_start"`
	MissedBytes uint64        `json:"missed_bytes"`
}

// seenVerdict is what an edge has seen of one verdict; the rest is of the latest such
// connection.
type seenVerdict struct {
	Verdict     string   `json:"verdict"`
	Connections uint64   `json:"connections"`
	Bytes       uint64   `json:"bytes"`
	Protocol    string   `json:"protocol,omitempty"`
	Version     string   `json:"version,omitempty"`
	Cipher      string   `json:"cipher,omitempty"`
	ClientAuth  string   `json:"client_auth,omitempty"`
	Basis       string   `json:"client_auth_basis,omitempty"`
	Outcome     string   `json:"outcome,omitempty"`
	Reasons     []string `json:"reasons,omitempty"`
}

type fault struct {
	Rule     string `json:"rule"`
	Severity int    `json:"severity"`
	Edge     string `json:"edge"`
	Open     bool   `json:"open"`
	Count    uint64 `json:"count"`
	Message  string `json:"message"`
}

type coverage struct {
	Packets  uint64 `json:"packets"`
	Dropped  uint64 `json:"dropped"`
	Evicted  uint64 `json:"evicted"`
	CutShort uint64 `json:"cut_short"`
	Older    uint64 `json:"older"`

	Undecoded map[string]uint64 `json:"undecoded,omitempty"` // packets by what they carried
	Advice    []string          `json:"advice,omitempty"`    // what to do about them
}

// JSON writes the summary as one indented JSON object. The error is that of w.
func JSON(w io.Writer, s finding.Summary) error {
	out := summary{
		Start: stamp(s.Start), End: stamp(s.End), Edges: []edge{}, Findings: []fault{}, Silent: s.Silent, Gone: s.EdgesGone, Merged: s.EdgesFolded, Filter: s.Filter,
	}
	for i := range s.Edges {
		out.Edges = append(out.Edges, edgeOf(&s.Edges[i]))
	}
	for _, f := range s.Findings {
		out.Findings = append(out.Findings, fault(f))
	}
	if c := s.Coverage; s.CoverageSet {
		out.Coverage = &coverage{Packets: c.Packets, Dropped: c.Dropped, Evicted: c.Evicted, CutShort: c.CutShort, Older: c.Older, Undecoded: c.Undecoded, Advice: c.Advice()}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(out)
}

func edgeOf(e *finding.Edge) edge {
	out := edge{
		Key: e.Key, Direction: e.Direction, Scope: e.Scope, Class: e.Class, From: e.From, To: e.To, Port: e.Port, Folded: e.Folded,
		Expectation: e.Expectation, Verdict: e.Verdict, Seen: []seenVerdict{}, FirstProof: stamp(e.FirstProof), LastProof: stamp(e.LastProof),
		Accepted: e.Accepted, MissedStart: e.MissedStart, MissedBytes: e.MissedBytes,
	}
	for _, s := range e.Seen {
		x := seenVerdict{Verdict: s.Verdict, Connections: s.Connections, Bytes: s.Bytes}
		if j := s.Last; j != nil {
			x.Protocol, x.Reasons = j.Protocol, j.Reasons
			if t := j.TLS; t != nil {
				x.Version, x.Cipher, x.ClientAuth, x.Basis, x.Outcome = t.Version, t.Cipher, t.ClientAuth, t.ClientAuthBasis, t.Outcome
			}
		}
		out.Seen = append(out.Seen, x)
	}
	return out
}

// stamp writes a time, nothing for 0.
func stamp(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z")
}
