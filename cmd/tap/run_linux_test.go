package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// object is a decoded record.
type object map[string]any

// at returns the value at a dotted path as text. It returns "" if there is no value.
func (o object) at(path string) string {
	var node any = map[string]any(o)
	for name := range strings.SplitSeq(path, ".") {
		m, _ := node.(map[string]any)
		node = m[name]
	}
	if node == nil {
		return ""
	}
	return fmt.Sprint(node)
}

// validated decodes records and checks each against the schema.
func validated(t *testing.T, lines []string) []object {
	t.Helper()
	schematest.Lines(t, lines)
	var out []object
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		var o object
		if err := json.Unmarshal([]byte(l), &o); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		out = append(out, o)
	}
	return out
}

// get sends a request to the tap's own server in a pod.
func (p pod) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: p.dial, DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := client.Get("http://127.0.0.1:9469" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(text)
}

// ready waits until the tap in a pod is ready.
func (p pod) ready(t *testing.T) {
	t.Helper()
	last := ""
	eventually.True(t, "ready", func() bool {
		status, body := p.get(t, "/readyz")
		if body != last {
			t.Logf("/readyz: %d %s", status, body)
		}
		last = body
		return status == http.StatusOK
	})
}

// run runs a program in a pod and returns its output.
func (p pod) run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := p.in(context.Background(), args...) // not the test's context, because a cleanup may call this
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), fmt.Sprint("OWNER=", os.Getpid()), "ADDRESS="+p.address)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestOwnTrafficIsLeftOut: the tap publishes to a real broker over the interface on which it captures. It publishes nothing about
// its own connections. An application uses plaintext Kafka with the same broker. The tap publishes the connections of the
// application, and a finding about them. The records conform to the schema; kcat reads them.
func TestOwnTrafficIsLeftOut(t *testing.T) {
	if testing.Short() {
		t.Skip("a real broker takes a while: not with -short")
	}
	app, far := pods(t)
	needs(t, "ss", "iproute2")
	kafka := kafkatest.Start(t, "plain", []string{"ADDRESS=" + far.address}, far.within())
	kafka.Dial = far.dial
	kafka.Create("meshtls-tap.findings", "meshtls-tap.posture", "meshtls-tap.flows")
	broker := kafka.Plain
	_, port, _ := strings.Cut(broker, ":")

	tap := app.start(t, []string{
		"TAP_INTERFACES=eth0,lo", "TAP_EMIT=findings,posture,flows", "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=" + broker, "TAP_GRACE=5m",
		"POD_NAME=web-1", "POD_NAMESPACE=shop", "POD_UID=7e1a", "POD_IPS=" + app.address,
	}, buildTap(t), "run")
	app.ready(t)
	own := map[string]bool{}
	for line := range strings.Lines(app.run(t, "", "ss", "-Htnp")) {
		if strings.Contains(line, fmt.Sprintf("pid=%d,", tap.Process.Pid)) {
			own[regexp.MustCompile(`:(\d+)\s+` + regexp.QuoteMeta(broker)).FindStringSubmatch(line)[1]] = true
		}
	}
	if len(own) == 0 {
		t.Fatal("ss shows no connection of the tap to the broker")
	}
	app.run(t, "an order\n", "kcat", "-P", "-b", broker, "-t", "meshtls-tap.findings", "-p", "0", "-k", "not-a-record", "-X", "client.id=orders")
	records := func(name string) []object {
		var lines []string
		for _, r := range kafka.Read("meshtls-tap." + name) {
			lines = append(lines, strings.TrimPrefix(r.Value, "an order"))
		}
		return validated(t, lines)
	}
	eventually.True(t, "a finding of the application's cleartext Kafka", func() bool {
		for _, r := range records("findings") {
			if r.at("rule.id") == "plaintext-edge" && r.at("network.protocol") == "kafka" && r.at("kubernetes.pod.name") == "web-1" {
				return true
			}
		}
		return false
	})
	_, metrics := app.get(t, "/metrics")
	if !regexp.MustCompile(`(?m)^meshtls_tap_own_connections_total [1-9]`).MatchString(metrics) {
		t.Errorf("no own connections counted:\n%s", metrics)
	}
	tap.end(t)
	seen := 0
	for _, r := range records("flows") {
		if r.at("destination.port") != port {
			continue
		}
		seen++
		if own[r.at("source.port")] {
			t.Errorf("the tap's own connection was published: %v", r)
		}
		if r.at("network.protocol") != "kafka" || r.at("meshtls.verdict") != "plaintext" {
			t.Errorf("the application's connection: %s %s", r.at("network.protocol"), r.at("meshtls.verdict"))
		}
	}
	if seen == 0 {
		t.Error("no flow of the application")
	}
	actions := map[string]int{} // each action has its own key, and so its own partition
	for _, r := range records("posture") {
		if r.at("event.dataset") == "meshtls.tap" {
			actions[r.at("event.action")]++
		}
	}
	if !maps.Equal(actions, map[string]int{"started": 1, "stopped": 1}) {
		t.Errorf("the tap's own records: %v", actions)
	}
}

