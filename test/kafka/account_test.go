package kafka_test

import (
	"fmt"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// expected is what a scenario allows beyond what delivery at least once allows on a busy machine anyway.
type expected struct {
	duplicates bool // may be
	dropped    bool // may be, where there is no spool, and counted
	unsent     int  // records of killed drivers that may be lost: put while the machine was too busy to wait for the disk
}

// What make test-kafka holds besides.
const (
	boundKB = 40 << 10 // by which RSS grows at most while a broker is away: the queue, as much again for what is not collected yet, and a batch
	twice   = 0.01     // duplicates for each record where a scenario should have none
)

// What buffer.Config and the tap without a control group's limit document.
const (
	queueRecords = 10_000
	queueBytes   = 16 << 20
	tapKB        = 128 << 10
)

// account ends everybody, reads all topics and prints one row for each. It holds drivers and tap to what they promise on any machine;
// make test-kafka, which has the machine for itself, holds them to figures too. void says why the scenario shows nothing, if so.
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
	lost := max(0, missing-dropped) // a record that was sent, not acknowledged and then dropped may have arrived
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
	if full() && d.rss > 0 && d.maxRSS-d.rss > boundKB {
		w.t.Errorf("%s grew from %d to %d kB", d.Name, d.rss, d.maxRSS)
	}
}

// accountDead returns how many records of killed drivers are missing. None of them may have been on disk.
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

// judgeDuplicates: without an attempt that failed, or a process that was killed, nothing is sent twice, however busy the machine is.
func (w *world) judgeDuplicates(name string, duplicates, arrived, causes int, may expected) {
	w.t.Helper()
	switch {
	case duplicates == 0 || may.duplicates:
	case causes == 0:
		w.t.Errorf("%s: %d duplicates, and no attempt failed", name, duplicates)
	case full() && float64(duplicates) > twice*float64(arrived):
		w.t.Errorf("%s: %d duplicates of %d records", name, duplicates, arrived)
	default:
		w.t.Logf("%s: %d duplicates, which delivery at least once allows: %d attempts failed", name, duplicates, causes)
	}
}

// judgeDrops: records are dropped from a full queue alone. It fills where a broker takes long to start.
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
	if full() && w.tap.rss > 0 && w.tap.maxRSS-w.tap.rss > boundKB {
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

// conclude is account for a test that takes minutes and is not made again.
func (w *world) conclude(may expected) {
	w.t.Helper()
	if void := w.account(may); void != "" {
		w.t.Error(void)
	}
}
