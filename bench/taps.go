//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// output buffers the output of a program, and closes seen when the output contains word.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	word string // the word to wait for; empty if wait is not called
	seen chan struct{}
}

func newOutput(word string) *output { return &output{word: word, seen: make(chan struct{})} }

func (w *output) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.buf.Write(b)
	if w.word != "" && strings.Contains(w.buf.String(), w.word) {
		w.word = ""
		close(w.seen)
	}
	return n, err
}

// wait waits until the word was written, at most 20 seconds.
func (w *output) wait() error {
	select {
	case <-w.seen:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("not ready after 20 seconds")
	}
}

func (w *output) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// watcher is a program that captures while a workload runs.
type watcher struct {
	name    string
	limited bool // run it under the chart's limits of CPU and memory
	start   func(b *bench, n *pods, interfaces string, limits *group) (*running, error)
	result  func(r *running) (packets, dropped float64, err error)
}

// running is a watcher that has started.
type running struct {
	*process
	out, err *output
	limits   *group
	before   time.Duration // CPU time that the watcher had used when it was ready
}

// The watchers.
var (
	noTap      = watcher{name: "no tap"}
	noTapAgain = watcher{name: "no tap again"} // the difference from noTap is the noise
	ourTap     = watcher{name: "tap", start: startTap, result: tapResult}
	limitedTap = watcher{name: "tap, limited", limited: true, start: startTap, result: tapResult}
	tcpdump    = watcher{name: "tcpdump -w", start: startTcpdump, result: tcpdumpResult}
	ethernet   = watcher{name: "pcapgo.EthernetHandle", start: startEthernet, result: ethernetResult}
)

// startTap starts the tap as it runs in a pod. Its records go to a buffer.
func startTap(b *bench, n *pods, interfaces string, limits *group) (*running, error) {
	return b.startTap(n, interfaces, limits, "findings,posture")
}

// baseTap is the other build of the tap (flag -base).
var baseTap = watcher{name: baseName, result: tapResult, start: func(b *bench, n *pods, interfaces string, limits *group) (*running, error) {
	return b.startProgram(b.base, n, interfaces, limits, "findings,posture")
}}

// watchers returns the watchers in all, followed by the other build of the tap if there is one.
func (b *bench) watchers(all ...watcher) []watcher {
	if b.base != "" {
		all = append(all, baseTap)
	}
	return all
}

// builds returns b, followed by a copy of b with the other build of the tap if there is one.
func (b *bench) builds() []*bench {
	if b.base == "" {
		return []*bench{b}
	}
	base := *b
	base.tap = b.base
	return []*bench{b, &base}
}

// toBase returns the ratio of the tap's figures (the first sample) to those of the other build (the second sample).
// It returns nothing if there is no other build.
func toBase(what string, all []sample) (out []result) {
	for _, base := range all[1:] {
		out = append(out, atMost(what+" to that of the base tap", all[0].over(base), "%.3f", 1+effect))
	}
	return out
}

// underBase returns the ratio of the figures under the tap (the third watcher) to those under the other build (the
// last watcher). It returns nothing if there is no other build.
func (b *bench) underBase(what string, all []sample) (out []result) {
	if b.base == "" {
		return nil
	}
	return []result{atMost(what+" under the tap to that under the base tap", all[2].over(all[len(all)-1]), "%.3f", 1+effect)}
}

// startTap starts the tap; emit is its setting TAP_EMIT.
func (b *bench) startTap(n *pods, interfaces string, limits *group, emit string) (*running, error) {
	return b.startProgram(b.tap, n, interfaces, limits, emit)
}

func (b *bench) startProgram(program string, n *pods, interfaces string, limits *group, emit string) (*running, error) {
	r := &running{out: newOutput(`"action":"started"`), err: newOutput(""), limits: limits}
	environ := []string{
		"TAP_INTERFACES=" + interfaces, "TAP_LISTEN=none", "TAP_EMIT=" + emit,
		"POD_NAME=bench", "POD_NAMESPACE=bench", "POD_UID=bench", "POD_IPS=" + podIP,
	}
	if v := os.Getenv("GODEBUG"); v != "" {
		environ = append(environ, "GODEBUG="+v)
	}
	return r.launch(n.pod, environ, r.out, program, "run")
}

func startTcpdump(_ *bench, n *pods, interfaces string, limits *group) (*running, error) {
	first, _, _ := strings.Cut(interfaces, ",")
	r := &running{out: newOutput(""), err: newOutput("listening on"), limits: limits}
	return r.launch(n.pod, nil, r.err, "tcpdump", "-i", first, "-w", "/dev/null")
}

