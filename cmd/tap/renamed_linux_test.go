package main

import (
	"slices"
	"strings"
	"testing"
)

// TestNameOfAnotherInterface: an interface is renamed, and another one takes its name. What is
// captured is what has the name now, and the renamed one too where all are; else it is reported.
func TestNameOfAnotherInterface(t *testing.T) {
	t.Parallel()
	for _, captured := range []string{"eth0", everyInterface} {
		undropped(t, func(t *testing.T) bool { return nameOfAnotherInterface(t, captured) })
	}
}

func nameOfAnotherInterface(t *testing.T, captured string) (dropped bool) {
	a, b := pods(t)
	needs(t, "curl", "curl")
	b.serve(t, "MESHTLS_LIVE=server", "0.0.0.0")
	ask := func(url string) { a.run(t, "", "curl", "-skS", "-m", "300", "-o", "/dev/null", url) }
	tap := a.start(t, []string{"TAP_INTERFACES=" + captured, "TAP_EMIT=flows,posture"}, buildTap(t), "run")
	tap.line(t, func(l string) bool { return strings.Contains(l, `"action":"started"`) })
	ask("http://10.77.0.2:7000/")
	for _, step := range [][]string{{"down"}, {"name", "old0"}, {"up"}} {
		ip(t, append([]string{"-n", a.name, "link", "set", map[bool]string{true: "old0", false: "eth0"}[step[0] == "up"]}, step...)...)
	}
	cable(t, a, b, "net1", "10.78.0")
	for _, step := range [][]string{{"net1", "down"}, {"net1", "name", "eth0"}, {"eth0", "up"}} {
		ip(t, append([]string{"-n", a.name, "link", "set"}, step...)...)
	}
	// The new eth0 is captured in place of the old one: its counter begins with it, or its capture is told.
	if captured == everyInterface {
		a.captures(t, "old0", 1)
		a.captures(t, "eth0", 1)
	} else {
		tap.line(t, func(l string) bool { return strings.Contains(l, `"action":"recovered"`) && strings.Contains(l, "eth0") })
	}
	ask("http://10.78.0.2:7001/")
	ask("http://10.77.0.2:7002/")
	lines := tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	want := []string{"eth0 10.77.0.2:7000 plaintext", "eth0 10.78.0.2:7001 plaintext"}
	if captured == everyInterface {
		want = append(want, "old0 10.77.0.2:7002 plaintext")
	}
	got := flowsBy(t, lines)
	for _, w := range want {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(x string) bool { return x != w })); n != 1 {
			t.Errorf("%s: %s: %d times among %q", captured, w, n, got)
		}
	}
	reported := slices.ContainsFunc(lines, func(l string) bool {
		_, after, found := strings.Cut(l, `"uncaptured_interfaces":[`)
		names, _, _ := strings.Cut(after, "]")
		return found && strings.Contains(names, `"old0"`)
	})
	if reported == (captured == everyInterface) {
		t.Errorf("%s: the renamed interface is reported as not captured: %t", captured, reported)
	}
	return false
}
