package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxNamed bounds the workloads of an Unknown, and the addresses in a sentence.
const (
	maxNamed     = 64
	maxAddresses = 8
)

// Unknown returns what could not be known, the most important first. The caller must not change it.
func (g *Graph) Unknown() []Unknown { return g.join().unknown }

// WithNames returns the text of an Unknown with the names of its n workloads.
func WithNames(text string, n int, names string) string {
	if !strings.HasSuffix(text, ".") {
		return text + " (" + names + ")"
	}
	return text + " " + choose(uint64(n), "Workload", "Workloads") + ": " + names + "." //nolint:gosec // a length
}

// unknowns collects sentences with their workloads.
type unknowns struct {
	g    *Graph
	list []Unknown
}

func (u *unknowns) add(workloads []Workload, format string, args ...any) {
	slices.SortFunc(workloads, func(a, b Workload) int { return compareWorkloads(&a, &b) })
	workloads = slices.CompactFunc(workloads, func(a, b Workload) bool { return keyOfWorkload(&a) == keyOfWorkload(&b) })
	u.list = append(u.list, Unknown{Text: fmt.Sprintf(format, args...), Workloads: workloads[:min(maxNamed, len(workloads))]})
}

// taps adds a sentence about the taps for which count returns more than 0. text returns the sentence for the sum.
func (u *unknowns) taps(count func(r *run) uint64, text func(sum uint64) string) {
	var sum uint64
	var workloads []Workload
	for _, t := range u.g.sortedTaps() {
		var n uint64
		for _, r := range t.runs {
			n += count(r)
		}
		if n > 0 {
			sum += n
			workloads = append(workloads, u.g.index.workloadOf(t))
		}
	}
	if sum > 0 {
		u.add(slices.DeleteFunc(workloads, unnamed), "%s", text(sum))
	}
}

// unknown returns what the records and the inventory leave open.
func (g *Graph) unknown(j *joined) []Unknown {
	u := &unknowns{g: g}
	if g.records == 0 {
		u.add(nil, "No tap has reported anything, so nothing is known about any connection.")
	}
	u.untapped()
	for _, c := range counters {
		u.taps(c.of, c.text)
	}
	u.edges(j.edges)
	u.filters()
	u.muted()
	u.addresses(j.resolver.ambiguous,
		"It is not known which pod had the address %s at the time: several pods have used it.",
		"It is not known which pods had the addresses %s at the time: several pods have used each of them.")
	u.addresses(j.resolver.young,
		"The pod with the address %s started after some of the traffic: another pod may have had the address before.",
		"Pods with the addresses %s started after some of the traffic: other pods may have had the addresses before.")
	if g.silent > 0 {
		u.add(nil, "%s carried no data, and have no verdict.", plural(g.silent, "connection"))
	}
	if g.foreign > 0 {
		u.add(nil, "%s not read, because of another schema version: use the kubectl-meshtls of the same version as the tap.", was(g.foreign, "record"))
	}
	if g.others > 0 {
		u.add(nil, "%s not used, because this version does not know the dataset: %s.", was(g.others, "record"), strings.Join(g.otherNames, ", "))
	}
	if g.contradicted > 0 {
		u.add(nil, "%s the event.id of another one and other contents: all of them count, so the weaker verdict does. The records may have been changed.", choose(g.contradicted, "1 record has", fmt.Sprintf("%d records have", g.contradicted)))
	}
	g.refusals(u)
	g.findingsUnknown(u, j)
	u.translated(j.translated)
	if g.overBounds > 0 {
		u.add(nil, "There were too many taps or edges to tell all of them apart: %s counted without an edge or a tap, so a connection may count several times.", are(g.overBounds, "record"))
	}
	if g.unrecognized > 0 {
		u.add(nil, "There were too many records to recognize repeated ones: connections of %s may be counted twice.", plural(g.unrecognized, "record"))
	}
	if len(g.clusters) > 1 {
		u.add(nil, "The records come from several clusters (%s): workloads with the same name are not told apart.", strings.Join(g.clusters, ", "))
	}
	for _, n := range slices.Concat(g.inventory.Notes, g.notes) {
		u.add(nil, "%s", n)
	}
	return u.list
}

