package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestWaitMissesNothing: a connection that starts after tap wait has ended is captured from its first packet on. tap run and
// tap wait run as an unprivileged user. If tap wait waited for its full second, the machine was too busy, and the attempt is
// repeated.
func TestWaitMissesNothing(t *testing.T) {
	t.Parallel()
	program := buildTap(t)
	const most = 5
	for range most {
		a, b := pods(t)
		needs(t, "curl", "curl", "setpriv", "util-linux")
		b.serve(t, "MESHTLS_PROXY=application", "")
		a.run(t, "", "curl", "-sS", "-m", "300", "http://"+b.address+":8080/") // a request before any tap runs
		as := []string{"setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--inh-caps=+net_raw", "--ambient-caps=+net_raw", program}
		tap := a.start(t, []string{"POD_IPS=" + a.address, "TAP_EMIT=flows"}, append(as, "run")...)
		start := time.Now()
		a.run(t, "", append([]string{"env", "GORACE=atexit_sleep_ms=0"}, append(as, "wait")...)...) // otherwise a race detector waits for a second at the end
		waited := time.Since(start)
		a.run(t, "", "curl", "-sS", "-m", "300", "http://"+b.address+":8080/")
		if waited > longestWait {
			t.Logf("tap wait gave up after %v: again", waited)
			tap.end(t)
			continue
		}
		for _, r := range validated(t, tap.end(t)) {
			if at := r.at; at("event.action") == "started" &&
				(at("meshtls.tap.gap.connections") != "1" || at("meshtls.tap.gap.milliseconds") == "" || at("meshtls.coverage.since") == "") {
				t.Errorf("what was before the capture: %s, since %s", at("meshtls.tap.gap"), at("meshtls.coverage.since"))
			}
			if r.at("destination.port") == "8080" && r.at("meshtls.verdict") == "plaintext" && !strings.Contains(r.at("meshtls.reasons"), "mid_stream") {
				t.Logf("the rings were open after %v", waited)
				return
			}
		}
		t.Fatalf("the connection was not seen from its start, though tap wait had ended after %v", waited)
	}
	if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Errorf("the rings were not open within a second in each of %d attempts", most)
	}
}
