package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestUntil: when its time is over, the tap closes its sockets, publishes a record and idles until it gets a signal. On a
// busy machine the time may be over before the tap captures. The test is then repeated with more time.
func TestUntil(t *testing.T) {
	t.Parallel()
	program := buildTap(t)
	for wait := 4 * time.Second; wait < eventually.Limit; wait *= 4 {
		if captured := until(t, program, time.Now().Add(wait).Truncate(time.Second)); captured || t.Failed() {
			return
		}
		t.Logf("the tap did not capture before %v were over: again", wait)
	}
	t.Error("it never captures")
}

// until reports whether the tap captured before its time was over.
func until(t *testing.T, program string, end time.Time) (captured bool) {
	t.Helper()
	a, _ := pods(t)
	tap := a.start(t, []string{"TAP_UNTIL=" + end.Format(time.RFC3339), "TAP_INTERFACES=lo"}, program, "run")
	eventually.True(t, "it idles", func() bool {
		_, body := a.get(t, "/readyz")
		return strings.HasPrefix(body, "idle: ")
	})
	if now := time.Now(); now.Before(end) {
		t.Errorf("stopped %v before its time", end.Sub(now))
	}
	eventually.True(t, "no packet socket left", func() bool {
		return !strings.Contains(a.run(t, "", "ss", "-0Hn"), "lo")
	})
	if err := tap.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it does not idle: %v", err)
	}
	records := validated(t, tap.end(t))
	if len(records) == 0 {
		t.Fatal("no record")
	}
	if last := records[len(records)-1]; last.at("event.action") != "stopped" || last.at("event.reason") != "until" {
		t.Errorf("the last record is %s, %s", last.at("event.action"), last.at("event.reason"))
	}
	return len(records) > 1 // otherwise only why it does not capture
}

// TestOrdersOfConfigMap: the ConfigMap turns a running tap off and on again without a restart. It also mutes a
// finding.
func TestOrdersOfConfigMap(t *testing.T) {
	t.Parallel()
	undropped(t, ordersOfConfigMap)
}

func ordersOfConfigMap(t *testing.T) (dropped bool) {
	a, b := pods(t)
	needs(t, "curl", "curl", "ss", "iproute2")
	dir := t.TempDir()
	order := func(key, value string) {
		if err := os.WriteFile(filepath.Join(dir, key), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tap := a.start(t, []string{"TAP_CONFIG_DIR=" + dir, "TAP_CONFIG_ALLOW=enabled,mute", "POD_IPS=" + a.address, "TAP_EMIT=findings,flows"}, buildTap(t), "run")
	a.ready(t)
	b.serve(t, "MESHTLS_PROXY=application", "")
	order("mute", "rule=plaintext-edge,peer="+b.address+",port=8080,until=2099-12-31,reason=the test speaks plaintext\n")
	order("enabled", "false")
	eventually.True(t, "idle", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusOK && body == "idle: disabled\n"
	})
	if sockets := a.run(t, "", "ss", "-0Hn"); strings.Contains(sockets, "eth0") {
		t.Errorf("a packet socket is left: %s", sockets)
	}
	order("enabled", "true")
	eventually.True(t, "capturing again", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusOK && strings.HasPrefix(body, "ok\n")
	})
	a.run(t, "", "curl", "-sS", "-m", "300", "http://"+b.address+":8080/")
	var actions, reasons []string
	flows, lines := 0, tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	for _, r := range validated(t, lines) {
		switch r.at("event.dataset") {
		case "meshtls.tap":
			actions, reasons = append(actions, r.at("event.action")), append(reasons, r.at("event.reason"))
		case "meshtls.finding":
			t.Errorf("a muted finding: %v", r)
		case "meshtls.flow":
			if r.at("destination.port") == "8080" {
				flows++
			}
		}
	}
	if got := fmt.Sprint(actions, reasons); got != "[started stopped started stopped] [ disabled  signal]" {
		t.Errorf("the tap's own records: %s", got)
	}
	if flows != 1 {
		t.Errorf("%d flows, want 1", flows)
	}
	return false
}
