package finding

import (
	"strings"
	"testing"
)

// TestAdvice: each kind of packets that may have carried connections has one line of advice, with all
// names of the kind. ARP, ICMP and IGMP have no advice.
func TestAdvice(t *testing.T) {
	c := Coverage{
		Uncaptured: []string{"net1"},
		Undecoded: map[string]uint64{
			"sctp": 3, "dccp": 1, "gre": 2, "ip_in_ip": 1, "esp": 1, "fragments": 9, "malformed": 1, "truncated": 1, "link_type_195": 1, "ip_protocol_77": 1,
			"ethertype_1234": 1, "arp": 7, "icmp": 2, "igmp": 0,
		},
	}
	var got []string
	for _, a := range c.Advice() {
		names, _, ok := strings.Cut(a, ": ")
		if !ok || len(a) > 220 {
			t.Errorf("advice %q", a)
		}
		got = append(got, names)
	}
	const want = "gre, ip_in_ip|esp|fragments|malformed|truncated|dccp, ethertype_1234, ip_protocol_77, sctp|link_type_195|net1"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if a := (&Coverage{Undecoded: map[string]uint64{"arp": 1}}).Advice(); a != nil {
		t.Errorf("advice %q", a)
	}
	s := span{Coverage: c}
	if got := s.hidden(); got != ", 22 packets not decoded (9 fragments, 3 sctp, 2 gre, others)" {
		t.Errorf("advice %q", got)
	}
}
