package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// claimMark follows a name that only the client claimed.
const claimMark = "*"

// claimed returns the addresses of the server of an edge if only the client claimed its name, by SNI or the Host header; otherwise nil.
// They are those of the latest connection of each verdict.
func claimed(e *finding.Edge) (addresses []string) {
	if e.Folded || e.Direction == "ingress" {
		return nil
	}
	for i := range e.Seen {
		j := e.Seen[i].Last
		if j == nil || j.PeerNameBasis != "sni" && j.PeerNameBasis != "host_header" {
			continue
		}
		if _, err := netip.ParseAddr(j.PeerName); err == nil { // the edge is named by its address
			continue
		}
		if a := j.Destination.Addr.Unmap().String(); a != e.To && !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	return addresses
}

// notes writes what the names in a table are: those that only the client claimed, with their addresses unless they are in the table, and
// those in Unicode.
func (t *text) notes(edges []finding.Edge, addressed bool) {
	var addresses, foreign []string
	some := false
	for i := range edges {
		e := &edges[i]
		if list := claimed(e); len(list) > 0 {
			some = true
			addresses = append(addresses, clean(serverOf(e))+" "+strings.Join(list, " "))
		}
		for _, name := range [...]string{e.From, e.To} {
			if u := unicodeName(name); u != "" && !slices.Contains(foreign, name) {
				foreign = append(foreign, name)
				t.wrap("  ", fmt.Sprintf("%s is %s in Unicode, which may look like another name.", clean(name), clean(u)))
			}
		}
	}
	switch {
	case some && addressed:
		t.wrap("  ", claimMark+" Only the client claimed this name.")
	case some:
		t.wrap("  ", claimMark+" Only the client claimed this name. Latest addresses: "+strings.Join(addresses, ", "))
	}
}
