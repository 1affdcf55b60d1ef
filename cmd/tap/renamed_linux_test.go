package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestNameOfAnotherInterface: an interface is renamed. Another interface gets the old name and is then captured. If all
// interfaces should be captured, the renamed interface is captured too. Otherwise the renamed interface is reported as
// not captured.
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
	link := func(args ...string) { ip(t, append([]string{"-n", a.name, "link", "set"}, args...)...) }
	link("eth0", "down") // an interface can be renamed only while it is down
	link("eth0", "name", "old0")
	link("old0", "up")
	cable(t, a, b, "net1", "10.78.0")
	link("net1", "down")
	link("net1", "name", "eth0")
	link("eth0", "up")
	eventually.True(t, "what is eth0 now is captured too", func() bool {
		return strings.Count(tap.log(), "msg=capturing interface=eth0") == 2
	})
	if captured == everyInterface {
		a.captures(t, "old0", 1)
	}
	ask("http://10.78.0.2:7001/")
	ask("http://10.77.0.2:7002/")
	lines := tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	if failed := strings.Contains(tap.log(), "not capturing"); failed == (captured == everyInterface) {
		t.Errorf("%s: that the name changed is called a fault: %t", captured, failed)
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