// counters are the losses of taps, and the sentences about their sums.
var counters = []struct {
	of   func(r *run) uint64
	text func(n uint64) string
}{
	{func(r *run) uint64 { return uint64(b2i(r.blind)) }, func(n uint64) string {
		return choose(n, "When it last reported, 1 tap did not capture an interface of its pod", fmt.Sprintf("When they last reported, %d taps did not capture an interface of their pods", n)) +
			": nothing is known about the traffic there."
	}},
	{func(r *run) uint64 { return uint64(b2i(r.wasBlind() && !r.blind)) }, func(n uint64) string {
		return choose(n, "For a time, 1 tap did not capture an interface of its pod", fmt.Sprintf("For a time, %d taps did not capture an interface of their pods", n)) +
			": nothing is known about the traffic there at that time."
	}},
	{func(r *run) uint64 { return uint64(b2i(r.untested)) }, func(n uint64) string {
		return choose(n, "1 tap failed its self-test, so it may not see what it should.", fmt.Sprintf("%d taps failed their self-tests, so they may not see what they should.", n))
	}},
	{func(r *run) uint64 { return uint64(b2i(r.hidesOpen())) }, func(n uint64) string {
		return choose(n, "No posture of 1 tap was read, so its connections that are still open are not known.", fmt.Sprintf("No postures of %d taps were read, so their connections that are still open are not known.", n))
	}},
	{func(r *run) uint64 { return r.capture.Dropped }, func(n uint64) string {
		return "Taps lost " + plural(n, "packet") + ": connections may be missing or unjudged."
	}},
	{func(r *run) uint64 { return r.capture.Evicted + r.capture.CutShort }, func(n uint64) string {
		return "Taps had no memory to follow " + choose(n, "1 connection to its end.", fmt.Sprintf("%d connections to their ends.", n))
	}},
	{func(r *run) uint64 { return r.capture.Older }, func(n uint64) string {
		return choose(n, "1 connection is older than its tap: its handshake was", fmt.Sprintf("%d connections are older than their taps: their handshakes were", n)) +
			" not seen, and a verdict needs a new connection."
	}},
	{func(r *run) uint64 { return r.undecoded }, func(n uint64) string {
		return plural(n, "packet") + " could not be decoded, and may have carried connections."
	}},
	{(*run).missing, func(n uint64) string {
		return choose(n, "1 record is", fmt.Sprintf("%d records are", n)) + " missing, as the numbers of the others show."
	}},
	{func(r *run) uint64 { return r.gone }, func(n uint64) string {
		return "Taps forgot " + plural(n, "edge") + ", because there were too many edges."
	}},
}

// untapped adds the workloads without a tap.
func (u *unknowns) untapped() {
	none, some, host := []Workload{}, []Workload{}, []Workload{}
	for _, x := range u.g.Untapped() {
		switch {
		case x.Tapped > 0:
			some = append(some, x.Workload)
		case x.Why == whyHost:
			host = append(host, x.Workload)
		default:
			none = append(none, x.Workload)
		}
	}
	if len(none) > 0 {
		u.add(none, "%s not tapped. What is sent to or from a workload without a tap is only known if the other end is tapped.", are(len(none), "workload"))
	}
	if len(some) > 0 {
		u.add(some, "%s tapped in some pods only.", are(len(some), "workload"))
	}
	if len(host) > 0 {
		u.add(host, "%s the network of a node. Its traffic cannot be told from the node's.", uses(len(host)))
	}
}

