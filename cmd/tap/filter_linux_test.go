package main

import (
	"strings"
	"testing"
)

// TestLiveFilter: with TAP_FILTER only packets that pass the filter are seen, and the records contain the filter.
func TestLiveFilter(t *testing.T) {
	norace(t)
	undropped(t, liveFilter)
}

func liveFilter(t *testing.T) (dropped bool) {
	client, server := pods(t)
	server.serve(t, "MESHTLS_LIVE=server", server.address)
	const filter = "tcp port 7000 or (host 10.77.0.2 and port 7003)"
	live := client.start(t, []string{"TAP_EMIT=flows,posture", "TAP_INTERFACES=eth0", "TAP_WINDOW=1h", "TAP_LISTEN=", "TAP_FILTER=" + filter}, releasedTap(t), "run")
	live.line(t, func(l string) bool { return strings.Contains(l, `"meshtls.tap"`) })
	client.ask(t, "MESHTLS_LIVE=client", server.address)
	markers := 0
	lines := live.line(t, func(l string) bool {
		if r := parseFlow(l); r != nil && r.port == portMarker {
			markers++
		}
		return markers == 2
	})
	lines = append(lines, live.end(t)...)
	if ringDropped(t, lines) {
		return true
	}
	ports, named := map[int]int{}, 0
	for _, l := range lines {
		if r := parseFlow(l); r != nil && r.port != portMarker {
			ports[r.port]++
		}
		if strings.Contains(l, `"filter":"`+filter+`"`) {
			named++
		}
	}
	if len(ports) != 1 || ports[port13m] != 150 {
		t.Errorf("connections by port: %v, want 150 to %d", ports, port13m)
	}
	if named == 0 {
		t.Error("no record names the filter")
	}
	return false
}

// TestLiveFilterOfOtherLink: a filter that does not fit the link type of an interface is an error, and nothing is captured on
// that interface.
func TestLiveFilterOfOtherLink(t *testing.T) {
	t.Parallel()
	p, _ := pods(t)
	ip(t, "-n", p.name, "tuntap", "add", "dev", "tun0", "mode", "tun")
	ip(t, "-n", p.name, "link", "set", "tun0", "up")
	live := p.start(t, []string{"TAP_EMIT=posture", "TAP_INTERFACES=tun0", "TAP_LISTEN=", "TAP_FILTER=tcp and vlan 5"}, buildTap(t), "run")
	live.line(t, func(l string) bool {
		return strings.Contains(l, `"started"`) && strings.Contains(l, "interface tun0: TAP_FILTER: column 9: VLAN tags: only Ethernet has them, and this is raw IP")
	})
	live.end(t)
}
