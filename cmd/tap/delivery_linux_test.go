package main

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestEndWithoutBroker: if the brokers are known to be unreachable, the tap ends at once, even with a long TAP_GRACE. If there is a
// spool, the remaining records go there. The log has the number of remaining records, and how many of them are lost.
func TestEndWithoutBroker(t *testing.T) {
	t.Parallel()
	a, _ := pods(t)
	program := buildTap(t)
	for name, c := range map[string]struct {
		spool string
		want  string
	}{
		"spool":    {t.TempDir(), `msg=stopped records_lost=0 records_spooled=[1-9]\d*\n`},
		"no spool": {"", `msg=stopped records_lost=[1-9]\d* records_spooled=0 error="not waited for, because records cannot be delivered: kafka 127.0.0.1:1: no connection: connect: connection refused: see TAP_KAFKA_BROKERS" see=TAP_SPOOL_DIR\n`},
	} {
		t.Run(name, func(t *testing.T) {
			tap := a.start(t, []string{"TAP_INTERFACES=lo", "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=127.0.0.1:1", "TAP_GRACE=10m", "TAP_SPOOL_DIR=" + c.spool}, program, "run")
			eventually.True(t, "the brokers are known to be away", func() bool {
				_, body := a.get(t, "/metrics")
				return strings.Contains(body, "\nmeshtls_tap_sink_down 1\n") && strings.Contains(body, "\nmeshtls_tap_sink_fault{class=\"connection\"} 1\n")
			})
			if _, body := a.get(t, "/readyz"); !strings.Contains(body, "connection refused: see TAP_KAFKA_BROKERS") {
				t.Errorf("/readyz: %q", body)
			}
			tap.Process.Signal(syscall.SIGTERM)
			if err := tap.gone(t); err != nil {
				t.Errorf("it ended with %v", err)
			}
			if !regexp.MustCompile(c.want).MatchString(tap.stderr.String()) {
				t.Errorf("the log has no %s:\n%s", c.want, &tap.stderr)
			}
		})
	}
}

// TestSecondSignal: if a broker accepts connections but never answers, the tap waits for TAP_GRACE at its end. A second signal ends
// the tap at once.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	needs(t, "python3", "python3")
	a, b := pods(t)
	program := buildTap(t)
	silent := b.start(t, nil, "python3", "-uc", "import socket; s = socket.socket(); s.bind(('', 9092)); s.listen(50); print('listens'); input()")
	silent.line(t, func(string) bool { return true })
	tap := a.start(t, []string{"TAP_INTERFACES=lo", "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=" + b.address + ":9092", "TAP_GRACE=10m"}, program, "run")
	queued := func() int { return a.metric(t, "sink_queued_records") }
	eventually.True(t, "the record of the start waits", func() bool { return queued() > 0 })
	before := queued()
	tap.Process.Signal(syscall.SIGTERM)
	eventually.True(t, "the record of the end waits", func() bool { return queued() > before })
	tap.Process.Signal(syscall.SIGTERM)
	err := tap.gone(t)
	if status, ok := errors.AsType[*exec.ExitError](err); !ok || status.ExitCode() != exitError {
		t.Errorf("it ended with %v", err)
	}
}

// talk is a Python program that makes 400 plaintext connections over loopback, each with one
// request.
const talk = `
import socket
s = socket.socket(); s.bind(('127.0.0.1', 8080)); s.listen(50)
for _ in range(400):
  c = socket.create_connection(('127.0.0.1', 8080)); d = s.accept()[0]
  c.send(b'GET / HTTP/1.1\r\nHost: shop\r\n\r\n'); d.recv(100); d.send(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'); c.recv(100)
  c.close(); d.close()
s.close()
`

// TestOutputBlocked: if nobody reads standard output, the capture is not delayed, and neither is the end of
// the tap.
func TestOutputBlocked(t *testing.T) {
	t.Parallel()
	undropped(t, outputBlocked)
}

func outputBlocked(t *testing.T) (dropped bool) {
	needs(t, "python3", "python3")
	a, _ := pods(t)
	tap, _ := a.startUnread(t, []string{"TAP_INTERFACES=lo", "TAP_EMIT=flows", "TAP_GRACE=300ms"}, buildTap(t), "run")
	a.ready(t)
	for round := 1; !dropped && a.metric(t, "sink_queued_records") < 100; round++ { // the first records fit into the pipe
		a.run(t, "", "python3", "-c", talk)
		eventually.True(t, "it goes on to capture", func() bool {
			dropped = a.metric(t, `ring_dropped_packets_total\{interface="lo"\}`) > 0
			return dropped || a.metric(t, "connections_total") >= 400*round
		})
	}
	if dropped {
		return true
	}
	tap.Process.Signal(syscall.SIGTERM)
	if err := tap.gone(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if want := `msg=stopped records_lost=[1-9]\d* records_spooled=0 error=`; !regexp.MustCompile(want).MatchString(tap.stderr.String()) {
		t.Errorf("the log has no %s:\n%s", want, &tap.stderr)
	}
	return false
}

// metric returns the value of a metric of the tap in a pod, -1 if there is no such metric.
func (p pod) metric(t *testing.T, name string) int {
	t.Helper()
	_, body := p.get(t, "/metrics")
	n := -1
	if m := regexp.MustCompile(`(?m)^meshtls_tap_` + name + ` (\d+)$`).FindStringSubmatch(body); m != nil {
		fmt.Sscan(m[1], &n)
	}
	return n
}

// gone waits until a process has ended, without reading its output.
func (x *process) gone(t *testing.T) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- x.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(eventually.Limit):
		t.Fatalf("it does not end: %s", x.log())
		return nil
	}
}