// choose returns the form of the singular or of the plural.
func choose(n uint64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func was(n uint64, what string) string {
	return plural(n, what) + choose(n, " was", " were")
}

func are[N int | uint64](n N, what string) string {
	return plural(uint64(n), what) + choose(uint64(n), " is", " are")
}

func uses(n int) string {
	return plural(uint64(n), "workload") + choose(uint64(n), " uses", " use")
}

// edges adds what edges leave open.
func (u *unknowns) edges(edges []Edge) {
	var unjudged, folded uint64
	var of, at []Workload
	for i := range edges {
		e := &edges[i]
		if !e.Between() {
			continue
		}
		if e.Folded {
			c := countsOf(&e.Connections)
			folded += c.total()
			at = append(at, e.To)
			continue
		}
		if n := e.Connections.Unknown; n > 0 {
			unjudged += n
			of = append(of, e.From)
		}
	}
	if unjudged > 0 {
		u.add(of, "%s between workloads could not be judged.", plural(unjudged, "connection"))
	}
	if folded > 0 {
		u.add(at, "%s no edge of %s own, because several edges were counted together.", choose(folded, "1 connection has", fmt.Sprintf("%d connections have", folded)), choose(folded, "its", "their"))
	}
}

// filters adds the capture filters that were chosen.
func (u *unknowns) filters() {
	found := map[string][]Workload{}
	for _, t := range u.g.sortedTaps() {
		for _, r := range t.runs {
			if r.filter != "" {
				found[r.filter] = append(found[r.filter], u.g.index.workloadOf(t))
			}
		}
	}
	for _, f := range slices.Sorted(maps.Keys(found)) {
		u.add(slices.DeleteFunc(found[f], unnamed), "Only packets that a filter accepts were examined: %s", f)
	}
}

// muted adds the rules of which findings are hidden.
func (u *unknowns) muted() {
	found := map[string][]Workload{}
	for _, t := range u.g.sortedTaps() {
		for _, r := range t.runs {
			for _, rule := range r.muted {
				found[rule] = append(found[rule], u.g.index.workloadOf(t))
			}
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(found)) {
		u.add(slices.DeleteFunc(found[rule], unnamed), "Findings of the rule %s are muted; the edges are complete.", rule)
	}
}

// addresses adds a sentence about addresses: one is its format for a single address, many for several.
func (u *unknowns) addresses(of map[string]bool, one, many string) {
	if len(of) == 0 {
		return
	}
	list := slices.Sorted(maps.Keys(of))
	text := strings.Join(list[:min(maxAddresses, len(list))], ", ")
	if more := len(list) - maxAddresses; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	u.add(nil, choose(uint64(len(list)), one, many), text)
}

func unnamed(w Workload) bool { return w.Name == "" }

// refusals adds the pods whose logs have records about other pods.
func (g *Graph) refusals(u *unknowns) {
	var sum uint64
	names := slices.Sorted(maps.Keys(g.refused))
	for _, name := range names {
		sum += g.refused[name]
	}
	if sum == 0 {
		return
	}
	text := strings.Join(names[:min(maxAddresses, len(names))], ", ")
	if more := len(names) - maxAddresses; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	u.add(nil, "%s not used, because the log of a pod's tap has them and they claim to be about another pod: %s. Somebody may have written them.", was(sum, "record"), clean(text, maxLine))
}

// findingsUnknown adds what is missing among the findings.
func (g *Graph) findingsUnknown(u *unknowns, j *joined) {
	plain := uint64(0)
	for i := range j.edges {
		if e := &j.edges[i]; e.Between() && e.Connections.Plaintext > 0 {
			plain++
		}
	}
	if plain > 0 && g.found == 0 {
		u.add(nil, "The records have no finding, although %s carried plaintext. A tap writes them if TAP_EMIT contains findings; in Kafka they have a topic of their own, and a mute can hide them.", plural(plain, "edge"))
	}
	if g.lostFindings > 0 {
		u.add(nil, "There were too many findings: %s of further ones were not used. The edges have their plaintext.", plural(g.lostFindings, "record"))
	}
}

// translated adds the connections that have two edges.
func (u *unknowns) translated(n uint64) {
	if n > 0 {
		u.add(nil, "%s in several captures with different addresses, which were translated between them: each capture has an edge with it, and it is counted on each.", choose(n, "1 connection is", fmt.Sprintf("%d connections are", n)))
	}
}