func startEthernet(b *bench, n *pods, interfaces string, limits *group) (*running, error) {
	first, _, _ := strings.Cut(interfaces, ",")
	r := &running{out: newOutput(""), err: newOutput("listening on"), limits: limits}
	return r.launch(n.pod, nil, r.err, b.self, "ethernet", first)
}

// launch starts the program and waits until it captures. The program then writes a certain word to its output ready.
func (r *running) launch(ns string, environ []string, ready *output, args ...string) (*running, error) {
	var err error
	if r.process, err = start(ns, r.limits, r.out, r.err, environ, args...); err != nil {
		return nil, err
	}
	if err := ready.wait(); err != nil {
		_, e := r.stop(syscall.SIGKILL)
		return nil, errors.Join(fmt.Errorf("%s: %w: %s", args[0], err, r.err), e)
	}
	time.Sleep(50 * time.Millisecond)
	r.before = r.cpu()
	return r, nil
}

// cpuOnceIdle waits until the watcher has processed its ring, and returns its CPU time since it was ready.
func (r *running) cpuOnceIdle() time.Duration {
	time.Sleep(150 * time.Millisecond)
	return r.cpu() - r.before
}

// finalCounts are the counts in the tap's last record.
type finalCounts struct{ packets, dropped, evicted, shed float64 }

// stopTap stops the tap and reads its last record (event.action stopped). If the tap refused more than 1% of the
// packets as foreign, stopTap returns an error, because the tap's work was then not measured.
func stopTap(r *running) (s finalCounts, err error) {
	if _, err := r.stop(syscall.SIGTERM); err != nil {
		return s, err
	}
	var record struct {
		Event   struct{ Action string }
		MeshTLS struct {
			Coverage struct {
				Packets, Dropped, Evicted float64
				Foreign                   float64 `json:"foreign_packets"`
			}
			Tap struct {
				Counters struct {
					Shed float64 `json:"shed_connections"`
				}
			}
		}
	}

	lines := strings.Split(strings.TrimSpace(r.out.String()), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.Contains(line, `"action":"stopped"`) {
			err := json.Unmarshal([]byte(line), &record)
			c := record.MeshTLS.Coverage
			if c.Foreign > max(100, c.Packets/100) {
				err = errors.Join(err, fmt.Errorf("the tap refused %.0f of %.0f packets as foreign: its work was not measured", c.Foreign, c.Packets))
			}
			return finalCounts{c.Packets, c.Dropped, c.Evicted, record.MeshTLS.Tap.Counters.Shed}, err
		}
	}
	return s, fmt.Errorf("the tap wrote no record that it stopped: %s", r.err)
}

// tapResult stops the tap and returns its counts of packets.
func tapResult(r *running) (packets, dropped float64, err error) {
	s, err := stopTap(r)
	return s.packets, s.dropped, err
}

// tcpdumpResult stops tcpdump and returns the counts that it prints.
func tcpdumpResult(r *running) (packets, dropped float64, err error) {
	if _, err := r.stop(os.Interrupt); err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(r.err.String()) {
		var n float64
		switch _, err := fmt.Sscan(line, &n); {
		case err != nil:
		case strings.Contains(line, "received by filter"):
			packets = n
		case strings.Contains(line, "dropped by kernel"):
			dropped = n
		}
	}
	return packets, dropped, nil
}

// measurement is the result of one run under a watcher.
type measurement struct {
	cpu              float64 // CPU time of the watcher, in seconds
	packets, dropped float64 // counts of the watcher
	rss              float64 // MB, the watcher's peak
}

// under runs f while w captures. If w has no program (no tap), it only runs f.
func (b *bench) under(w watcher, n *pods, interfaces string, f func() error) (m measurement, err error) {
	if w.start == nil {
		return m, f()
	}
	var limits *group
	if w.limited {
		if limits, err = newGroup("tap", limitCPU, limitMemory); err != nil {
			return m, err
		}
		defer limits.remove()
	}
	r, err := w.start(b, n, interfaces, limits)
	if err != nil {
		return m, err
	}
	err = f()
	m.cpu = r.cpuOnceIdle().Seconds()
	m.rss = mb(r.status("VmHWM"))
	var e error
	m.packets, m.dropped, e = w.result(r)
	return m, errors.Join(err, e)
}
