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

// watched keeps what a program writes and tells when a word has come.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	word string
	seen chan struct{}
}

func watch(word string) *watched { return &watched{word: word, seen: make(chan struct{})} }

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.buf.Write(b)
	if w.word != "" && strings.Contains(w.buf.String(), w.word) {
		w.word = ""
		close(w.seen)
	}
	return n, err
}

// wait waits until the word has come.
func (w *watched) wait() error {
	select {
	case <-w.seen:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("not ready")
	}
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// watcher is something that captures while something else runs.
type watcher struct {
	name    string
	limited bool // under the chart's limits
	start   func(b *bench, n *pods, interfaces string, limits *group) (*running, error)
	result  func(r *running) (packets, dropped float64, err error)
}

// running is a watcher at work.
type running struct {
	*process
	out, err *watched
	limits   *group
	before   time.Duration
}

// The watchers.
var (
	noTap      = watcher{name: "no tap"}
	noTapAgain = watcher{name: "no tap again"} // the noise
	ourTap     = watcher{name: "tap", start: startTap, result: tapResult}
	limitedTap = watcher{name: "tap, limited", limited: true, start: startTap, result: tapResult}
	tcpdump    = watcher{name: "tcpdump -w", start: startTcpdump, result: tcpdumpResult}
	ethernet   = watcher{name: "pcapgo.EthernetHandle", start: startEthernet, result: ethernetResult}
)

// startTap starts the tap as it runs in a pod, its records to nowhere.
func startTap(b *bench, n *pods, interfaces string, limits *group) (*running, error) {
	return b.startTap(n, interfaces, limits, "findings,posture")
}

// tapBefore is another build of the tap.
var tapBefore = watcher{name: theTapBefore, result: tapResult, start: func(b *bench, n *pods, interfaces string, limits *group) (*running, error) {
	return b.startProgram(b.base, n, interfaces, limits, "findings,posture")
}}

// watchers adds the other build of the tap, where there is one, as the last.
func (b *bench) watchers(all ...watcher) []watcher {
	if b.base != "" {
		all = append(all, tapBefore)
	}
	return all
}

// builds returns b, and where there is another build of the tap, b with that one in its place.
func (b *bench) builds() []*bench {
	if b.base == "" {
		return []*bench{b}
	}
	before := *b
	before.tap = b.base
	return []*bench{b, &before}
}

// inTurn compares what was measured of the tap, the first, with the same of another build,
// measured in turn with it. It returns nothing where there is no other build.
func inTurn(what string, all []sample) (out []result) {
	for _, before := range all[1:] {
		out = append(out, atMost(what+" to that of the tap before", all[0].over(before), "%.3f", 1+effect))
	}
	return out
}

// toBefore compares what the workload costs under the tap, the third of the watchers, with
// what it costs under the other build, the last one.
func (b *bench) toBefore(what string, all []sample) (out []result) {
	if b.base == "" {
		return nil
	}
	return []result{atMost(what+" under the tap to that under the tap before", all[2].over(all[len(all)-1]), "%.3f", 1+effect)}
}

func (b *bench) startTap(n *pods, interfaces string, limits *group, emit string) (*running, error) {
	return b.startProgram(b.tap, n, interfaces, limits, emit)
}

func (b *bench) startProgram(program string, n *pods, interfaces string, limits *group, emit string) (*running, error) {
	r := &running{out: watch(`"action":"started"`), err: watch(""), limits: limits}
	environ := []string{
		"TAP_INTERFACES=" + interfaces, "TAP_LISTEN=none", "TAP_EMIT=" + emit,
		"POD_NAME=bench", "POD_NAMESPACE=bench", "POD_UID=bench", "POD_IPS=" + podIP,
	}
	if v := os.Getenv("GODEBUG"); v != "" {
		environ = append(environ, "GODEBUG="+v)
	}
	return r.begin(n.pod, environ, r.out, program, "run")
}

func startTcpdump(_ *bench, n *pods, interfaces string, limits *group) (*running, error) {
	first, _, _ := strings.Cut(interfaces, ",")
	r := &running{out: watch(""), err: watch("listening on"), limits: limits}
	return r.begin(n.pod, nil, r.err, "tcpdump", "-i", first, "-w", "/dev/null")
}

func startEthernet(b *bench, n *pods, interfaces string, limits *group) (*running, error) {
	first, _, _ := strings.Cut(interfaces, ",")
	r := &running{out: watch(""), err: watch("listening on"), limits: limits}
	return r.begin(n.pod, nil, r.err, b.self, "ethernet", first)
}

// begin starts the program and waits until it says that it is ready.
func (r *running) begin(ns string, environ []string, ready *watched, args ...string) (*running, error) {
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

// settled is what the watcher has taken since it was ready, once it has dealt with what
// is in its ring.
func (r *running) settled() time.Duration {
	time.Sleep(150 * time.Millisecond)
	return r.cpu() - r.before
}

// stopped is what the tap says of itself when it has stopped.
type stopped struct{ packets, dropped, evicted, shed float64 }

// tapStopped stops the tap and reads the record that says so.
func tapStopped(r *running) (s stopped, err error) {
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
				err = errors.Join(err, fmt.Errorf("the tap refused %.0f of %.0f packets as foreign: what was measured is not its work", c.Foreign, c.Packets))
			}
			return stopped{c.Packets, c.Dropped, c.Evicted, record.MeshTLS.Tap.Counters.Shed}, err
		}
	}
	return s, fmt.Errorf("the tap did not say that it stopped: %s", r.err)
}

func tapResult(r *running) (packets, dropped float64, err error) {
	s, err := tapStopped(r)
	return s.packets, s.dropped, err
}

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

// measured is one run of something under a watcher.
type measured struct {
	cpu              float64 // of the watcher, seconds
	packets, dropped float64
	rss              float64 // MB, the most
}

// under runs f while w watches.
func (b *bench) under(w watcher, n *pods, interfaces string, f func() error) (m measured, err error) {
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
	m.cpu = r.settled().Seconds()
	m.rss = mb(r.status("VmHWM"))
	var e error
	m.packets, m.dropped, e = w.result(r)
	return m, errors.Join(err, e)
}
