package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// whyHost is why a pod in the node's network has no tap of its own.
const whyHost = "it uses the network of its node"

// Untapped returns the workloads of the inventory that have no tap in all or some of their pods, sorted.
func (g *Graph) Untapped() []Untapped {
	tapped := map[*Pod]bool{}
	for _, t := range g.taps {
		if p := g.index.podOf(t); p != nil {
			tapped[p] = true
		}
	}
	found := map[string]*Untapped{}
	for i := range g.inventory.Pods {
		p := &g.inventory.Pods[i]
		if !g.concerns(&p.Workload) {
			continue
		}
		k := keyOfWorkload(&p.Workload)
		if found[k] == nil {
			found[k] = &Untapped{Workload: p.Workload}
		}
		x := found[k]
		x.Pods++
		x.Mesh = max(x.Mesh, p.Mesh)
		switch {
		case p.Tapped || tapped[p]:
			x.Tapped++
		case p.HostNetwork:
			x.Why = whyHost
		case x.Why == "":
			x.Why = p.Untapped
		}
	}
	var out []Untapped
	for _, x := range found {
		if x.Tapped < x.Pods {
			out = append(out, *x)
		}
	}
	slices.SortFunc(out, func(a, b Untapped) int { return compareWorkloads(&a.Workload, &b.Workload) })
	return out
}

// Tally returns the number of edges between workloads on the wire, by verdict.
func (g *Graph) Tally() Tally { return TallyOf(g.Edges()) }

// TallyOf returns the number of those of the edges that are between workloads on the wire, by verdict.
func TallyOf(edges []Edge) (t Tally) {
	var by, folded counts
	for i := range edges {
		e := &edges[i]
		switch {
		case !e.Between():
		case e.Folded:
			n := countsOf(&e.Connections)
			folded.add(&n)
		default:
			t.Edges++
			by[rankOf(e.Verdict)]++
		}
	}
	t.By, t.Folded = by.record(), folded.record()
	return t
}

// Answer returns the result in one sentence, such as "2 of 14 edges between workloads carried plaintext; 12 mutual TLS; 3 workloads are not tapped."
func (g *Graph) Answer() string {
	untapped := 0
	for _, x := range g.Untapped() {
		if x.Tapped == 0 {
			untapped++
		}
	}
	out := Sentence(g.Tally())
	if g.records == 0 {
		out = "Nothing is known: no tap has reported anything"
	}
	if untapped > 0 {
		out += "; " + are(untapped, "workload") + " not tapped"
	}
	if g.partial || g.foreign > 0 {
		out += "; not all of the input could be read"
	}
	return out + "."
}

// Sentence returns a tally as a sentence without its full stop.
func Sentence(t Tally) string {
	parts := []string{}
	switch {
	case t.Edges == 0 && t.Folded == (record.ByVerdict{}):
		return "No connection with data between workloads was seen"
	case t.By.Plaintext == 0 && t.Folded.Plaintext > 0:
		text := plural(t.Folded.Plaintext, "connection") + " carried plaintext, on edges that were counted together"
		if t.Edges > 0 {
			text += fmt.Sprintf("; no plaintext was seen on %s with a name", plural(uint64(t.Edges), "edge"))
		}
		parts = append(parts, text)
	case t.Edges == 0:
	case t.By.Plaintext > 0 && t.By.Plaintext == uint64(t.Edges):
		parts = append(parts, fmt.Sprintf("%s between workloads carried plaintext", every(t.Edges)))
	case t.By.Plaintext > 0:
		parts = append(parts, fmt.Sprintf("%d of %s between workloads carried plaintext", t.By.Plaintext, plural(uint64(t.Edges), "edge")))
	case t.By.Unknown > 0 && t.By.Unknown+t.By.Failed == uint64(t.Edges):
		parts = append(parts, fmt.Sprintf("It is not known whether %s between workloads carried plaintext", anyOf(t.Edges)))
	default:
		parts = append(parts, fmt.Sprintf("No plaintext was seen on %s between workloads", plural(uint64(t.Edges), "edge")))
	}
	if t.Edges > 0 {
		parts = append(parts, words(&t.By)...)
	}
	if n := countsOf(&t.Folded); n.total() > 0 {
		text := plural(n.total(), "connection") + " of further edges, which were counted together"
		if t.Folded.Plaintext > 0 && t.By.Plaintext > 0 {
			text += fmt.Sprintf(" (%d in plaintext)", t.Folded.Plaintext)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func every(n int) string {
	if n == 1 {
		return "The only edge"
	}
	return "All " + plural(uint64(n), "edge")
}

func anyOf(n int) string {
	if n == 1 {
		return "the only edge"
	}
	return fmt.Sprintf("any of %d edges", n)
}

// words returns the numbers of edges that carried no plaintext.
func words(n *record.ByVerdict) (out []string) {
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{n.TLS, "TLS without proof that it is mutual"}, {n.Encrypted, "encrypted by other means"}, {n.MTLS, "mutual TLS"},
		{n.Failed, "failed"}, {n.Unknown, "with unjudged connections"},
	} {
		if x.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return out
}
