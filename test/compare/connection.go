package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A field is a fact of a connection that is compared.
type field int

const (
	version field = iota
	cipher
	serverName
	ja3
	ja3s
	alpn
	serverCert
	clientCert
	fields // their number
)

var fieldNames = [fields]string{"version", "cipher", "SNI", "JA3", "JA3S", "ALPN offered", "server certificate", "client certificate"}

// A connection is what one program says of one connection. An empty value says nothing.
type connection struct {
	transport  string // tcp or udp
	from, to   netip.AddrPort
	start, end time.Time // of its first and last packet
	values     [fields]string
}

func (c *connection) says() bool { return c.values != [fields]string{} }

// ends is what two programs call the same connection by, whoever they take for its client.
type ends struct {
	transport string
	low, high netip.AddrPort
}

func (c *connection) ends() ends {
	if c.from.Compare(c.to) <= 0 {
		return ends{c.transport, c.from, c.to}
	}
	return ends{c.transport, c.to, c.from}
}

// A pair is one connection as the tap and tshark have it: one of them may be nil.
type pair struct{ ours, theirs *connection }

func (p pair) name() string {
	c := cmp.Or(p.ours, p.theirs)
	return fmt.Sprintf("%s %s > %s", c.transport, c.from, c.to)
}

// spoken is how many of both say something.
func (p pair) spoken() int {
	n := 0
	for _, c := range []*connection{p.ours, p.theirs} {
		if c.says() {
			n++
		}
	}
	return n
}

// overlap is how long two connections were there together.
func (c *connection) overlap(other *connection) time.Duration {
	start, end := c.start, c.end
	if other.start.After(start) {
		start = other.start
	}
	if other.end.Before(end) {
		end = other.end
	}
	return max(0, end.Sub(start))
}

// join pairs the connections of one capture: those of the same ends that were there
// together for longest first, then (where clocks are broken) those that both say something
// of, then those that start nearest to each other, each once. Pairs come in the order of the tap's connections, then those that only tshark has.
func join(ours, theirs []*connection) []pair {
	byEnds := map[ends][]*connection{}
	for _, c := range theirs {
		byEnds[c.ends()] = append(byEnds[c.ends()], c)
	}
	type candidate struct {
		pair
		together, apart time.Duration
	}
	var candidates []candidate
	for _, c := range ours {
		for _, other := range byEnds[c.ends()] {
			candidates = append(candidates, candidate{pair{c, other}, c.overlap(other), c.start.Sub(other.start).Abs()})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.together, a.together), cmp.Compare(b.spoken(), a.spoken()), cmp.Compare(a.apart, b.apart))
	})
	partner, taken := map[*connection]*connection{}, map[*connection]bool{}
	for _, c := range candidates {
		if partner[c.ours] == nil && !taken[c.theirs] {
			partner[c.ours], taken[c.theirs] = c.theirs, true
		}
	}
	var pairs []pair
	for _, c := range ours {
		pairs = append(pairs, pair{c, partner[c]})
	}
	for _, c := range theirs {
		if !taken[c] {
			pairs = append(pairs, pair{nil, c})
		}
	}
	return pairs
}
