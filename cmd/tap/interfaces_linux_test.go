package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestInterfacesComeAndGo: a tap starts while lo is down and another of its interfaces is missing. It captures on each interface once
// that interface is up. It does so too after an interface was deleted and created again, and after a change of the MTU. Earlier
// connections keep their records.
func TestInterfacesComeAndGo(t *testing.T) {
	t.Parallel()
	undropped(t, interfacesComeAndGo)
}

func interfacesComeAndGo(t *testing.T) (dropped bool) {
	a, b := pods(t)
	needs(t, "curl", "curl")
	ask := func(url string) { a.run(t, "", "curl", "-skS", "-m", "300", "-o", "/dev/null", url) }
	ip(t, "-n", a.name, "link", "set", "lo", "down")
	b.serve(t, "MESHTLS_LIVE=server", "0.0.0.0")
	tap := a.start(t, []string{"TAP_INTERFACES=eth0,net1,lo", "TAP_EMIT=flows,posture"}, buildTap(t), "run")
	tap.line(t, func(l string) bool { return strings.Contains(l, `"action":"started"`) })
	ask("http://10.77.0.2:7000/")

	ip(t, "-n", a.name, "link", "set", "lo", "up")
	a.serve(t, "MESHTLS_LIVE=server", "127.0.0.1")
	a.captures(t, "lo", 1)
	ask("http://127.0.0.1:7000/")

	cable(t, a, b, "net1", "10.78.0")
	a.ready(t)
	ask("http://10.78.0.2:7001/")

	ip(t, "-n", a.name, "link", "del", "eth0")
	eventually.True(t, "not ready without eth0", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "eth0")
	})
	cable(t, a, b, "eth0", "10.77.0")
	a.ready(t)
	ask("http://10.77.0.2:7001/")

	for _, p := range []pod{a, b} {
		ip(t, "-n", p.name, "link", "set", "eth0", "mtu", "9000")
	}
	ask("https://10.77.0.2:7002/")

	lines := tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	got := flowsBy(t, lines)
	for _, want := range []string{
		"eth0 10.77.0.2:7000 plaintext", "lo 127.0.0.1:7000 plaintext", "net1 10.78.0.2:7001 plaintext",
		"eth0 10.77.0.2:7001 plaintext", "eth0 10.77.0.2:7002 tls",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among %q", want, got)
		}
	}
	return false
}

// captures waits until the tap in a pod captures on an interface (1) or no longer does (0).
func (p pod) captures(t *testing.T, name string, up int) {
	t.Helper()
	eventually.True(t, fmt.Sprintf("%s: %d", name, up), func() bool {
		_, body := p.get(t, "/metrics")
		sample := fmt.Sprintf("meshtls_tap_capturing{interface=%q}", name)
		return strings.Contains(body, "meshtls_tap_build_info") && strings.Contains(body, sample+" 1") == (up == 1) && !strings.Contains(body, sample+" 0")
	})
}

// TestInterfacesAll: with TAP_INTERFACES=all an interface is captured while it exists. Otherwise it is reported as not captured.
func TestInterfacesAll(t *testing.T) {
	t.Parallel()
	undropped(t, interfacesAll)
}

func interfacesAll(t *testing.T) (dropped bool) {
	a, b := pods(t)
	needs(t, "curl", "curl")
	b.serve(t, "MESHTLS_LIVE=server", "0.0.0.0")
	ask := func(url string) { a.run(t, "", "curl", "-skS", "-m", "300", "-o", "/dev/null", url) }
	program := buildTap(t)
	tap := a.start(t, []string{"TAP_INTERFACES=all", "TAP_EMIT=flows,posture"}, program, "run")
	a.ready(t)
	a.captures(t, "eth0", 1)
	a.captures(t, "lo", 1)
	for _, port := range []int{portMarker, portHTTP} {
		cable(t, a, b, "net1", "10.78.0")
		a.captures(t, "net1", 1)
		ask(fmt.Sprintf("http://10.78.0.2:%d/", port))
		ip(t, "-n", a.name, "link", "del", "net1")
		a.captures(t, "net1", 0)
	}
	a.ready(t)
	lines := tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	got := flowsBy(t, lines)
	for _, want := range []string{"net1 10.78.0.2:7000 plaintext", "net1 10.78.0.2:7001 plaintext"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among %q", want, got)
		}
	}

	tap = a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=posture"}, program, "run")
	a.ready(t)
	cable(t, a, b, "net1", "10.78.0")
	eventually.True(t, "net1 is reported", func() bool {
		_, body := a.get(t, "/metrics")
		return strings.Contains(body, `meshtls_tap_uncaptured{interface="net1"} 1`)
	})
	ask("http://10.77.0.2:7000/")
	if records := strings.Join(tap.end(t), ""); !strings.Contains(records, `"uncaptured_interfaces":["lo","net1"]`) || !strings.Contains(records, "not captured on lo, net1") {
		t.Errorf("net1 is not reported: %s", records)
	}
	return false
}

// flowsBy returns the interface, destination and verdict of each flow record, as text.
func flowsBy(t *testing.T, lines []string) (out []string) {
	t.Helper()
	for _, l := range lines {
		var r struct {
			Event       struct{ Dataset string }
			Destination struct {
				IP   string
				Port int
			}
			Meshtls  struct{ Verdict string }
			Observer struct {
				Ingress struct{ Interface struct{ Name string } }
			}
		}
		if json.Unmarshal([]byte(l), &r) == nil && r.Event.Dataset == "meshtls.flow" {
			out = append(out, fmt.Sprintf("%s %s:%d %s", r.Observer.Ingress.Interface.Name, r.Destination.IP, r.Destination.Port, r.Meshtls.Verdict))
		}
	}
	return out
}
