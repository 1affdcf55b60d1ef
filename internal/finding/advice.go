package finding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
)

// advices holds recommended actions for packets that were not decoded. The names are keys of
// Coverage.Undecoded. The last item, without names, applies to all other keys.
var advices = []struct {
	names  []string
	advice string
}{
	{[]string{"gre", "ip_in_ip", "ipv6_in_ip", "l2tp", "mpls_in_ip", "mpls", "pppoe", "ppp_control", "pbb", "nsh"},
		"a tunnel, which the tap does not decapsulate: capture on the interface where it ends (TAP_INTERFACES=all), or read a capture file with tap read"},
	{[]string{"esp", "ah", "macsec", "ipcomp"},
		"encryption or compression below TCP and UDP: ask its operators what it protects (TAP_NODE_ENCRYPTION declares it)"},
	{[]string{"fragments"},
		"datagrams with missing fragments: no receiver gets them, and their contents are unknown; many of them mean loss, a small MTU or an attack"},
	{[]string{"malformed"},
		"contradictory headers, which no receiver should accept: look for a network fault or an attack"},
	{[]string{"truncated", "llc_snap", "not_ip"},
		"unreadable headers: capture whole IP packets (tcpdump -s 0)"},
	{nil, "neither TCP nor UDP, and so never judged: forbid the protocol by a network policy, or verify by other means that it is encrypted"},
}

// linkAdvice is the advice for an unknown link type. The name of such a type is linkPrefix and a
// number.
const (
	linkPrefix = "link_type_"
	linkAdvice = "an unknown link type: capture on an Ethernet or IP interface"
)

// Advice returns one sentence for each kind of traffic that was not seen, with a recommended action. It returns nil if no
// traffic was missed.
func (c *Coverage) Advice() (out []string) {
	hidden, _ := c.Hidden()
	for _, a := range advices {
		var of []string
		for _, name := range hidden {
			if slices.Contains(a.names, name) || a.names == nil && !hasAdvice(name) {
				of = append(of, name)
			}
		}
		if of != nil {
			out = append(out, strings.Join(of, ", ")+": "+a.advice)
		}
	}

	for _, name := range hidden {
		if strings.HasPrefix(name, linkPrefix) {
			out = append(out, name+": "+linkAdvice)
		}
	}

	if len(c.Uncaptured) > 0 {
		out = append(out, strings.Join(c.Uncaptured, ", ")+": up and not captured: name them in TAP_INTERFACES, or set it to all")
	}
	return out
}

// hasAdvice reports whether a key of Coverage.Undecoded has more specific advice than the last item
// of advices.
func hasAdvice(name string) bool {
	if strings.HasPrefix(name, linkPrefix) {
		return true
	}
	for _, a := range advices {
		if slices.Contains(a.names, name) {
			return true
		}
	}
	return false
}

// mostNamed is the largest number of kinds of undecoded packets that the message of a posture
// names.
const mostNamed = 3

// hidden returns a clause with the number and the kinds of packets that were not decoded, such as
// ", 7 packets not decoded (5 sctp, 2 gre)". The clause is empty if all packets were decoded.
func (s *span) hidden() string {
	names, n := s.Hidden()
	if n == 0 {
		return ""
	}
	order.Stable(names, func(a, b string) int { return cmp.Compare(s.Undecoded[b], s.Undecoded[a]) })
	var parts []string
	for i, name := range names {
		if i == mostNamed {
			parts = append(parts, "others")
			break
		}
		parts = append(parts, fmt.Sprintf("%d %s", s.Undecoded[name], name))
	}
	return fmt.Sprintf(", %d packets not decoded (%s)", n, strings.Join(parts, ", "))
}
