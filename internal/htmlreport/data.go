package htmlreport

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// data is what the script needs besides the text of the page.
type data struct {
	Verdicts   []string          `json:"verdicts"` // labels, the weakest first
	Classes    []string          `json:"classes"`  // values of the verdicts, which are their classes in the style
	Workloads  []string          `json:"workloads"`
	Bare       map[int]string    `json:"bare,omitempty"` // workloads without the note that is after their name, where they have one
	Groups     []string          `json:"groups"`         // namespaces
	GroupOf    []int             `json:"groupOf"`
	Edges      []edgeData        `json:"edges"` // in the order of the table's rows
	Neighbors  []neighborhood    `json:"neighbors"`
	Wide       int               `json:"wide"`                 // columns of a matrix; one with more is a list in print
	Incomplete bool              `json:"incomplete,omitempty"` // changes of some edges are left out
	index      map[string]int    // of workloads
	links      map[[2]int]*[]int // edges from one workload to another
}

// edgeData is an edge. Field names are short, because there are thousands.
type edgeData struct {
	From        int        `json:"f"`
	To          int        `json:"t"`
	Port        uint16     `json:"p"`
	Verdict     int        `json:"v"`
	Connections uint64     `json:"n"`
	Last        int64      `json:"l"`           // Unix time in seconds
	Other       bool       `json:"o,omitempty"` // not in the matrices
	Changes     [][2]int64 `json:"c,omitempty"` // Unix time in seconds, verdict
	Details     []string   `json:"d,omitempty"` // sentences
}

// neighborhood is the picture of a workload: its clients in a column at the left, its servers at the right.
type neighborhood struct {
	Nodes   []neighbor `json:"n,omitempty"`
	Height  int        `json:"h,omitempty"` // rows
	Clients int        `json:"c,omitempty"` // clients that are left out
	Servers int        `json:"s,omitempty"` // servers that are left out
}

// neighbor is a node of a picture: the workload, x from 0 to 100, y in rows from the top, and the edges, the weakest first.
type neighbor struct {
	Workload int     `json:"w"`
	X        float64 `json:"x"`
	Y        float64 `json:"y"`
	Edges    []int   `json:"e"`
}

// newData returns the data of edges and their rows.
func newData(edges []topology.Edge, rows []row) *data {
	d := &data{index: map[string]int{}, Workloads: []string{}, Bare: map[int]string{}, Groups: []string{}, GroupOf: []int{}, Edges: []edgeData{}, links: map[[2]int]*[]int{}, Wide: maxPrinted}
	for _, v := range verdicts {
		d.Verdicts, d.Classes = append(d.Verdicts, v.label), append(d.Classes, v.value)
	}
	budget := maxChanges
	for i := range edges {
		e := &edges[i]
		x := edgeData{
			From: d.workload(&rows[i].From), To: d.workload(&rows[i].To), Port: e.Port, Verdict: verdictIndex(e.Verdict),
			Connections: total(&e.Connections), Other: kindOf(e) != between, Details: details(e),
		}
		if !e.Last.IsZero() {
			x.Last = e.Last.Unix()
		}
		if budget -= len(e.Changes); budget >= 0 {
			for _, c := range e.Changes {
				x.Changes = append(x.Changes, [2]int64{c.At.Unix(), int64(verdictIndex(c.Verdict))})
			}
		} else if len(e.Changes) > 0 {
			d.Incomplete = true
		}
		d.Edges = append(d.Edges, x)
		link := [2]int{x.From, x.To}
		if d.links[link] == nil {
			d.links[link] = new([]int)
		}
		*d.links[link] = append(*d.links[link], i)
	}
	d.place()
	return d
}

// workload returns the index of a workload, and adds it if it is new.
func (d *data) workload(w *workload) int {
	label := w.Label
	if w.Note != "" {
		label += " (" + w.Note + ")"
	}
	key := w.Namespace + "\x00" + label
	if i, ok := d.index[key]; ok {
		return i
	}
	if w.Note != "" {
		d.Bare[len(d.Workloads)] = w.Label
	}
	d.index[key] = len(d.Workloads)
	d.Workloads = append(d.Workloads, label)
	g := slices.Index(d.Groups, w.group())
	if g < 0 {
		g = len(d.Groups)
		d.Groups = append(d.Groups, w.group())
	}
	d.GroupOf = append(d.GroupOf, g)
	return d.index[key]
}

