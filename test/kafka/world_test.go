package kafka_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// world has a broker, two drivers (one with a spool) and a tap. In its scenario the broker has a fault.
type world struct {
	t       *testing.T
	broker  *kafkatest.Broker
	pod     int
	drivers []*driver
	tap     *liveTap
	dead    []dead
	before  []kafkatest.Record // records that were read from topics before the topics were deleted

	secure   *secured // nil if there is no TLS and no login
	replicas int      // number of replicas of each topic; 0 means 1
	brokers  []string // addresses for drivers and tap; nil means the broker's
}

// dead is a driver that was killed.
type dead struct {
	name string
	put  int
	safe int // number of records from the first on that were all delivered or in the spool when it was killed
}

// The rate of each driver in records per second, and the size of a record in bytes.
const (
	rate = 200
	size = 800
)

// newWorld creates topics whose names contain the scenario's, starts drivers and tap, and waits until they deliver.
func newWorld(t *testing.T, name string, b *kafkatest.Broker, pod int) *world {
	t.Helper()
	w := &world{t: t, broker: b, pod: pod}
	w.start(name)
	return w
}

func (w *world) start(name string) {
	w.t.Helper()
	w.create(name)
	w.launch(name)
	w.waitDelivered()
	for _, d := range w.drivers {
		r, _ := d.now()
		d.rss = r.RSS
	}
}

func (w *world) create(name string) {
	w.t.Helper()
	for _, who := range []string{"memory", "spool", "tap"} {
		prefix := name + "." + who
		w.broker.CreateReplicated(max(1, w.replicas), prefix+".findings", prefix+".posture", prefix+".flows")
	}
}

// launch starts the drivers and the tap.
func (w *world) launch(name string) {
	w.t.Helper()
	if w.brokers == nil {
		w.brokers = []string{w.broker.Plain}
	}
	o := order{Name: name + ".memory", Brokers: w.brokers, Topics: name + ".memory", Rate: rate, Size: size}
	environ := []string{"TAP_KAFKA_BROKERS=" + strings.Join(w.brokers, ",")}
	if w.secure != nil {
		o.TLS, o.SASL = w.secure.config()
		environ = append(environ, w.secure.environ()...)
	}
	w.drivers = append(w.drivers, startDriver(w.t, w.pod, o))
	o.Name, o.Topics, o.Spool = name+".spool", name+".spool", filepath.Join(w.t.TempDir(), "spool")
	w.drivers = append(w.drivers, startDriver(w.t, w.pod, o))
	w.tap = startTap(w.t, w.pod, name+".tap", environ...)
}

// state returns the state of drivers, tap and broker, for the message of a failing test.
func (w *world) state() string {
	var b strings.Builder
	for _, d := range w.drivers {
		fmt.Fprintln(&b, d.state())
	}
	fmt.Fprintln(&b, w.tap.state())
	return b.String() + w.broker.Log()
}

// waitDelivered waits until drivers and tap deliver and their queues are nearly empty.
func (w *world) waitDelivered() {
	w.t.Helper()
	w.flow()
	for _, d := range w.drivers {
		eventually.True(w.t, d.Name+" has caught up", func() bool { r, _ := d.now(); return r.Status.Queued < rate }, w.state)
	}
	eventually.True(w.t, "the tap has caught up", func() bool { q := w.tap.metric("sink_queued_records"); return q >= 0 && q < 50 }, w.state)
}

// flow waits until drivers and tap deliver new records.
func (w *world) flow() {
	w.t.Helper()
	for _, d := range w.drivers {
		before, _ := d.now()
		eventually.True(w.t, d.Name+" delivers", func() bool {
			r, _ := d.now()
			return r.Status.OK && sum(r.Status.Delivered) >= sum(before.Status.Delivered)+rate/2
		}, w.state)
	}
	before := w.tap.metric(`sink_delivered_records_total\{dataset="meshtls.flow"\}`)
	eventually.True(w.t, "the tap delivers", func() bool {
		return w.tap.metric("sink_ok") == 1 && w.tap.metric(`sink_delivered_records_total\{dataset="meshtls.flow"\}`) > max(0, before)
	}, w.state)
	if w.tap.rss == 0 {
		w.tap.rss = residentKB(w.tap.cmd.Process.Pid)
	}
}

// waitNoticed waits until all drivers report the fault.
func (w *world) waitNoticed() {
	w.t.Helper()
	for _, d := range w.drivers {
		eventually.True(w.t, d.Name+" notices", func() bool { r, _ := d.now(); return !r.Status.OK }, w.state)
	}
}

// pollFor waits for the duration of a fault. Meanwhile it reads the tap's metrics.
func (w *world) pollFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		w.tap.metrics()
	}
}

// killSpooler ends the driver with a spool by SIGKILL and starts another driver with the same spool.
func (w *world) killSpooler() {
	w.t.Helper()
	last := len(w.drivers) - 1
	d := w.drivers[last]
	w.dead = append(w.dead, d.kill())
	o := d.order
	o.Name = fmt.Sprintf("%s.%d", strings.TrimRight(o.Name, ".0123456789"), len(w.dead))
	w.drivers[last] = startDriver(w.t, w.pod, o)
	w.drivers[last].rss = d.rss
}
