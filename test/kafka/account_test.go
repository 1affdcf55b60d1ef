package kafka_test

import (
	"fmt"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// expected lists effects that a scenario allows, in addition to those that at-least-once delivery may have on any
// busy machine.
type expected struct {
	duplicates bool // records may arrive twice
	dropped    bool // records may be dropped if the driver has no spool; they must be counted
	unsent     int  // how many records of killed drivers may be lost, because the machine was too busy to wait for the disk
}

// Bounds that are checked only under make test-kafka.
const (
	maxGrowthKB   = 40 << 10 // growth of RSS while a broker is unavailable: the queue, garbage of the same size that was not collected yet, and a batch
	maxDuplicates = 0.01     // largest share of duplicates in a scenario that should have none
)

// Documented bounds: of the queue (buffer.Config), and of the memory of a tap without a cgroup limit.
const (
	queueRecords = 10_000
	queueBytes   = 16 << 20
	tapKB        = 128 << 10
)

// account ends the drivers and the tap, reads all topics and prints one line for each driver and for the tap. It checks
// the guarantees that hold on any machine. Under make test-kafka no other test uses the machine, so account also checks
// figures that load would change, such as the growth of memory. If the scenario proves nothing, void is the reason.
func (w *world) account(may expected) (void string) {
	w.t.Helper()
	for _, d := range w.drivers {
		w.accountDriver(d, may)
	}
	return w.accountTap(may)
}

func (w *world) accountDriver(d *driver, may expected) {
	w.t.Helper()
	end := d.end()
	records := w.broker.Read(d.Topics+".findings", d.Topics+".posture", d.Topics+".flows")
	for _, r := range w.before {
		if strings.HasPrefix(r.Topic, d.Topics+".") {
			records = append(records, r)
		}
	}
	ids, duplicates := kafkatest.Distinct(records)
	own := 0
	for id := range ids {
		if strings.HasPrefix(id, d.Name+"-") {
			own++
		}
	}
	dropped, left := sum(end.Status.Dropped), end.Left+end.Status.Spooled
	missing := end.Put - own - left
	lost := max(0, missing-dropped) // a record may have arrived although it was dropped, if its acknowledgement was lost
	killed := 0
	if d.Spool != "" {
		killed = w.accountDead(ids, may)
	}
	w.t.Logf("%-24s put %6d, arrived %6d, duplicates %d, dropped %d (counted %d), left %d, lost %d, lost by SIGKILL %d, RSS %d kB, at most %d kB (%d retries)",
		d.Name, end.Put, len(ids), duplicates, missing, dropped, left, lost, killed, d.rss, d.maxRSS, end.Status.Retries)
	if lost != 0 || left != 0 {
		w.t.Errorf("%s: lost %d, left %d: %+v", d.Name, lost, left, end.Status)
	}
	w.judgeDuplicates(d.Name, duplicates, len(ids), int(end.Status.Retries)+len(w.dead), may)
	w.judgeDrops(d, dropped, end, may)
	if d.maxBytes > queueBytes {
		w.t.Errorf("%s: the queue held %d bytes", d.Name, d.maxBytes)
	}
	if full() && d.rss > 0 && d.maxRSS-d.rss > maxGrowthKB {
		w.t.Errorf("%s grew from %d to %d kB", d.Name, d.rss, d.maxRSS)
	}
}

// accountDead returns how many records of killed drivers are missing. It fails the test if one of the missing records
// was on disk.
func (w *world) accountDead(ids map[string]bool, may expected) (missing int) {
	w.t.Helper()
	for _, x := range w.dead {
		for n := range x.put {
			if ids[fmt.Sprintf("%s-%d", x.name, n)] {
				continue
			}
			missing++
			if n < x.safe {
				w.t.Errorf("%s: SIGKILL cost record %d, which was on disk", x.name, n)
			}
		}
	}
	if full() && missing > may.unsent {
		w.t.Errorf("SIGKILL cost %d records", missing)
	}
	return missing
}

// judgeDuplicates checks that a record is sent twice only if an attempt failed or a process was killed. A busy machine
// is no excuse. causes is the number of failed attempts and killed processes.
func (w *world) judgeDuplicates(name string, duplicates, arrived, causes int, may expected) {
	w.t.Helper()
	switch {
	case duplicates == 0 || may.duplicates:
	case causes == 0:
		w.t.Errorf("%s: %d duplicates, and no attempt failed", name, duplicates)
	case full() && float64(duplicates) > maxDuplicates*float64(arrived):
		w.t.Errorf("%s: %d duplicates of %d records", name, duplicates, arrived)
	default:
		w.t.Logf("%s: %d duplicates, which delivery at least once allows: %d attempts failed", name, duplicates, causes)
	}
}

// judgeDrops checks that records are dropped only from a full queue. A queue may fill while a broker starts slowly.
func (w *world) judgeDrops(d *driver, dropped int, end report, may expected) {
	w.t.Helper()
	switch {
	case dropped == 0 || may.dropped && d.Spool == "":
	case d.Spool != "" || d.maxQueued < queueRecords*9/10:
		w.t.Errorf("%s: dropped %v, at most %d were queued", d.Name, end.Status.Reasons, d.maxQueued)
	default:
		w.t.Logf("%s: dropped %v from a full queue: the broker was away for long", d.Name, end.Status.Reasons)
	}
}

func (w *world) accountTap(may expected) (void string) {
	w.t.Helper()
	made := w.tap.end()
	seen, duplicates := w.tap.seen(w.broker)
	w.t.Logf("%-24s connections %d, arrived %d, duplicates %d, capture drops %d, RSS %d kB, at most %d kB (%d retries)",
		w.tap.topics, made, seen, duplicates, w.tap.drops, w.tap.rss, w.tap.maxRSS, w.tap.retries)
	w.judgeDuplicates("the tap", duplicates, seen, w.tap.retries, may)
	if w.tap.maxRSS > tapKB {
		w.t.Errorf("the tap takes %d kB", w.tap.maxRSS)
	}
	if full() && w.tap.rss > 0 && w.tap.maxRSS-w.tap.rss > maxGrowthKB {
		w.t.Errorf("the tap grew from %d to %d kB", w.tap.rss, w.tap.maxRSS)
	}
	if w.tap.drops != 0 {
		return fmt.Sprintf("the tap's ring dropped %d packets", w.tap.drops)
	}
	if seen < made || made == 0 {
		w.t.Errorf("the tap: %d of %d connections arrived", seen, made)
	}
	return ""
}

// conclude calls the function account, and fails the test if the scenario proves nothing. Tests that take minutes use
// it, because they are not repeated.
func (w *world) conclude(may expected) {
	w.t.Helper()
	if void := w.account(may); void != "" {
		w.t.Error(void)
	}
}
