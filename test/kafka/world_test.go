package kafka_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// world is a broker, two drivers (one with a spool) and a tap, while something happens to the broker.
type world struct {
	t       *testing.T
	broker  *kafkatest.Broker
	pod     string
	drivers []*driver
	tap     *liveTap
	dead    []dead
	before  []kafkatest.Record // what was read of topics that were deleted then

	secure   *secured // nil: no TLS and no login
	replicas int      // 1 if 0
	brokers  []string // the broker's address if nil
}

// dead is a driver that was killed.
type dead struct {
	name string
	put  int
}

// rate of each driver in records per second, and the size of a record.
const (
	rate = 200
	size = 800
)

// RSS may grow by that much while a broker is away: a queue of 16 MiB, as much again for what is not collected yet, and a batch.
const boundKB = 40 << 10

// newWorld starts all and waits until records flow. Topics are named for the scenario. start is for what is there before.
func newWorld(t *testing.T, name string, b *kafkatest.Broker, pod string) *world {
	t.Helper()
	w := &world{t: t, broker: b, pod: pod}
	w.begin(name)
	return w
}

func (w *world) begin(name string) {
	w.t.Helper()
	w.create(name)
	w.launch(name)
	w.settled(time.Minute)
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

// settled waits until everybody delivers and hardly anything waits.
func (w *world) settled(limit time.Duration) {
	w.t.Helper()
	w.flow(limit)
	for _, d := range w.drivers {
		eventually(w.t, limit, d.Name+" has caught up", func() bool { r, _ := d.now(); return r.Status.Queued < rate })
	}
	eventually(w.t, limit, "the tap has caught up", func() bool { q := w.tap.metric("sink_queued_records"); return q >= 0 && q < 50 })
}

// flow waits until everybody delivers what is new now.
func (w *world) flow(limit time.Duration) {
	w.t.Helper()
	for _, d := range w.drivers {
		before, _ := d.now()
		eventually(w.t, limit, d.Name+" delivers", func() bool {
			r, _ := d.now()
			return r.Status.OK && sum(r.Status.Delivered) >= sum(before.Status.Delivered)+rate/2
		})
	}
	before := w.tap.metric(`sink_delivered_records_total\{dataset="meshtls.flow"\}`)
	eventually(w.t, limit, "the tap delivers", func() bool {
		return w.tap.metric("sink_ok") == 1 && w.tap.metric(`sink_delivered_records_total\{dataset="meshtls.flow"\}`) > max(0, before)
	})
	if w.tap.rss == 0 {
		w.tap.rss = residentKB(w.tap.cmd.Process.Pid)
	}
}

// suffers waits until the fault shows in all of them.
func (w *world) suffers(limit time.Duration) {
	w.t.Helper()
	for _, d := range w.drivers {
		eventually(w.t, limit, d.Name+" notices", func() bool { r, _ := d.now(); return !r.Status.OK })
	}
}

// lasts lets a fault last, and looks at the tap meanwhile.
func (w *world) lasts(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		w.tap.metrics()
	}
}

// killSpooler ends the driver with a spool by SIGKILL and starts another one on what it left.
func (w *world) killSpooler() {
	w.t.Helper()
	last := len(w.drivers) - 1
	d := w.drivers[last]
	w.dead = append(w.dead, dead{d.Name, d.kill()})
	o := d.order
	o.Name = fmt.Sprintf("%s.%d", strings.TrimRight(o.Name, ".0123456789"), len(w.dead))
	w.drivers[last] = startDriver(w.t, w.pod, o)
	w.drivers[last].rss = d.rss
}

// expected is what a scenario allows.
type expected struct {
	duplicates bool // may be
	dropped    bool // may be, where there is no spool, and counted
	unsent     int  // records of killed drivers that may be lost: put while the machine was too busy to wait for the disk
}

// account ends everybody, reads all topics and prints one row for each.
func (w *world) account(may expected) {
	w.t.Helper()
	for _, d := range w.drivers {
		end := d.end()
		records := w.broker.Read(d.Topics+".findings", d.Topics+".posture", d.Topics+".flows")
		for _, r := range w.before {
			if strings.HasPrefix(r.Topic, d.Topics+".") {
				records = append(records, r)
			}
		}
		ids, duplicates := kafkatest.Distinct(records)
		own, unsent := 0, 0
		for id := range ids {
			if strings.HasPrefix(id, d.Name+"-") {
				own++
			}
		}
		dropped, left := sum(end.Status.Dropped), end.Left+end.Status.Spooled
		missing := end.Put - own - left
		lost := max(0, missing-dropped) // a record that was sent, not acknowledged and then dropped may have arrived
		for _, x := range w.dead {
			for n := range x.put {
				if !ids[fmt.Sprintf("%s-%d", x.name, n)] && d.Spool != "" {
					unsent++
				}
			}
		}
		w.t.Logf("%-24s put %6d, arrived %6d, duplicates %d, dropped %d (counted %d), left %d, lost %d, lost by SIGKILL %d, RSS %d kB, at most %d kB (%d retries)",
			d.Name, end.Put, len(ids), duplicates, missing, dropped, left, lost, unsent, d.rss, d.maxRSS, end.Status.Retries)
		switch {
		case lost != 0 || left != 0:
			w.t.Errorf("%s: lost %d, left %d: %+v", d.Name, lost, left, end.Status)
		case duplicates != 0 && !may.duplicates:
			w.t.Errorf("%s: %d duplicates", d.Name, duplicates)
		case dropped != 0 && (!may.dropped || d.Spool != ""):
			w.t.Errorf("%s: dropped %v", d.Name, end.Status.Dropped)
		case d.rss > 0 && d.maxRSS-d.rss > boundKB:
			w.t.Errorf("%s grew from %d to %d kB", d.Name, d.rss, d.maxRSS)
		case unsent > may.unsent:
			w.t.Errorf("%s: SIGKILL cost %d records", d.Name, unsent)
		}
	}
	w.accountTap(may)
}

func (w *world) accountTap(may expected) {
	w.t.Helper()
	made := w.tap.end()
	seen, duplicates := w.tap.seen(w.broker)
	w.t.Logf("%-24s connections %d, arrived %d, duplicates %d, capture drops %d, RSS %d kB, at most %d kB", w.tap.topics, made, seen, duplicates, w.tap.drops, w.tap.rss, w.tap.maxRSS)
	switch {
	case seen < made:
		w.t.Errorf("the tap: %d of %d connections arrived", seen, made)
	case duplicates != 0 && !may.duplicates:
		w.t.Errorf("the tap: %d duplicates", duplicates)
	case w.tap.drops != 0:
		w.t.Errorf("the tap's ring dropped %d packets", w.tap.drops)
	case w.tap.rss > 0 && w.tap.maxRSS-w.tap.rss > boundKB:
		w.t.Errorf("the tap grew from %d to %d kB", w.tap.rss, w.tap.maxRSS)
	}
}
