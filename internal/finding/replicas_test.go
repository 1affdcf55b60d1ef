package finding_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// replica is a tapped pod: one of the clients or one of the servers of shop/web, port 8080.
type replica struct {
	*rig
	direction string
	addr      netip.Addr
}

// replicas returns the taps of n clients and n servers.
func replicas(t *testing.T, n int) (clients, servers []replica) {
	start := func(kind string, i int, direction string, net byte) replica {
		id := pod
		id.UID, id.Pod, id.WorkloadName, id.Namespace = fmt.Sprintf("%s-uid-%d", kind, i), fmt.Sprintf("%s-%d", kind, i), kind, "shop"
		r := replica{newRig(t, finding.Config{Tap: id.UID, Identity: id, Mesh: "istio"}), direction, netip.AddrFrom4([4]byte{10, net, 0, byte(i + 1)})}
		r.quick = true
		r.e.Tick(noon)
		return r
	}
	for i := range n {
		clients = append(clients, start("front", i, verdict.DirectionEgress, 1))
		servers = append(servers, start("web", i, verdict.DirectionIngress, 2))
	}
	return clients, servers
}

// exchange lets each client speak to each server once; both taps see each connection.
func exchange(clients, servers []replica, start int64, of func(id uint64, start int64) *verdict.Judged) {
	id := uint64(start)
	for _, c := range clients {
		for _, s := range servers {
			id++
			for _, end := range []replica{c, s} {
				j := of(id, start)
				j.Source.Addr, j.Destination.Addr, j.Destination.Port = c.addr, s.addr, 8080
				j.Direction, j.PeerName, j.PeerNameBasis = end.direction, "web.shop.svc.cluster.local", "sni"
				if end.direction == verdict.DirectionIngress {
					j.PeerName, j.PeerNameBasis = "", ""
				}
				end.e.Add(j)
			}
		}
	}
}

// TestReplicas: when 20 clients speak plaintext to 20 servers at once, each tap alerts once, and all alerts
// have one group_id. The other records of each tap are events.
func TestReplicas(t *testing.T) {
	for name, c := range map[string]struct {
		before func(id uint64, start int64) *verdict.Judged
		n      int
		rule   string
	}{
		"mutual TLS before":              {mutual, 20, "mtls-downgrade"},
		"plaintext from the start":       {nil, 20, "plaintext-edge"},
		"more of them than may announce": {nil, 24, "plaintext-edge"},
	} {
		t.Run(name, func(t *testing.T) {
			clients, servers := replicas(t, c.n)
			if c.before != nil {
				exchange(clients, servers, noon+minute, c.before)
			}
			exchange(clients, servers, noon+2*minute, plain)
			exchange(clients, servers, noon+3*minute, plain)
			groups := map[string]bool{}
			for _, tap := range append(clients, servers...) {
				tap.e.Tick(noon + 10*minute)
				alerts := 0
				for _, x := range only(tap.rig, finding.DatasetFinding) {
					d := check(t, x)
					if d.text("event.kind") == "alert" {
						alerts++
						groups[d.text("meshtls.finding.group_id")] = true
					}
					if d.text("rule.id") != c.rule {
						t.Errorf("%s: rule %s", tap.addr, d.text("rule.id"))
					}
				}
				if alerts != 1 {
					t.Errorf("%s: %d alerts", tap.addr, alerts)
				}
			}
			if len(groups) != 1 {
				t.Errorf("%d groups: %v", len(groups), groups)
			}
		})
	}
}
