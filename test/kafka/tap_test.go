package kafka_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// trafficPort is the port of the server for the pod's client.
const trafficPort = "8080"

// makeTraffic is the main function of the pod's client: MESHTLS_TRAFFIC HTTP requests per second, each on a new connection. At SIGTERM
// it prints how many succeeded.
func makeTraffic() {
	rate, err := strconv.Atoi(os.Getenv("MESHTLS_TRAFFIC"))
	exitOn(err)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: eventually.Limit}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	var done atomic.Int64
	var all sync.WaitGroup
	for {
		select {
		case <-tick.C:
		case <-stop:
			all.Wait()
			fmt.Println(done.Load())
			os.Exit(0)
		}
		all.Go(func() {
			r, err := client.Get("http://" + net.JoinHostPort(hostAddress, trafficPort))
			if err != nil {
				return
			}
			_, err = io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if err == nil {
				done.Add(1)
			}
		})
	}
}

// liveTap is a real tap that runs in the pod, and the traffic that it captures.
type liveTap struct {
	t       *testing.T
	topics  string
	cmd     *exec.Cmd
	stderr  eventually.Output
	traffic *exec.Cmd
	made    bytes.Buffer
	server  *http.Server // serves the pod's client
	rss     int          // RSS in kB before the fault
	maxRSS  int
	drops   int // packets that the rings dropped
	retries int // failed attempts of the sink
	ended   sync.Once
}

// buildTap builds the tap, once, into a folder in TMPDIR, which TestMain removes.
var buildTap = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tap")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "tap")
	cmd := exec.Command("go", "build", "-o", file, "../../cmd/tap")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return file, err
})

// startTap starts a tap in the pod, with a spool and its own topics, and a client that opens ten connections a second.
func startTap(t *testing.T, pod int, topics string, environ ...string) *liveTap {
	t.Helper()
	file, err := buildTap()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, file, pod, topics, environ...)
}

// startProgram is startTap with the given build of the tap.
func startProgram(t *testing.T, file string, pod int, topics string, environ ...string) *liveTap {
	t.Helper()
	x := &liveTap{t: t, topics: topics}
	x.cmd = podCommand(pod, "TAP_GRACE=5m", file, "run")
	x.cmd.Env = append(x.cmd.Env,
		"TAP_LISTEN=:9469", "TAP_INTERFACES=eth0,lo", "TAP_EMIT=findings,posture,flows", "TAP_WINDOW=5s", "TAP_POSTURE_INTERVAL=5s", "TAP_SINK=kafka",
		"TAP_KAFKA_TOPIC="+topics+".findings", "TAP_KAFKA_POSTURE_TOPIC="+topics+".posture", "TAP_KAFKA_FLOWS_TOPIC="+topics+".flows",
		"TAP_SPOOL_DIR="+t.TempDir(), "TAP_SPOOL_MAX=256Mi",
		"POD_NAME=web", "POD_NAMESPACE=shop", "POD_UID=7e1a", "POD_IPS="+podAddress)
	x.cmd.Env = append(x.cmd.Env, environ...)
	x.cmd.Stderr = &x.stderr
	listener, err := net.Listen("tcp", net.JoinHostPort(hostAddress, trafficPort))
	if err != nil {
		t.Fatal(err)
	}
	hello := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here you are") }
	x.server = &http.Server{Handler: http.HandlerFunc(hello)} //nolint:gosec // a test's server
	go x.server.Serve(listener)
	t.Cleanup(func() { x.server.Close() })
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		x.cmd.Process.Kill()
		x.cmd.Wait()
		if t.Failed() {
			t.Logf("the tap: %s", &x.stderr)
		}
	})
	eventually.True(t, "the tap captures", func() bool {
		return len(regexp.MustCompile(`(?m)^meshtls_tap_capturing\{interface="\w+"\} 1$`).FindAllString(x.metrics(), -1)) == 2
	}, x.state)
	x.traffic = podCommand(pod, "MESHTLS_TRAFFIC=10", os.Args[0])
	x.traffic.Stdout = &x.made
	if err := x.traffic.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.traffic.Process.Kill(); x.traffic.Wait() })
	return x
}

func (x *liveTap) get(path string) string {
	client := http.Client{Timeout: time.Minute} // after an error the callers repeat the request
	r, err := client.Get("http://" + podAddress + ":9469" + path)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return string(text)
}

// metrics returns the tap's metrics. It also stores the tap's memory, dropped packets and retries.
func (x *liveTap) metrics() string {
	text := x.get("/metrics")
	if text == "" {
		return ""
	}
	x.maxRSS = max(x.maxRSS, residentKB(x.cmd.Process.Pid))
	x.drops = 0
	for _, m := range regexp.MustCompile(`(?m)^meshtls_tap_ring_dropped_packets_total\{.*\} (\d+)`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		x.drops += n
	}
	if m := regexp.MustCompile(`(?m)^meshtls_tap_sink_retries_total (\d+)`).FindStringSubmatch(text); m != nil {
		x.retries, _ = strconv.Atoi(m[1])
	}
	return text
}

// state returns the tap's state, for the message of a failing test.
func (x *liveTap) state() string {
	return fmt.Sprintf("the tap, %s: %s\nits log: %s", x.topics, x.get("/readyz"), end(x.stderr.String()))
}

// metric returns the value of one metric, or -1 if the metric is missing.
func (x *liveTap) metric(name string) float64 {
	m := regexp.MustCompile(`(?m)^meshtls_tap_` + name + ` (\S+)$`).FindStringSubmatch(x.metrics())
	if m == nil {
		return -1
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	return n
}

// end ends the traffic and then the tap. It returns how many connections the client made.
func (x *liveTap) end() (connections int) {
	x.t.Helper()
	x.ended.Do(func() {
		x.traffic.Process.Signal(syscall.SIGTERM)
		x.traffic.Wait()
		x.server.Close()
		x.metrics()
		x.cmd.Process.Signal(syscall.SIGTERM) // the tap drains its rings and publishes all connections
		x.cmd.Wait()
	})
	fmt.Sscan(x.made.String(), &connections)
	return connections
}

// seen returns how many connections of the traffic have a record, and how many records are duplicates.
func (x *liveTap) seen(b *kafkatest.Broker) (connections, duplicates int) {
	x.t.Helper()
	ids := map[string]bool{}
	for _, r := range b.Read(x.topics + ".flows") {
		var v struct {
			Event       struct{ ID string }
			Destination struct{ Port int }
			Source      struct{ IP string }
		}
		if err := json.Unmarshal([]byte(r.Value), &v); err != nil {
			x.t.Fatalf("%v: %s", err, r.Value)
		}
		if fmt.Sprint(v.Destination.Port) != trafficPort {
			continue
		}
		schematest.Check(x.t, []byte(r.Value))
		if ids[v.Event.ID] {
			duplicates++
		}
		ids[v.Event.ID] = true
	}
	return len(ids), duplicates
}
