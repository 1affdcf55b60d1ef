package kafka_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
)

// order configures a driver: a process that puts records into a Kafka sink at a steady rate, as a tap does.
type order struct {
	Name    string // prefix of each event.id
	Brokers []string
	Topics  string // prefix of the three topics
	Spool   string
	Rate    int // records per second
	Size    int // bytes per record
	TLS     *sink.TLSConfig
	SASL    *sink.SASLConfig
}

func (o *order) config() sink.KafkaConfig {
	cfg := sink.KafkaConfig{
		Brokers: o.Brokers, FindingsTopic: o.Topics + ".findings", PostureTopic: o.Topics + ".posture", FlowsTopic: o.Topics + ".flows",
		TLS: o.TLS, SASL: o.SASL, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if o.Spool != "" {
		cfg.Spool = &buffer.SpoolConfig{Dir: o.Spool, MaxBytes: 1 << 30}
	}
	return cfg
}

// report is the state that a driver prints ten times a second, and at its end. After each record the driver also
// prints how many records it has put, and how many of them are only in memory and not in the spool.
type report struct {
	Put    int // calls of Put that have returned, whether or not the record was accepted
	Status sink.Status
	RSS    int // kB
	End    bool
	Left   int // number of undelivered records, which Close returned
}

var datasets = [...]string{buffer.Finding, buffer.Posture, buffer.Tap, buffer.Flow}

// runDriver is the main function of a driver. Like a tap, it ends after SIGTERM, and without delay if it knows that
// the brokers are down.
func runDriver() {
	var o order
	exitOn(json.Unmarshal([]byte(os.Getenv("MESHTLS_DRIVER")), &o))
	k, err := sink.NewKafka(o.config())
	exitOn(err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pad := strings.Repeat("0123456789abcdef", o.Size/16+1)[:o.Size]
	out := json.NewEncoder(os.Stdout)
	every, shown := time.NewTicker(10*time.Millisecond), time.Now()
	pause, paused := make(chan os.Signal, 1), false
	signal.Notify(pause, syscall.SIGUSR1)
	put, begun := 0, time.Now()
	for ctx.Err() == nil {
		for due := int(time.Since(begun).Seconds() * float64(o.Rate)); put < due && !paused; put++ {
			k.Put(o.record(put, pad))
			s := k.Status()
			fmt.Println(put+1, s.Queued-s.Spooled)
		}
		if time.Since(shown) > 100*time.Millisecond {
			shown = time.Now()
			exitOn(out.Encode(report{Put: put, Status: k.Status(), RSS: residentKB(os.Getpid())}))
		}
		select {
		case <-every.C:
		case <-pause:
			paused = !paused
			begun = time.Now().Add(-time.Duration(put) * time.Second / time.Duration(o.Rate))
		case <-ctx.Done():
		}
	}
	grace := eventually.Limit
	if k.Status().Down {
		grace = 0
	}
	closing, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	left, _ := k.Close(closing)
	exitOn(out.Encode(report{Put: put, Status: k.Status(), RSS: residentKB(os.Getpid()), End: true, Left: left}))
	os.Exit(0)
}

func (o *order) record(n int, pad string) buffer.Message {
	id := fmt.Sprintf("%s-%d", o.Name, n)
	return buffer.Message{
		Dataset: datasets[n%4], ID: id, Key: fmt.Sprintf("%s|edge-%d", o.Name, n%50), Time: time.Now(),
		Value: fmt.Appendf(nil, `{"event":{"id":%q,"dataset":%q,"sequence":%d},"meshtls":{"run":%q},"pad":%q}`, id, datasets[n%4], n/4+1, o.Name, pad),
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// residentKB returns a process's resident memory in kB, from proc_pid_status(5).
func residentKB(pid int) (kb int) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(value, &kb)
		}
	}
	return kb
}

// driver is a driver's process as seen by the test.
type driver struct {
	order
	t      *testing.T
	cmd    *exec.Cmd
	stderr eventually.Output
	ended  chan struct{}

	mu        sync.Mutex
	put       int // number of records that were put
	safe      int // number of records from the first on that are all delivered or in the spool
	last      report
	maxQueued int
	maxBytes  int // the most bytes that were in the queue
	rss       int // RSS in kB before the fault; 0 if unknown
	maxRSS    int
}

// startDriver starts a driver in the pod.
func startDriver(t *testing.T, pod int, o order) *driver {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{order: o, t: t, ended: make(chan struct{})}
	d.cmd = podCommand(pod, "MESHTLS_DRIVER="+string(text), os.Args[0])
	d.cmd.Stderr = &d.stderr
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go d.listen(out)
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-d.ended
		if t.Failed() {
			t.Logf("%s: %s", o.Name, d.stderr.String())
		}
	})
	return d
}

func (d *driver) listen(out io.Reader) {
	defer close(d.ended)
	for in := bufio.NewScanner(out); in.Scan(); {
		d.parseLine(in.Bytes())
	}
	d.cmd.Wait()
}

// parseLine processes a line of the driver's output. It ignores a line that SIGKILL left incomplete.
func (d *driver) parseLine(line []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var r report
	if bytes.HasPrefix(line, []byte("{")) {
		if json.Unmarshal(line, &r) == nil {
			d.last, d.put, d.maxRSS = r, max(d.put, r.Put), max(d.maxRSS, r.RSS)
			d.maxQueued, d.maxBytes = max(d.maxQueued, r.Status.Queued), max(d.maxBytes, r.Status.QueuedBytes)
		}
		return
	}
	var put, loose int
	if n, _ := fmt.Sscan(string(line), &put, &loose); n != 2 || put != d.put+1 {
		return
	}
	d.put = put
	if loose == 0 {
		d.safe = put
	}
}

// state returns the driver's state, for the message of a failing test.
func (d *driver) state() string {
	r, put := d.now()
	return fmt.Sprintf("%s has put %d: %+v\nits log: %s", d.Name, put, r.Status, end(d.stderr.String()))
}

// end returns the end of a text, at most 4000 bytes.
func end(text string) string { return text[max(0, len(text)-4000):] }

// now returns the last report and the number of records that were put.
func (d *driver) now() (r report, put int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, d.put
}

// end ends the driver by SIGTERM and returns its last report.
func (d *driver) end() report {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(2 * eventually.Limit): // this exceeds the time that the driver allows for Close
		d.t.Fatalf("%s does not end\n%s", d.Name, d.state())
	}
	r, _ := d.now()
	if !r.End {
		d.t.Fatalf("%s ended without a word: %s", d.Name, d.stderr.String())
	}
	return r
}

// pause makes the driver stop putting records, or continue if it has stopped.
func (d *driver) pause() { d.cmd.Process.Signal(syscall.SIGUSR1) }

// kill ends the driver by SIGKILL.
func (d *driver) kill() dead {
	d.cmd.Process.Kill()
	<-d.ended
	return dead{d.Name, d.put, d.safe}
}

func sum(m map[string]uint64) (n int) {
	for _, v := range m {
		n += int(v)
	}
	return n
}
