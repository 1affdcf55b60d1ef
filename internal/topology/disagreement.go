package topology

import (
	"fmt"
	"slices"
)

// tapsByWorkload returns the identified taps by their workloads.
func (g *Graph) tapsByWorkload() map[string][]*tap {
	out := map[string][]*tap{}
	for _, t := range g.sortedTaps() {
		if t.identified() {
			w := g.index.workloadOf(t)
			out[keyOfWorkload(&w)] = append(out[keyOfWorkload(&w)], t)
		}
	}
	return out
}

// label returns the words for a rank.
func label(rank int) string {
	switch rank {
	case rankMTLS:
		return "mutual TLS"
	case rankTLS:
		return "TLS without proof that it is mutual"
	case rankUnknown:
		return "connections that could not be judged"
	case rankFailed:
		return "failed handshakes"
	case rankEncrypted:
		return "encryption other than TLS"
	}
	return verdictOf[rank]
}

// disagreement returns a sentence if both ends of an edge were tapped and report different things.
func (g *Graph) disagreement(gr *group, e *Edge, servers []*tap, views []*view) string {
	if e.Scope != "wire" || e.Folded {
		return ""
	}
	client, server := gr.ends[sideClient], gr.ends[sideServer]
	if client != nil && server != nil {
		if a, b := client.judged(), server.judged(); a != b && a != rankNone && b != rankNone {
			return fmt.Sprintf("The taps of %s report %s, and those of %s report %s: the weaker verdict counts.", e.From.String(), label(a), e.To.String(), label(b))
		}
	}
	if client == nil {
		return ""
	}
	if n, of := g.unseenByServer(gr, e, servers, views); n > 0 {
		return fmt.Sprintf("The taps of %s saw no trace of %s that the taps of %s identify, although they watched at that time.", e.To.String(), ofThe(n, of), e.From.String())
	}
	return ""
}

// ofThe returns which of some connections are meant, as the object of a sentence that denies something. n is at least 1.
func ofThe(n, all int) string {
	switch {
	case all == 1:
		return "the only connection"
	case n == all:
		return "any of the " + plural(uint64(all), "connection")
	}
	return fmt.Sprintf("%d of the %s", n, plural(uint64(all), "connection"))
}

// judged returns the weakest verdict of a connection that carried data and was judged.
func (c *counts) judged() int {
	judged := *c
	judged[rankUnknown], judged[rankFailed] = 0, 0
	return judged.worst()
}

// unseenByServer returns the number of connections of a client that the server's taps did not see, and of how many the hashes are known. It returns 0 if the
// records do not suffice to compare: all pods of the server must have a tap that watched all the time without losses, and both sides must
// know the hashes of all their connections.
func (g *Graph) unseenByServer(gr *group, e *Edge, servers []*tap, views []*view) (unseen, of int) {
	if !g.fullyTapped(&e.To, servers) {
		return 0, 0
	}
	from, to := int64(0), int64(0)
	var sent []hash
	var seen []*view
	for _, v := range gr.views {
		switch v.side {
		case sideClient:
			start, end := v.times()
			if v.manyHashes || v.key.port != v.port || start == 0 || uint64(len(v.hashes)) < v.total.total() {
				return 0, 0
			}
			if from == 0 || start < from {
				from = start
			}
			to = max(to, end)
			sent = append(sent, v.hashes...)
		case sideServer:
			if v.manyHashes {
				return 0, 0
			}
			seen = append(seen, v)
		default:
			return 0, 0
		}
	}
	if len(seen) == 0 && slices.ContainsFunc(views, func(v *view) bool {
		return v.side == sideServer && keyOfWorkload(&v.to) == keyOfWorkload(&e.To) && (!v.from.known() || keyOfWorkload(&v.from) == keyOfWorkload(&e.From))
	}) {
		return 0, 0 // it may be the same traffic at a translated port or from a translated address
	}
	for _, t := range servers {
		if !t.watched(from, to) {
			return 0, 0
		}
	}
	for _, h := range sent {
		if !slices.ContainsFunc(seen, func(v *view) bool { return slices.Contains(v.hashes, h) }) {
			unseen++
		}
	}
	return unseen, len(sent)
}

// fullyTapped reports whether all pods of a workload are tapped, by the inventory. Without one it is not known.
func (g *Graph) fullyTapped(w *Workload, taps []*tap) bool {
	pods := 0
	for i := range g.inventory.Pods {
		p := &g.inventory.Pods[i]
		if keyOfWorkload(&p.Workload) != keyOfWorkload(w) {
			continue
		}
		pods++
		if !slices.ContainsFunc(taps, func(t *tap) bool { return g.index.podOf(t) == p }) {
			return false
		}
	}
	return pods > 0
}

// watched reports whether a run of the tap covers a time without losses, and has reported all that it saw of it.
func (t *tap) watched(from, to int64) bool {
	for _, u := range t.runs {
		if first, last := u.watched(); first <= from && last >= to && u.stopped && !u.lossy() {
			return true
		}
	}
	return false
}