func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// needs skips the test if a program is missing. pairs alternates names of programs and of the Debian packages
// that contain them.
func needs(t *testing.T, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if _, err := exec.LookPath(pairs[i]); err != nil {
			absent(t, "%v: on Debian or Ubuntu: apt-get install %s", err, pairs[i+1])
		}
	}
}

// TestInterfaceComesLate: while an interface is missing, the tap is not ready, and gives the name of the interface
// as the reason.
func TestInterfaceComesLate(t *testing.T) {
	t.Parallel()
	a, _ := pods(t)
	tap := a.start(t, []string{"TAP_INTERFACES=lo,net1"}, buildTap(t), "run")
	eventually.True(t, "a reason in /readyz", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "net1") && strings.Contains(body, "eth0")
	})
	if status, body := a.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	ip(t, "-n", a.name, "link", "add", "net1", "type", "veth", "peer", "name", "net2")
	ip(t, "-n", a.name, "link", "set", "net1", "up")
	ip(t, "-n", a.name, "link", "set", "net2", "up")
	a.ready(t)
	ip(t, "-n", a.name, "link", "del", "net1")
	eventually.True(t, "not ready without the interface", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "net1")
	})
	actions := ""
	for _, r := range validated(t, tap.end(t)) {
		actions += r.at("event.action") + " "
	}
	if !strings.Contains(actions, "started") || !strings.Contains(actions, "degraded") || !strings.HasSuffix(actions, "stopped ") {
		t.Errorf("records: %s", actions)
	}
}

// TestWithoutCapability: without NET_RAW the tap keeps running and reports that the capability is
// missing.
func TestWithoutCapability(t *testing.T) {
	t.Parallel()
	a, _ := pods(t)
	needs(t, "setpriv", "util-linux")
	tap := a.start(t, nil, "setpriv", "--reuid=59469", "--regid=59469", "--clear-groups", "--bounding-set=-all", buildTap(t), "run")
	eventually.True(t, "a reason in /readyz", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "NET_RAW") && strings.Contains(body, "\nself_test: failed: capture on lo: ")
	})
	eventually.True(t, "an attempt on both interfaces", func() bool { return strings.Count(tap.log(), "not capturing") >= 2 })
	first := time.Now()
	eventually.True(t, "some more attempts", func() bool { return time.Since(first) > time.Second }) // on a very busy machine there may be fewer
	tap.end(t)
	if n := strings.Count(tap.stderr.String(), "not capturing"); n != 2 {
		t.Errorf("logged %d times, want once for each interface: %s", n, &tap.stderr)
	}
}

// TestRunsInAnyCase: invalid settings do not end a tap. Its log, /readyz and a record report them.
func TestRunsInAnyCase(t *testing.T) {
	t.Parallel()
	a, _ := pods(t)
	tap := a.start(t, []string{"TAP_WINDOW=soon", "TAP_KAFKA_BATCH_SIZE=many"}, buildTap(t), "run")
	const want = "TAP_WINDOW=soon: expected a duration such as 10m; 10m is used instead"
	eventually.True(t, "it in /readyz", func() bool {
		status, body := a.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, want) && strings.Count(body, "\n") == 3
	})
	recorded := false
	for _, r := range validated(t, tap.end(t)) {
		recorded = recorded || r.at("event.action") == "degraded" && strings.Contains(r.at("event.reason"), want)
	}
	if !recorded {
		t.Error("no record has it")
	}
	if !strings.Contains(tap.stderr.String(), want) {
		t.Errorf("the log does not have it: %s", &tap.stderr)
	}
}

// TestReaderOfOutputGoes: a closed standard output neither ends the tap nor blocks it.
func TestReaderOfOutputGoes(t *testing.T) {
	t.Parallel()
	a, _ := pods(t)
	env := []string{"TAP_INTERFACES=lo", "TAP_EMIT=flows", "POD_NAME=web"} // outside of a pod the tap would end
	tap := a.start(t, env, "sh", "-c", "exec "+buildTap(t)+" run | head -n 1")
	tap.line(t, func(l string) bool { return strings.Contains(l, `"action":"started"`) })
	eventually.True(t, "a reason in /readyz", func() bool {
		a.get(t, "/healthz") // each connection results in a record, which cannot be written
		status, body := a.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "closed")
	})
	if status, body := a.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
}
