package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestSelfTestAtStart: a tap tests itself, whether it captures lo or not. The result is in the record of the start and at /readyz. No
// record has the connections of the test, and no socket of them is left. If the machine was too busy for a verdict in time, the
// attempt shows nothing and is repeated.
func TestSelfTestAtStart(t *testing.T) {
	t.Parallel()
	for _, interfaces := range []string{"lo", "eth0", "all"} {
		t.Run(interfaces, func(t *testing.T) {
			undropped(t, func(t *testing.T) bool { return selfTestAtStart(t, interfaces) })
		})
	}
}

func selfTestAtStart(t *testing.T, interfaces string) (again bool) {
	a, _ := pods(t)
	needs(t, "ss", "iproute2")
	tap := a.start(t, []string{"TAP_INTERFACES=" + interfaces, "TAP_EMIT=findings,posture,flows", "POD_IPS=" + a.address}, buildTap(t), "run")
	tap.line(t, func(l string) bool { return strings.Contains(l, `"action":"started"`) })
	if strings.Contains(tap.log(), "there is no verdict") || strings.Contains(tap.log(), "timeout") {
		return true
	}
	eventually.True(t, "the result at /readyz", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusOK && strings.HasPrefix(body, "ok\nself_test: passed in ")
	})
	for line := range strings.Lines(a.run(t, "", "ss", "-Htan")) {
		if !strings.Contains(line, ":9469") { // pod.get
			t.Errorf("a socket is left: %s", line)
		}
	}
	for _, r := range validated(t, tap.end(t)) {
		switch {
		case r.at("event.dataset") == "meshtls.tap":
			if ok := r.at("meshtls.tap.checks.self_test.ok"); ok != "true" && r.at("event.action") == "started" {
				t.Errorf("the record of the start has %q", ok)
			}
			if r.at("event.action") == "degraded" {
				t.Errorf("a degraded tap: %v", r)
			}
		case r.at("event.dataset") == "meshtls.flow" && r.at("destination.port") != "9469", // pod.get
			r.at("event.dataset") == "meshtls.posture" && (r.at("meshtls.edge.connections.mtls") != "0" || r.at("meshtls.edge.connections.tls") != "0"),
			r.at("event.dataset") == "meshtls.finding":
			t.Errorf("a record about the test: %v", r)
		}
	}
	return false
}

// TestSelfTestFails: without a loopback interface that is up, the test fails with a reason. The tap is ready and captures.
func TestSelfTestFails(t *testing.T) {
	t.Parallel()
	a, b := pods(t)
	needs(t, "curl", "curl")
	b.serve(t, "MESHTLS_PROXY=application", "")
	ip(t, "-n", a.name, "link", "set", "lo", "down")
	tap := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=flows", "POD_IPS=" + a.address}, buildTap(t), "run")
	tap.line(t, func(l string) bool {
		return strings.Contains(l, `"action":"degraded"`) && strings.Contains(l, "self_test: failed: ")
	})
	ip(t, "-n", a.name, "link", "set", "lo", "up")
	if status, body := a.get(t, "/readyz"); status != http.StatusOK || !strings.HasPrefix(body, "ok\nself_test: failed: ") {
		t.Errorf("/readyz: %d %q", status, body)
	}
	a.run(t, "", "curl", "-sS", "-m", "300", "http://"+b.address+":8080/")
	judged := false
	for _, r := range validated(t, tap.end(t)) {
		judged = judged || r.at("destination.port") == "8080" && r.at("meshtls.verdict") == "plaintext"
		if r.at("event.action") == "started" && (r.at("meshtls.tap.checks.self_test.ok") != "false" || r.at("meshtls.tap.checks.self_test.detail") == "") {
			t.Errorf("the record of the start has %v", r.at("meshtls.tap.checks"))
		}
	}
	if !judged {
		t.Error("the tap judged no connection")
	}
}

// TestSelfTestOff: TAP_SELF_TEST=false turns the test off.
func TestSelfTestOff(t *testing.T) {
	t.Parallel()
	a, _ := pods(t)
	tap := a.start(t, []string{"TAP_INTERFACES=lo", "TAP_SELF_TEST=false"}, buildTap(t), "run")
	tap.line(t, func(l string) bool {
		return strings.Contains(l, `"action":"started"`) && !strings.Contains(l, "self_test")
	})
	eventually.True(t, "it at /readyz", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusOK && body == "ok\nself_test: off\n"
	})
}

// TestSelfTestResults: a result as /readyz and the record of the start have it.
func TestSelfTestResults(t *testing.T) {
	for _, c := range []struct {
		result  *testResult
		line    string
		ok, has bool
	}{
		{nil, "running", false, false},
		{&testResult{off: true}, "off", false, false},
		{&testResult{duration: 20e6}, "passed in 20 ms: mtls with a client certificate, tls without", true, true},
		{&testResult{err: errors.New("no")}, "failed: no", false, true},
	} {
		check, has := c.result.check()
		if c.result.String() != c.line || has != c.has || check.OK != c.ok {
			t.Errorf("%+v: %q, %+v, %v", c.result, c.result.String(), check, has)
		}
	}
}
