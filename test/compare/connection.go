package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// field is a fact about a connection that is compared.
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
	fields // number of fields
)

var fieldNames = [fields]string{"version", "cipher", "SNI", "JA3", "JA3S", "ALPN offered", "server certificate", "client certificate"}

// connection is one program's result for one connection. An empty value means unknown.
type connection struct {
	transport  string // tcp or udp
	from, to   netip.AddrPort
	start, end time.Time // times of its first and last packet
	values     [fields]string
}

func (c *connection) hasValues() bool { return c.values != [fields]string{} }

// ends identifies a connection in the results of both programs, even if they differ about which end is the client.
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

// pair is one connection in the results of the tap and of tshark. One of the two may be nil.
type pair struct{ ours, theirs *connection }

func (p pair) name() string {
	c := cmp.Or(p.ours, p.theirs)
	return fmt.Sprintf("%s %s > %s", c.transport, c.from, c.to)
}

// withValues returns how many of the pair's connections have a value in any field.
func (p pair) withValues() int {
	n := 0
	for _, c := range []*connection{p.ours, p.theirs} {
		if c.hasValues() {
			n++
		}
	}
	return n
}

// overlap returns how long two connections existed at the same time.
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

// join pairs the connections of one capture that have the same ends. Each connection is paired at most once.
// Connections that overlap longest are paired first. If overlaps are equal, as with broken clocks, connections for
// which both programs have values are paired first, then those that start closest together. The pairs are in the order
// of the tap's connections, followed by connections that only tshark has.
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
		return cmp.Or(cmp.Compare(b.together, a.together), cmp.Compare(b.withValues(), a.withValues()), cmp.Compare(a.apart, b.apart))
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