// Columns of a picture: clients, the workload, servers.
const (
	clientsX, centerX, serversX = 34, 50, 66
)

// place computes the pictures. Edges are sorted, so the neighbors with the weakest edges come first, and those are drawn.
func (d *data) place() {
	clients, servers := make([][]neighbor, len(d.Workloads)), make([][]neighbor, len(d.Workloads))
	for i := range d.Edges {
		e := &d.Edges[i]
		edges := *d.links[[2]int{e.From, e.To}]
		if edges[0] != i || e.From == e.To {
			continue
		}
		clients[e.To] = append(clients[e.To], neighbor{Workload: e.From, X: clientsX, Edges: edges})
		servers[e.From] = append(servers[e.From], neighbor{Workload: e.To, X: serversX, Edges: edges})
	}
	for w := range d.Workloads {
		n := neighborhood{
			Clients: max(0, len(clients[w])-maxNeighbors), Servers: max(0, len(servers[w])-maxNeighbors),
			Height: max(1, min(maxNeighbors, max(len(clients[w]), len(servers[w])))),
		}
		for _, column := range [...][]neighbor{clients[w], servers[w]} {
			column = column[:min(len(column), maxNeighbors)]
			top := float64(n.Height-len(column)) / 2
			for i, x := range column {
				x.Y = top + float64(i)
				n.Nodes = append(n.Nodes, x)
			}
		}
		n.Nodes = append(n.Nodes, neighbor{Workload: w, X: centerX, Y: float64(n.Height-1) / 2, Edges: []int{}})
		d.Neighbors = append(d.Neighbors, n)
	}
}

func (d *data) encode() ([]byte, error) { return json.Marshal(d) }

// details returns what is known of an edge besides its row.
func details(e *topology.Edge) (list []string) {
	add := func(format string, args ...any) { list = append(list, sentence(fmt.Sprintf(format, args...))) }
	if e.Disagreement != "" {
		add("The two ends disagree: %s", e.Disagreement)
	}
	for i := range e.Ends {
		x := &e.Ends[i]
		by := map[string]string{"client": " at the client", "server": " at the server"}[x.Side]
		add("Seen by %s%s: %s; connections: %s; %s lost; %s older than the capture.", plural(x.Taps, "tap", "taps"), by, newVerdict(x.Verdict).Label,
			connections(&x.Connections), plural(x.Dropped, "packet", "packets"), plural(x.Older, "connection", "connections"))
	}
	if e.Cipher != "" {
		add("Cipher suite: %s.", e.Cipher)
	}
	if e.Expectation != "" {
		add("Expected: %s.", cmp.Or(map[string]string{"mtls": "mutual TLS", "tls": "TLS", "any": "anything", "undeclared": "nothing is declared"}[e.Expectation], e.Expectation))
	}
	if e.Mesh != "" {
		add("Its connections look like those of the mesh %s, which is no proof.", e.Mesh)
	}
	if e.Accepted != nil && *e.Accepted {
		add("The server accepted plaintext.")
	} else if e.Accepted != nil {
		add("The server did not accept plaintext.")
	}
	if a := addresses(&e.To); len(a) > 0 {
		add("Addresses of the server: %s.", strings.Join(a, ", "))
	}
	for _, x := range []struct {
		verdict string
		at      time.Time
	}{{"plaintext", e.LastOf.Plaintext}, {"tls", e.LastOf.TLS}, {"mtls", e.LastOf.MTLS}} {
		if !x.at.IsZero() {
			add("Latest %s: %s (UTC).", newVerdict(x.verdict).Label, timestamp(x.at))
		}
	}
	add("First connection: %s, latest: %s (UTC).", timestamp(e.First), timestamp(e.Last))
	return list
}
