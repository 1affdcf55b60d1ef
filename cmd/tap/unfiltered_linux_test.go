package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestNoRoomForFilters: if the kernel has no memory for the filter, or for any filter, the tap applies the filter itself. It
// logs this once, is ready, and gives the same verdicts.
func TestNoRoomForFilters(t *testing.T) {
	t.Parallel()
	needs(t, "curl", "curl")
	tap := buildTap(t)
	for optmem, want := range map[string]int{"20480": 0, "1024": 1, "0": 1} {
		for _, filter := range []string{"", fmt.Sprintf("port %d", portHTTP)} {
			t.Run(optmem+" "+filter, func(t *testing.T) {
				a, b := pods(t)
				a.serve(t, "MESHTLS_LIVE=server", a.address)
				a.run(t, optmem, "sh", "-c", "cat > /proc/sys/net/core/optmem_max")
				x := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=flows", "TAP_FILTER=" + filter}, tap, "run")
				a.ready(t)
				if got := a.metric(t, `unfiltered\{interface="eth0"\}`); got != want {
					t.Errorf("the metric is %v, want %v", got, want)
				}
				for _, port := range []int{portHTTP, 1} {
					b.run(t, "", "sh", "-c", fmt.Sprintf("curl -sS -m 300 -o /dev/null http://%s:%d/ || true", a.address, port))
				}
				var ports []int
				for _, l := range x.end(t) {
					var r struct {
						Event       struct{ Dataset string }
						Destination struct{ Port int }
						MeshTLS     struct{ Verdict string }
					}
					if l == "" {
						continue
					}
					if err := json.Unmarshal([]byte(l), &r); err != nil {
						t.Fatal(err)
					}
					if r.Event.Dataset != "meshtls.flow" {
						continue
					}
					if (r.MeshTLS.Verdict == "plaintext") != (r.Destination.Port == portHTTP) {
						t.Errorf("port %d: %s", r.Destination.Port, r.MeshTLS.Verdict)
					}
					ports = append(ports, r.Destination.Port)
				}
				if n := len(ports); n != 2 && filter == "" || n != 1 && filter != "" {
					t.Errorf("connections to %v", ports)
				}
				if n := strings.Count(x.log(), "no room for the filter"); n != want {
					t.Errorf("logged %d times: %s", n, x.log())
				}
			})
		}
	}
}
